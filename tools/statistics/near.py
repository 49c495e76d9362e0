"""Near duplicates among a sample of clips: their pictures are decoded, hashed and compared."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from shards.layout import tar_name
from tools.corpus.dedup import DedupSettings, decide
from tools.corpus.fingerprint_table import Fingerprints
from tools.corpus.likeness import picture_share
from tools.statistics.hashing import Hashes
from tools.statistics.model import NearFacts, NearPair
from tools.statistics.picture_hashes import picture_hashes
from tools.statistics.scan import in_threads
from tools.statistics.tables import Shard, Source, find_rows, place, read_chosen

_SIDE_FILES: Final = frozenset({"txt", "json"})
_SETTINGS: Final = DedupSettings("near")
_PARTS: Final = 32
"""Bits behind the number of a row in ``Duplicates``."""


@dataclass(frozen=True, slots=True)
class Print:
    """What is compared of a clip: its place and key, a digest of its bytes, frames, seconds, hashes of its pictures.

    Where it cannot be decoded, ``hashes`` is None.
    """

    place: int
    key: str
    digest: str
    frames: int
    seconds: float
    hashes: Hashes | None


def find_near(
    sources: Sequence[Source], places: Sequence[int], progress: Callable[[int], None] = lambda _: None
) -> NearFacts:
    """Decode some pictures of clips, on all cores, and return which clips are like which earlier ones.

    Clips are alike as ``vidloom shard --dedup near`` has it, with its standard settings: the same bytes, or 60 % of the
    pictures of both with a like one in the other, of which at most 10 of the hash's 64 bits differ.

    Args:
        sources: The datasets.
        places: Where the clips stand.
        progress: Is told of clips as they are decoded.

    Raises:
        StoreError: a file cannot be read.
        ValueError: a table is damaged; the message names it.
    """
    prints: list[Print] = []
    for some in in_threads(_prints, find_rows(sources, places), os.cpu_count() or 1):
        prints += some
        progress(len(some))
    sound = sorted((one for one in prints if one.hashes is not None), key=lambda one: one.place)
    pairs = _pairs(sound)
    return NearFacts(len(sound), len(prints) - len(sound), len(pairs), tuple(pairs))


def _prints(wanted: tuple[Shard, list[int]]) -> list[Print]:
    shard, rows = wanted
    columns = ("key", "sha256", "num_frames", "duration", "members")
    found = []
    for row, values in read_chosen(shard, rows, columns):
        member = next(one for one in values["members"] if one["ext"] not in _SIDE_FILES)
        start = member["offset"]
        payload = shard.store.read_range(tar_name(shard.entry.stem), start, start + member["size"])
        found.append(
            Print(
                place=place(shard, row),
                key=values["key"],
                digest=hashlib.sha256(payload).hexdigest(),
                frames=values["num_frames"],
                seconds=values["duration"],
                hashes=picture_hashes(values["key"], payload),
            )
        )
    return found


def _pairs(prints: Sequence[Print]) -> list[NearPair]:
    """Return the clips that are like an earlier one, each with the earliest such."""
    if not prints:
        return []
    table = _table(prints)
    found = decide(table, _SETTINGS)
    numbers = {one.place: number for number, one in enumerate(prints)}
    assert len(numbers) == len(prints), "each clip has a place of its own"
    pairs = []
    for later, earlier in zip((found.places >> _PARTS).tolist(), (found.originals >> _PARTS).tolist(), strict=True):
        same = prints[later].digest == prints[earlier].digest
        share = 1.0 if same else picture_share(table, np.array([later, earlier]), _SETTINGS.bits)
        pairs.append(NearPair(prints[later].key, prints[earlier].key, share))
    return pairs


def _table(prints: Sequence[Print]) -> Fingerprints:
    """Return the prints as they are compared, with their numbers for rows."""
    count = len(prints)
    hashes = [one.hashes if one.hashes is not None else np.empty(0, np.uint64) for one in prints]
    return Fingerprints(
        row=np.arange(count),
        part=np.zeros(count, np.int32),
        source=np.unique([one.digest for one in prints], return_inverse=True)[1].astype(np.int32),
        first=np.zeros(count, np.int64),
        stop=np.array([one.frames for one in prints], np.int64),
        seconds=np.array([one.seconds for one in prints], np.float32),
        caption=np.arange(count, dtype=np.int32),
        ends=np.cumsum([len(one) for one in hashes]),
        hashes=np.concatenate(hashes),
        words=np.zeros((count, 1), np.uint16),
    )
