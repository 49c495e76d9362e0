"""A dataset of tables alone, with as many rows as asked for, made of random numbers and words in little time."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from shards.layout import parquet_name, shard_stem
from shards.manifest import FileEntry, ShardEntry, describe, make_manifest, write_manifest
from shards.plan import BlockPlan
from shards.record import schema
from shards.store import open_store

_COPIES: Final = 0.01
"""Share of the rows that have the caption and the payload of another row of their shard."""


def write_dataset(folder: Path, rows: int, *, rows_per_shard: int, seed: int = 0) -> None:
    """Write a manifest and the tables of a dataset; its tars are not there.

    Args:
        folder: Where.
        rows: How many clips.
        rows_per_shard: How many of them a shard has; the last has what is left.
        seed: What all values are drawn from.
    """
    words = make_words(np.random.default_rng(seed))
    firsts = range(0, rows, rows_per_shard)
    write_tables(
        folder,
        (
            make_table(np.random.default_rng((seed, first)), min(rows_per_shard, rows - first), first, words)
            for first in firsts
        ),
    )


def write_tables(folder: Path, tables: Iterable[pa.Table]) -> None:
    """Write a manifest and these tables, one a shard, as a dataset; its tars are not there."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for number, table in enumerate(tables):
        stem = shard_stem(number)
        pq.write_table(table, folder / parquet_name(stem), compression="zstd")
        entries.append(_entry(stem, table, (folder / parquet_name(stem)).stat().st_size))
    rows = sum(entry.rows for entry in entries)
    most = max(entry.rows for entry in entries)
    plan = BlockPlan("0" * 64, "table.csv", rows, most, len(entries), {"preset": "copy"}, {})
    write_manifest(open_store(folder), make_manifest(plan, entries))


def make_table(random: np.random.Generator, rows: int, first: int, words: pa.Array) -> pa.Table:
    """Return a shard's table: durations and sizes spread as those of real corpora are, about 12 words a caption."""
    frames = np.maximum((random.lognormal(2.2, 0.7, rows) * 25).astype(np.int64), 1)
    fps = random.choice(np.array([23.976, 24.0, 25.0, 29.97, 30.0, 50.0, 59.94]), rows)
    height = random.choice(np.array([240, 336, 360, 480, 720, 1080], np.int32), rows)
    copies = np.where(random.random(rows) < _COPIES, random.integers(0, rows, rows), np.arange(rows))
    numbers = np.arange(first, first + rows)
    columns: dict[str, Any] = {
        "key": _texts("{}_00000", numbers),
        "caption": _captions(random, rows, words).take(pa.array(copies)),
        "source": _texts("videos/part/{}.mp4", numbers // 3 * 7919),
        "row": numbers,
        "clip": np.zeros(rows, np.int32),
        "duration": frames / fps,
        "num_frames": frames,
        "fps": fps,
        "width": (height * 16 // 9).astype(np.int32),
        "height": height,
        "rotation": np.where(random.random(rows) < _COPIES, 90, 0).astype(np.int32),
        "codec": pa.array(["h264", "hevc", "vp9"]).take(pa.array(random.integers(0, 3, rows))),
        "profile": pa.array(["High", "Main", None]).take(pa.array(random.integers(0, 3, rows))),
        "pix_fmt": pa.array(["yuv420p", "yuv444p"]).take(pa.array(random.integers(0, 2, rows))),
        "max_gop": random.integers(1, 251, rows).astype(np.int32),
        "bytes": (frames * random.lognormal(8, 0.5, rows)).astype(np.int64),
        "sha256": _hexadecimal(random, rows).take(pa.array(copies)),
        "cut": pa.array(["verbatim", "packets", "encoded"]).take(pa.array(random.integers(0, 3, rows))),
        "has_audio": random.random(rows) < 0.5,  # noqa: PLR2004 - one half
        "is_vfr": random.random(rows) < _COPIES,
        "decodable": pa.StructArray.from_arrays(
            [pa.array(random.random(rows) < share) for share in (1, 0.3, 0.9)], ["pyav", "dali_cpu", "nvdec"]
        ),
    }
    return pa.table([_column(columns, field, rows) for field in schema()], schema=schema())


def _column(columns: dict[str, Any], field: pa.Field, rows: int) -> pa.Array:
    """Return a column of the format; those that nobody counts hold nothing much."""
    if field.name in columns:
        found = columns[field.name]
        return pa.array(found, field.type) if isinstance(found, np.ndarray) else found.cast(field.type)
    if field.nullable:
        return pa.nulls(rows, field.type)
    empty: Any = [] if pa.types.is_list(field.type) else ("success" if pa.types.is_string(field.type) else 0)
    return pa.array([empty], field.type).take(pa.array(np.zeros(rows, np.int64)))


def make_words(random: np.random.Generator, count: int = 30_000) -> pa.Array:
    """Return made-up words."""
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    return pa.array(["".join(random.choice(letters, random.integers(2, 10))) for _ in range(count)])


def _captions(random: np.random.Generator, rows: int, words: pa.Array) -> pa.Array:
    """Return texts of words of which some are far more frequent than others."""
    lengths = random.integers(4, 21, rows)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    chosen = (len(words) * random.random(int(offsets[-1])) ** 6).astype(np.int32)
    return pc.binary_join(pa.ListArray.from_arrays(pa.array(offsets), words.take(pa.array(chosen))), " ")


def _hexadecimal(random: np.random.Generator, rows: int) -> pa.Array:
    digits = np.frombuffer(b"0123456789abcdef", np.uint8)[random.integers(0, 16, (rows, 64), np.uint8)]
    return pa.array(digits.view("S64").ravel()).cast(pa.string())


def _texts(pattern: str, numbers: NDArray[np.int64]) -> pa.Array:
    before, after = pattern.split("{}")
    middle = pc.utf8_lpad(pa.array(numbers).cast(pa.string()), 9, "0")
    return pc.binary_join_element_wise(before, middle, after, "")


def _entry(stem: str, table: pa.Table, size: int) -> ShardEntry:
    nothing = describe(b"")
    clips = table.num_rows
    return ShardEntry(
        stem=stem,
        rows=clips,
        clips=clips,
        seconds=float(_sum(table, "duration")),
        frames=int(_sum(table, "num_frames")),
        tar=FileEntry(int(_sum(table, "bytes")), nothing.sha256),
        idx=nothing,
        parquet=FileEntry(size, nothing.sha256),
        stats=nothing,
        ledger=nothing,
        status={"success": clips},
        reasons={},
    )


def _sum(table: pa.Table, name: str) -> float:
    found: float = pc.sum(table[name], min_count=0).as_py()
    return found
