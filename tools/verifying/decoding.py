"""Clips decoded to their last frame, each against what its record says; and which of them are, where not all."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields

import numpy as np

from shards.record import Media, Record
from shards.verify_problems import Kind
from shards.verify_samples import Flaw, LookedAt
from tools.corpus.block import Watch
from tools.corpus.faults import VIDEO_TROUBLE, fault_of
from tools.corpus.frames import Lost, decode_spans
from tools.corpus.held_media import HeldMedia
from tools.corpus.media_file import Limits
from tools.corpus.probe import probe
from tools.corpus.tables import Fault
from tools.corpus.tally import Progress
from tools.corpus.timeline import Span

_MOST_BYTES = 1 << 30
"""Bytes of a payload that is held in memory to be decoded."""


class Decoder:
    """The look that decodes payloads of one shard.

    Args:
        wanted: the numbers of the samples to decode, None for all.
        lost: samples that are given up, because they killed the process that decoded them.
        watch: hears which sample is at work.
    """

    def __init__(self, wanted: Collection[int] | None, lost: Mapping[int, Fault], watch: Watch) -> None:
        self._wanted, self._lost, self._watch = wanted, lost, watch

    def wants(self, number: int, size: int) -> bool:  # noqa: ARG002 - another look may go by the size
        """Tell whether a sample is to be decoded."""
        return self._wanted is None or number in self._wanted

    def take(self, number: int, record: Record, payload: bytes) -> LookedAt:
        """Decode one."""
        if number in self._lost:
            return LookedAt(0, (_flaw(self._lost[number]),))
        self._watch.begin((number,))
        looked = decode_clip(record, payload)
        self._watch.count((number,), Progress(clips=1, bytes=len(payload)))
        self._watch.end((number,))
        return looked


def decode_clip(record: Record, payload: bytes, limits: Limits | None = None) -> LookedAt:
    """Decode every frame of a payload, and say what is not as its record tells.

    Args:
        record: what there should be.
        payload: the clip's bytes.
        limits: what is decoded at most.
    """
    frames = 0
    try:
        bounds = limits or Limits(max_bytes=_MOST_BYTES)
        with HeldMedia(payload, bounds) as media:
            found = probe(media, limits=bounds)
            for item in decode_spans(media, found, [Span(0, found.media.num_frames)], bounds):
                if isinstance(item, Lost):
                    raise item.error
                frames += 1
    except VIDEO_TROUBLE as error:
        fault = fault_of("the clip", error)
        return LookedAt(frames, (_flaw(fault, frames),))
    return LookedAt(frames, tuple(_differences(record.media, found.media, frames)))


def choose_clips(counts: Sequence[int], wanted: int, seed: int) -> dict[int, frozenset[int]]:
    """Draw clips of a dataset, each with the same chance; the draw depends on counts and seed alone.

    Args:
        counts: how many clips each shard has.
        wanted: how many to draw; all, where there are no more.
        seed: what the draw depends on.

    Returns:
        The numbers of the clips by the places of their shards, of those that have any.
    """
    ends = np.cumsum(np.asarray(counts, dtype=np.int64))
    total = int(ends[-1]) if len(ends) else 0
    drawn = np.sort(np.random.default_rng(seed).choice(total, min(wanted, total), replace=False))
    shards = np.searchsorted(ends, drawn, side="right")
    numbers = drawn - (ends - np.asarray(counts, dtype=np.int64))[shards]
    return {int(shard): frozenset(numbers[shards == shard].tolist()) for shard in np.unique(shards)}


def _differences(said: Media, found: Media, frames: int) -> list[Flaw]:
    flaws: list[Flaw] = []
    if frames != said.num_frames:
        flaws.append(Flaw("tar", Kind.FRAMES, f"{frames} frames, its record says {said.num_frames}"))
    odd = [each.name for each in fields(Media) if getattr(said, each.name) != getattr(found, each.name)]
    named = [f"{name} is {getattr(found, name)!r}, not {getattr(said, name)!r}" for name in odd if name != "num_frames"]
    if named:
        flaws.append(
            Flaw("tar", Kind.MEDIA, f"a probe finds another clip than its record tells of: {'; '.join(named)}")
        )
    return flaws


def _flaw(fault: Fault, frames: int = 0) -> Flaw:
    at = f"after {frames} frames: " if frames else ""
    return Flaw("tar", Kind.UNDECODABLE, f"{fault.reason.value}: {at}{fault.message}", fault.reason.value)
