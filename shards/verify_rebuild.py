"""Files of a shard made again from those that are sound, byte for byte as they were, or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from shards import layout
from shards.dataset import KINDS
from shards.index import DamagedShardError, format_idx
from shards.ledger import LedgerRow, LedgerSums, write_ledger
from shards.manifest import FileEntry, ShardEntry
from shards.placed import place_shard
from shards.reader import read_records
from shards.record import COLUMNS, EXTRA_TYPES, LATER_COLUMNS, Record, schema
from shards.store import Store
from shards.verify_samples import PassedSample, flaws_of, passed_samples
from shards.verify_stream import PassingFile, TarWalk
from shards.writer import BuiltShard, Clip, ShardWriter, spell_summary, write_records

_SIDE_EXTS: Final = frozenset({layout.CAPTION_EXT, layout.RECORD_EXT})


class NotRebuiltError(ValueError):
    """A file cannot be made again; the message says why."""


@dataclass(frozen=True)
class Rebuilding:
    """A shard whose files are to be made again.

    ``store`` is the dataset's, which follows links; ``columns`` are those of the records besides the format's own, with
    their types, and the format's later ones that its records have. ``scratch`` is a local folder.
    """

    store: Store
    entry: ShardEntry
    columns: RecordColumns
    scratch: Path

    def make(self, kind: str) -> Path:
        """Make a file again, of a kind that ``shards.verify_repairable`` says can be made, and return where it lies.

        Raises:
            NotRebuiltError: what was made is not the file that was written.
            StoreError: what it is made from cannot be read.
        """
        self.scratch.mkdir(parents=True, exist_ok=True)
        expect = list(self.entry.files().values())[KINDS.index(kind)]
        tried: list[str] = []
        for path in getattr(self, f"_{kind}")():
            found = describe_file(path)
            if found == expect:
                return Path(path)
            tried.append(f"{found.bytes} bytes with hash {found.sha256}")
        raise NotRebuiltError(
            f"what is made of the shard's other files has {tried[-1]}, and is not the file that the manifest tells of; "
            "that one may have been written by another version of pyarrow"
        )

    def _tar(self) -> Iterator[Path]:
        name, rows = layout.tar_name(self.entry.stem), self._rows()
        known = self.store.stat(name) if rows else None
        with ShardWriter(self.entry.stem, self.scratch / "tar", self.columns.extra) as writer:
            for record in rows:
                clip = next(member for member in record.members if member.ext not in _SIDE_EXTS)
                payload = self.store.read_range(name, clip.offset, clip.offset + clip.size, known=known)
                writer.add(Clip(record, payload, clip.ext))
            built = writer.finish()
        yield built.paths["tar"]

    def _parquet(self) -> Iterator[Path]:
        path = self.scratch / layout.parquet_name(self.entry.stem)
        write_records(self._rows_of_tar(), self.columns.schema(), path)
        yield path

    def _idx(self) -> Iterator[Path]:
        path = self.scratch / layout.idx_name(self.entry.stem)
        with contextlib.suppress(OSError, ValueError):  # the records may be gone, or damaged as well
            path.write_bytes(format_idx(place_shard(self.store, self.entry, "").records()))
            yield path
        path.write_bytes(format_idx([sample.as_indexed() for sample in self._passed()]))
        yield path

    def _stats(self) -> Iterator[Path]:
        entry, path = self.entry, self.scratch / layout.stats_name(self.entry.stem)
        files = {"tar": entry.tar, "idx": entry.idx, "parquet": entry.parquet}
        built = BuiltShard(entry.stem, {}, files, entry.clips, entry.seconds, entry.frames)
        path.write_bytes(spell_summary(built, LedgerSums(entry.rows, entry.status, entry.reasons)))
        yield path

    def _ledger(self) -> Iterator[Path]:
        """Make the ledger of a shard all of whose rows were stored; adoption notes in it what stands in records."""
        path, rows = self.scratch / f"ledger{layout.PARQUET_SUFFIX}", self._rows()
        for noted in (False, True):
            path.write_bytes(write_ledger(_success(row, noted=noted) for row in rows))
            yield path

    def _rows(self) -> list[Record]:
        name = layout.parquet_name(self.entry.stem)
        try:
            table = read_records(self.store.read(name), name=name)
        except (OSError, DamagedShardError):
            return self._rows_of_tar()
        return [Record.from_row(row) for row in table.to_pylist()]

    def _rows_of_tar(self) -> list[Record]:
        found = [sample.record() for sample in self._passed()]
        return [record for record in found if record is not None]

    def _passed(self) -> Iterator[PassedSample]:
        yield from sound_samples(self.store, layout.tar_name(self.entry.stem))


@dataclass(frozen=True)
class RecordColumns:
    """The columns of a dataset's records: those besides the format's own by name and type, and which later ones."""

    extra: Mapping[str, str]
    later: frozenset[str] = LATER_COLUMNS

    @classmethod
    def of(cls, found: pa.Schema) -> RecordColumns:
        """Return the columns of a table of records."""
        kinds = {kind: name for name, kind in EXTRA_TYPES.items()}
        extra = {field.name: kinds[field.type] for field in found if field.name not in COLUMNS}
        return cls(extra, LATER_COLUMNS.intersection(found.names))

    def schema(self) -> pa.Schema:
        """Return the schema of such a table."""
        whole = schema(self.extra)
        left_out = LATER_COLUMNS - self.later
        return pa.schema([field for field in whole if field.name not in left_out], metadata=whole.metadata)


def find_columns(store: Store, stems: Iterator[str], otherwise: Mapping[str, str]) -> RecordColumns:
    """Return the columns that the records of a dataset have, as the first readable table tells.

    Args:
        store: the dataset's, which follows links.
        stems: the shards whose tables are looked at.
        otherwise: the user's columns and their types as the plan tells, where no table is readable.

    Raises:
        StoreError: the store cannot be reached.
    """
    for stem in stems:
        name = layout.parquet_name(stem)
        if not store.exists(name):
            continue
        with store.open(name) as file:
            try:
                return RecordColumns.of(pq.ParquetFile(file, pre_buffer=False).schema_arrow)
            except (pa.ArrowException, KeyError, ValueError, OSError):
                continue
    return RecordColumns(otherwise)


def sound_samples(store: Store, name: str) -> Iterator[PassedSample]:
    """Yield the samples of a tar of ours that has nothing wrong with it.

    Raises:
        NotRebuiltError: something is.
        StoreError: it cannot be read.
    """
    file = PassingFile(store, name)
    walk = TarWalk(file, (), name)
    for sample in passed_samples(walk, file, None, None):
        flaw = next(flaws_of(sample, None), None)
        if flaw is not None:
            raise NotRebuiltError(f"sample {sample.key} of {name}: {flaw.what}")
        yield sample
    if walk.damage:
        raise NotRebuiltError(str(walk.damage[0]))


def describe_file(path: Path) -> FileEntry:
    """Return the length and hash of a local file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return FileEntry(file.seek(0, os.SEEK_END), digest)


def _success(record: Record, *, noted: bool) -> LedgerRow:
    note = record.cut_reason if noted else None
    return LedgerRow(record.row, record.clip, record.key, record.source, "success", None, note)
