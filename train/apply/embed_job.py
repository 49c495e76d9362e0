"""A dataset embedded over ranks, shard by shard, into one file; what was done before a crash is kept."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from rich.console import Console

from shards.dataset import open_dataset
from shards.manifest import Manifest
from train.apply.console import printable
from train.apply.embed_npy import NpyTarget, write_npy
from train.apply.embed_pieces import Embedder, EmbedSettings
from train.apply.embed_table import About, Embeddings, read_batches, schema_of, table_of, to_bytes, write_whole
from train.apply.parts import Made, Parts, fill, is_there, require_same
from train.apply.shard_clips import records_of
from train.parallel import Ranks
from train.pretrained import Pretrained

__all__ = ["EmbedReport", "NpyTarget", "embed_dataset"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EmbedReport:
    """What was embedded.

    Attributes:
        out: The file.
        about: What it says of itself.
        rows: Its rows with an embedding.
        unusable: Key of each clip that has none, at least for a part of it, and why.
        npy: Where the .npy files are, or None.
    """

    out: str
    about: About
    rows: int
    unusable: Sequence[dict[str, str]]
    npy: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the report as one JSON object."""
        return {
            "out": self.out,
            "rows": self.rows,
            "unusable": list(self.unusable),
            "npy": self.npy,
            "about": self.about.to_plain(),
        }

    def show(self, console: Console) -> None:
        """Write the report as lines."""
        console.print(
            printable(f"{self.out}: {self.rows} embeddings of {self.about.of}, {self.about.dim} channels"),
            soft_wrap=True,
        )
        if self.npy is not None:
            console.print(printable(f"{self.npy}: the same as .npy files; features.json tells of each"), soft_wrap=True)
        for each in self.unusable:
            console.print(printable(f"{each['key']} could not be embedded: {each['error']}"), soft_wrap=True)
        if self.unusable:
            console.print(f"{len(self.unusable)} could not be embedded; their rows have no embedding", soft_wrap=True)


def embed_dataset(
    model: Pretrained, dataset: str, out: str, settings: EmbedSettings, ranks: Ranks, *, npy: NpyTarget | None = None
) -> EmbedReport:
    """Embed a dataset into one Parquet file, each shard once over all ranks, which all call this.

    Batches do not cross shards, so the file does not depend on the number of ranks. A finished file of the same
    network, dataset and settings is left as it is.

    Args:
        model: The network, the same on all ranks, on their device.
        dataset: The dataset: folder or URL.
        out: The file: path or URL.
        settings: What is embedded and how.
        ranks: The ranks.
        npy: Where .npy files go, too; None writes none.

    Raises:
        ValueError: The network has no such embeddings, or ``out`` or its parts were made otherwise.
        StoreError: Something cannot be read or written.
    """
    store, manifest = open_dataset(dataset)
    embedder = Embedder(model, settings, store, manifest)
    parts = Parts.of(out)
    pending: list[int] = []
    done = False
    if ranks.first:
        done = _is_done(out, embedder.about)
        if not done:
            parts.begin(embedder.about.to_plain())
            pending = parts.pending(manifest)

    def make(number: int) -> Made:
        entry = manifest.shards[number]
        records = records_of(store, entry)
        table = table_of(embedder.about, entry.stem, records, embedder.pieces(number, records))
        return Made(to_bytes(table), len(table) - table["embedding"].null_count)

    fill(parts, manifest, pending, ranks, make)
    if ranks.first:
        _finish(parts, manifest, embedder.about, done=done)
        if npy is not None:
            write_npy(Embeddings(out), npy)
    ranks.wait()
    return _report(out, None if npy is None else npy.place)


def _is_done(out: str, about: About) -> bool:
    """Tell whether the whole file is there.

    Raises:
        ValueError: There is one that was made otherwise.
    """
    if not is_there(out):
        return False
    require_same(Embeddings(out).about.to_plain(), about.to_plain(), f"{out} is there", "remove it")
    _log.info("%s is complete", out)
    return True


def _finish(parts: Parts, manifest: Manifest, about: About, *, done: bool) -> None:
    """Put the parts together, or remove those that a crash left beside the whole."""
    if done:
        parts.clear()
        return
    schema = schema_of(about)

    def batches() -> Iterator[pa.RecordBatch]:
        for entry in manifest.shards:
            with parts.open(entry) as file:
                for batch in read_batches(file, parts.name(entry)):
                    yield batch.cast(schema)

    def write(path: Path) -> None:
        write_whole(path, schema, batches())

    parts.publish(write)


def _report(out: str, npy: str | None) -> EmbedReport:
    found = Embeddings(out)
    rows = 0
    unusable: list[dict[str, str]] = []
    for batch in found.batches("key", "error"):
        rows += batch["error"].null_count
        failed = batch.filter(batch["error"].is_valid())
        unusable += [{"key": row["key"], "error": row["error"]} for row in failed.to_pylist()]
    return EmbedReport(out, found.about, rows, unusable, npy)
