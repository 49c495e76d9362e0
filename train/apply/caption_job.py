"""Captions of a dataset's clips, written over ranks, shard by shard; what was done before a crash is kept."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from model.generation import Generation
from shards.dataset import open_dataset
from shards.manifest import Manifest
from shards.store import Store
from train.apply.embed_table import weights_digest
from train.apply.parts import Made, Parts, fill, in_rounds, require_absent
from train.apply.shard_clips import ClipPass, Computing, blank_clip, part_of, records_of
from train.evaluate.gathering import gather_values
from train.parallel import Ranks
from train.pretrained import Pretrained

_SIDES: Final = ("source", "row", "clip")


@dataclass(frozen=True, slots=True)
class CaptionSettings:
    """How captions are written: beams that grow side by side (1: greedily), and the most tokens of one."""

    beams: int = 1
    max_tokens: int = 30
    computing: Computing = field(default_factory=Computing)


@dataclass(frozen=True, slots=True)
class Captioned:
    """How many clips there are, and how many of them have no caption."""

    clips: int
    unusable: int


def caption_dataset(
    model: Pretrained,
    dataset: str,
    out: str | None,
    settings: CaptionSettings,
    ranks: Ranks,
    *,
    tell: Callable[[str], Any],
) -> Captioned:
    """Write a caption for each clip, each once over all ranks, which all call this.

    A line is a JSON object: ``key``, ``caption`` (what was written, or null), ``given`` (the dataset's caption),
    ``source``, ``row``, ``clip``, and ``error`` where there is none.

    Args:
        model: The network, the same on all ranks, on their device.
        dataset: The dataset: folder or URL.
        out: The file: path or URL; None hands lines to ``tell``.
        settings: How to write.
        ranks: The ranks.
        tell: Takes a line, on the first rank.

    Raises:
        ValueError: The network writes no captions, or ``out`` is there, or its parts were made otherwise.
        StoreError: Something cannot be read or written.
    """
    store, manifest = open_dataset(dataset)
    job = _Job(model, store, manifest, settings)
    every = range(len(job.manifest.shards))
    if out is None:
        unusable = 0
        for found in in_rounds(every, ranks, job.lines, told="shards", total=len(every)):
            for line in (line for lines in found for line in lines):
                unusable += _failed(line)
                if ranks.first:
                    tell(line)
        return Captioned(job.manifest.totals.clips, unusable)
    return _to_file(job, Parts.of(out), ranks)


def _to_file(job: _Job, parts: Parts, ranks: Ranks) -> Captioned:
    """Write a part for each shard, then the whole."""
    manifest = job.manifest
    pending: list[int] = []
    if ranks.first:
        require_absent(parts.place)
        parts.begin(job.told())
        pending = parts.pending(manifest)

    def make(number: int) -> Made:
        lines = job.lines(number)
        return Made("".join(f"{line}\n" for line in lines).encode(), len(lines))

    fill(parts, manifest, pending, ranks, make)
    unusable = 0
    if ranks.first:
        unusable = sum(_failed(line) for line in _lines(parts, manifest))
        parts.publish(lambda path: _join(parts, manifest, path))
    return Captioned(manifest.totals.clips, sum(gather_values(ranks, [unusable])))


class _Job:
    """Writes the captions of a shard."""

    def __init__(self, model: Pretrained, store: Store, manifest: Manifest, settings: CaptionSettings) -> None:
        self._model, self._store, self.manifest, self._settings = model, store, manifest, settings
        room = getattr(getattr(model.network, "config", None), "text", None)
        most = settings.max_tokens if room is None else min(settings.max_tokens, room.context - 1)
        self._how = Generation(kind="greedy" if settings.beams == 1 else "beam", beams=settings.beams, max_tokens=most)
        model.caption(blank_clip(model), self._how)  # what does not fit is told before anything is written

    def told(self) -> dict[str, Any]:
        """Return what decides the captions, as JSON values."""
        return {
            "weights": weights_digest(self._model.network),
            "vocabulary": self._model.tokenizer.digest if self._model.tokenizer else None,
            "dataset": self.manifest.digest,
            "clips": self._model.settings.to_plain(),
            "beams": self._how.beams,
            "max_tokens": self._how.max_tokens,
            "precision": self._settings.computing.precision,
        }

    def lines(self, number: int) -> list[str]:
        """Return a line of JSON for each clip of a shard, in order."""
        records = records_of(self._store, self.manifest.shards[number])
        if not len(records):
            return []
        found = self._written(number)
        rows = records.select(["key", "caption", *_SIDES]).to_pylist()
        return [_line(row, found.captions.get(row["key"]), found.failures.get(row["key"])) for row in rows]

    def _written(self, number: int) -> _Written:
        model, computing = self._model, self._settings.computing
        config = model.loader_config(self._store.url, **computing.loading(model.device))
        clips = ClipPass(config, self._store, part_of(self.manifest, number))
        captions: dict[str, str] = {}
        for batch in clips:
            with computing.casting(model.device):
                found = model.caption(batch.video, self._how)
            good = batch.valid.tolist()
            captions |= {key: text for key, text, usable in zip(batch.keys, found, good, strict=True) if usable}
        return _Written(captions, clips.failures)


@dataclass(frozen=True, slots=True)
class _Written:
    """Captions by key, and why there is none, by key."""

    captions: dict[str, str]
    failures: dict[str, str]


def _line(row: dict[str, Any], written: str | None, error: str | None) -> str:
    told = {"key": row["key"], "caption": written, "given": row["caption"]} | {name: row[name] for name in _SIDES}
    return json.dumps(told if error is None else told | {"error": error}, ensure_ascii=False)


def _failed(line: str) -> bool:
    return json.loads(line)["caption"] is None


def _lines(parts: Parts, manifest: Manifest) -> Iterator[str]:
    for entry in manifest.shards:
        with parts.open(entry) as file:
            yield from (line.decode() for line in file)


def _join(parts: Parts, manifest: Manifest, path: Path) -> None:
    with path.open("wb") as whole:
        for entry in manifest.shards:
            with parts.open(entry) as file:
                shutil.copyfileobj(file, whole)
