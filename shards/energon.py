"""The files that Megatron-Energon wants beside tars, as its own ``energon prepare`` would make them."""

from __future__ import annotations

import json
import sqlite3
import struct
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path
from typing import Final

from shards import layout
from shards.record import Member

FOLDER: Final = ".nv-meta"
INFO_NAME: Final = f"{FOLDER}/.info.json"
SPLIT_NAME: Final = f"{FOLDER}/split.yaml"
DATASET_NAME: Final = f"{FOLDER}/dataset.yaml"
SAMPLES_NAME: Final = f"{FOLDER}/index.sqlite"
UUID_NAME: Final = f"{FOLDER}/index.uuid"

MADE_FOR: Final = "7.4.1"
"""The version of megatron-energon whose files these are."""

# The tables of version 7.4.1 (megatron-energon, flavors/webdataset/indexing.py); its readers ask for these columns.
_TABLES: Final = (
    """CREATE TABLE samples (
    tar_file_id INTEGER NOT NULL, sample_key TEXT NOT NULL UNIQUE, sample_index INTEGER NOT NULL,
    byte_offset INTEGER, byte_size INTEGER)""",
    """CREATE TABLE sample_parts (
    tar_file_id INTEGER, sample_index INTEGER, part_name TEXT,
    content_byte_offset INTEGER, content_byte_size INTEGER)""",
)
_INDEXES: Final = (
    "CREATE INDEX idx_samples_by_tar_and_idx ON samples(tar_file_id, sample_index)",
    "CREATE INDEX idx_sample_parts_seq ON sample_parts(tar_file_id, sample_index, content_byte_offset)",
    """CREATE INDEX idx_sample_parts_full ON sample_parts(
    tar_file_id, sample_index, part_name, content_byte_offset, content_byte_size)""",
)
_NAMESPACE: Final = uuid.UUID("c0f3ab1c-55bb-5d4a-9f0e-4ed9f2bb7a11")


class DuplicateKeyError(ValueError):
    """Two samples of a dataset have the same key, which a reader does not take."""


@dataclass(frozen=True, slots=True)
class PlacedSample:
    """A sample as a tar's reader meets it: its key, the byte at which its first header starts, and its members."""

    key: str
    start: int
    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class PlacedTar:
    """A tar's name from the dataset's folder, its samples in order, and the byte at which the last of them ends."""

    name: str
    samples: Sequence[PlacedSample]
    content: int

    @property
    def starts(self) -> list[int]:
        """Where each sample starts, and where the last one ends."""
        return [*(sample.start for sample in self.samples), self.content]


def tar_index_name(tar: str) -> str:
    """Return the name of a tar's own index, ``00000.tar -> 00000.tar.idx``."""
    return tar.removesuffix(layout.TAR_SUFFIX) + layout.TAR_IDX_SUFFIX


def tar_index(tar: PlacedTar) -> bytes:
    """Return a tar's own index: 8 bytes, little-endian, for each sample's start and the last one's end."""
    return struct.pack(f"<{len(tar.starts)}Q", *tar.starts)


def write_samples(path: Path, tars: Iterable[PlacedTar]) -> None:
    """Write the table of all samples and their members as an SQLite file; the bytes follow from the tars alone.

    Raises:
        DuplicateKeyError: a key comes twice, in one tar or in two.
    """
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        # Nobody reads the file before it is whole, and it is made again after a crash.
        for statement in ("PRAGMA journal_mode=OFF", "PRAGMA synchronous=OFF", "BEGIN", *_TABLES):
            database.execute(statement)
        for number, tar in enumerate(tars):
            _write_tar(database, number, tar)
        for statement in (*_INDEXES, "COMMIT"):
            database.execute(statement)


def info_json(counts: Mapping[str, int]) -> bytes:
    """Return what makes a folder a dataset of Energon's: each tar's number of samples, but for empty ones."""
    shard_counts = {name: count for name, count in counts.items() if count}
    return json.dumps({"energon_version": MADE_FOR, "shard_counts": shard_counts}, indent=2).encode()


def split_yaml(tars: Sequence[str], excluded: Sequence[str] = ()) -> bytes:
    """Return the split that trains on all tars; ``excluded`` are samples, spelt ``<tar>/<key>``.

    Other splits are a matter of editing this file, or of a dataset of their own.
    """
    lines = ["split_parts:", "  train:", *(f"  - {_quoted(name)}" for name in collapse(tars))]
    lines += ["  val: []", "  test: []"]
    lines += ["exclude:", *(f"- {_quoted(name)}" for name in excluded)] if excluded else ["exclude: []"]
    return "\n".join([*lines, ""]).encode()


def dataset_yaml() -> bytes:
    """Return the sample's type: members as they are, for a cooker of the user's, since clips may be of any container.

    None of Energon's fixed types is a video with a caption (its captioning type holds one decoded image).
    """
    return b"__module__: megatron.energon\n__class__: CrudeWebdataset\n"


def index_uuid(digest: str) -> bytes:
    """Return the index's identity, by which Energon's caches know it: it follows from the dataset's digest."""
    return str(uuid.uuid5(_NAMESPACE, digest)).encode()


def collapse(names: Sequence[str]) -> list[str]:
    """Return names with each run of numbered ones as one, ``{00000..00009}.tar``; the order stays."""
    out: list[str] = []
    numbered = [(_number(name), name) for name in names]
    runs = groupby(enumerate(numbered), key=lambda pair: _run_of(pair[0], *pair[1]))
    for _, group in runs:
        found = [name for _, (_, name) in group]
        first, last = (name.removesuffix(layout.TAR_SUFFIX) for name in (found[0], found[-1]))
        out += found if len(found) == 1 else [f"{{{first}..{last}}}{layout.TAR_SUFFIX}"]
    return out


def _write_tar(database: sqlite3.Connection, number: int, tar: PlacedTar) -> None:
    spans = pairwise(tar.starts)
    samples = [
        (number, sample.key, at, start, stop - start)
        for at, (sample, (start, stop)) in enumerate(zip(tar.samples, spans, strict=True))
    ]
    parts = [
        (number, at, member.ext, member.offset, member.size)
        for at, sample in enumerate(tar.samples)
        for member in sample.members
    ]
    try:
        database.executemany("INSERT INTO samples VALUES (?, ?, ?, ?, ?)", samples)
    except sqlite3.IntegrityError:
        raise DuplicateKeyError(_repeated(database, number, tar)) from None
    database.executemany("INSERT INTO sample_parts VALUES (?, ?, ?, ?, ?)", parts)


def _repeated(database: sqlite3.Connection, number: int, tar: PlacedTar) -> str:
    seen: set[str] = set()
    for sample in tar.samples:
        query = "SELECT tar_file_id FROM samples WHERE sample_key = ? AND tar_file_id != ?"
        if sample.key in seen or database.execute(query, (sample.key, number)).fetchone():
            return f"the key {sample.key!r} of {tar.name} comes twice in the dataset, which Energon does not take"
        seen.add(sample.key)
    return f"a key of {tar.name} comes twice in the dataset, which Energon does not take"


def _number(name: str) -> int | None:
    stem = name.removesuffix(layout.TAR_SUFFIX)
    return int(stem) if layout.is_stem(stem) and name != stem else None


def _run_of(place: int, number: int | None, name: str) -> tuple[int, int]:
    """Return what names of one run share: the distance of number and place, and their length."""
    return (-1 - place, 0) if number is None else (number - place + (1 << 40), len(name))


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
