"""Read one shard, in order or by sample, straight from its byte offsets; refuse a damaged one by name."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from shards import layout
from shards.index import DamagedShardError, padded, parse_header, require_end_of_archive
from shards.manifest import ShardEntry
from shards.record import COLUMNS, LATER_COLUMNS, Member, Record
from shards.store import Store

_SIDE_EXTS: Final = frozenset({layout.CAPTION_EXT, layout.RECORD_EXT})


class DamagedSampleError(ValueError):
    """One sample of a whole shard cannot be used: its bytes are not those that were stored.

    Args:
        shard: the shard's tar, as a person can find it.
        key: the sample's key.
        what: what is wrong.
    """

    def __init__(self, shard: str, key: str, what: str) -> None:
        self.shard, self.key, self.what = shard, key, what
        super().__init__(f"sample {key} of {shard} is damaged: {what}; 'vidloom verify' checks the whole dataset")

    def __reduce__(self) -> tuple[type[DamagedSampleError], tuple[str, str, str]]:
        """Let the error travel between processes with its fields."""
        return type(self), (self.shard, self.key, self.what)


@dataclass(frozen=True, slots=True)
class EncodedClip:
    """One sample as it is stored: its record, the encoded video, that video's extension, and the caption."""

    record: Record
    payload: bytes
    ext: str
    caption: str


@dataclass(frozen=True, slots=True)
class MemberTable:
    """Offsets and sizes in bytes of a shard's members, in file order; ``ends[i]`` members belong to rows 0 to i."""

    exts: list[str]
    offsets: np.ndarray[Any, np.dtype[np.int64]]
    sizes: np.ndarray[Any, np.dtype[np.int64]]
    ends: np.ndarray[Any, np.dtype[np.int64]]

    @classmethod
    def of(cls, column: pa.ChunkedArray) -> MemberTable:
        """Take the members apart from the ``members`` column of a shard's records."""
        whole = column.combine_chunks()
        flat = whole.flatten()
        lengths = np.asarray(whole.value_lengths(), dtype=np.int64)
        offsets = np.asarray(flat.field("offset"), dtype=np.int64)
        sizes = np.asarray(flat.field("size"), dtype=np.int64)
        return cls(flat.field("ext").to_pylist(), offsets, sizes, np.cumsum(lengths))

    def of_row(self, row: int) -> list[Member]:
        """Return the members of one row."""
        first = int(self.ends[row - 1]) if row else 0
        return [
            Member(self.exts[at], int(self.offsets[at]), int(self.sizes[at]))
            for at in range(first, int(self.ends[row]))
        ]

    @property
    def content(self) -> int:
        """The byte at which the last member's padding ends."""
        return int(self.offsets[-1]) + padded(int(self.sizes[-1])) if len(self.offsets) else 0

    def gapless(self) -> bool:
        """Tell whether every member's header starts where the member before it ends, the first at byte 0."""
        ends = self.offsets + -(-self.sizes // layout.BLOCK_BYTES) * layout.BLOCK_BYTES
        starts = np.concatenate([np.zeros(1, dtype=np.int64), ends[:-1]])
        return bool((self.offsets == starts[: len(self.offsets)] + layout.BLOCK_BYTES).all())


class ShardReader:
    """Random access to one shard; threads may read at the same time, until it is closed.

    Args:
        tar: the shard's tar, on this machine.
        parquet: its records: the file, its bytes, or the table.
        entry: the shard's entry in the manifest, against which lengths and counts are checked. Of a foreign tar only
            the length is: it may have gaps between the members that the records name, and other names for them.
        name: what messages call the tar.

    Raises:
        DamagedShardError: the tar is cut anywhere, or it and the records do not belong together.
    """

    def __init__(
        self,
        tar: Path,
        parquet: Path | bytes | pa.Table,
        entry: ShardEntry | None = None,
        *,
        name: str,
    ) -> None:
        self.name = name
        self._table = parquet if isinstance(parquet, pa.Table) else read_records(parquet, name=name)
        self._is_foreign = entry is not None and entry.is_foreign
        self._members = MemberTable.of(self._table["members"])
        self._handle = os.open(tar, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._require_whole(entry)
        except BaseException:
            self.close()
            raise

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def __iter__(self) -> Iterator[EncodedClip]:
        return (self.read(i) for i in range(len(self)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def table(self) -> pa.Table:
        """The shard's records as they are stored, one row a sample."""
        return self._table

    def record(self, i: int) -> Record:
        """Return the record of sample ``i``.

        Raises:
            IndexError: the shard has no such sample.
        """
        if not 0 <= i < len(self):
            raise IndexError(f"{self.name} has samples 0 to {len(self) - 1}, asked for was {i}")
        return Record.from_row(self._table.slice(i, 1).to_pylist()[0])

    def read(self, i: int, *, check: bool = True) -> EncodedClip:
        """Return sample ``i``.

        Args:
            i: number of the sample in the shard, from 0.
            check: compare the payload's hash with the record's; our own tars' header before it is compared in any case.

        Raises:
            IndexError: the shard has no such sample.
            DamagedSampleError: the bytes are not the sample's.
            DamagedShardError: the file was cut after it was opened.
        """
        record = self.record(i)
        member = next((m for m in record.members if m.ext not in _SIDE_EXTS), None)
        if member is None:
            raise DamagedSampleError(self.name, record.key, "its record names no video")
        if not self._is_foreign:
            self._require_header(record.key, member)
        payload = self._pread(member.offset, member.size)
        if check and hashlib.sha256(payload).hexdigest() != record.sha256:
            raise DamagedSampleError(
                self.name, record.key, f"the {member.size} bytes of {member.ext} have another hash"
            )
        return EncodedClip(record, payload, member.ext, record.caption)

    def close(self) -> None:
        """Close the tar; reading afterwards raises ValueError."""
        handle, self._handle = self._handle, -1
        if handle >= 0:
            os.close(handle)

    def _require_whole(self, entry: ShardEntry | None) -> None:
        size = os.fstat(self._handle).st_size
        if entry is not None and size != entry.tar.bytes:
            raise DamagedShardError(self.name, f"{size} bytes, the manifest says {entry.tar.bytes}", size)
        if entry is not None and len(self) != entry.clips:
            raise DamagedShardError(self.name, f"{len(self)} records, the manifest says {entry.clips} clips", 0)
        if self._is_foreign:
            return
        if not self._members.gapless():
            raise DamagedShardError(self.name, "its records name byte offsets with gaps between them", 0)
        with os.fdopen(os.dup(self._handle), "rb") as file:
            require_end_of_archive(file, self._members.content, size=size, name=self.name)

    def _require_header(self, key: str, member: Member) -> None:
        start = member.offset - layout.BLOCK_BYTES
        try:
            header = parse_header(self._pread(start, layout.BLOCK_BYTES), name=self.name, offset=start)
        except DamagedShardError as error:
            raise DamagedSampleError(self.name, key, f"{error.what} at byte {error.offset}") from None
        wanted = layout.member_name(key, member.ext)
        if (header.name, header.size) != (wanted, member.size):
            found = f"{header.name} of {header.size} bytes stands where {wanted} of {member.size} bytes should"
            raise DamagedSampleError(self.name, key, found)

    def _pread(self, start: int, size: int) -> bytes:
        if self._handle < 0:
            raise ValueError(f"{self.name} is closed")
        data = os.pread(self._handle, size, start)
        while len(data) < size and (more := os.pread(self._handle, size - len(data), start + len(data))):
            data += more
        if len(data) < size:
            raise DamagedShardError(self.name, "the file was cut while it was open", start + len(data))
        return data


def read_records(parquet: Path | bytes, *, name: str) -> pa.Table:
    """Read a shard's records whole.

    Args:
        parquet: the file or its bytes.
        name: what messages call it.

    Raises:
        DamagedShardError: it is no Parquet file, or lacks columns of the format.
    """
    source = pa.BufferReader(parquet) if isinstance(parquet, bytes) else parquet
    try:
        table = pq.ParquetFile(source, pre_buffer=False).read(use_threads=False)
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise DamagedShardError(name, f"its records are unreadable: {error}", 0) from error
    missing = sorted(COLUMNS - LATER_COLUMNS - set(table.column_names))
    if missing:
        raise DamagedShardError(name, f"its records lack the columns {', '.join(missing)}", 0)
    return table


def open_shard(dataset: Store, entry: ShardEntry) -> ShardReader:
    """Open one shard of a local dataset in place; its records' hash is checked.

    Raises:
        NotFoundError: a file is not there.
        DamagedShardError: the tar is cut, or the records are not those of the manifest.
    """
    parquet = layout.parquet_name(entry.stem)
    data = dataset.read(parquet)
    if hashlib.sha256(data).hexdigest() != entry.parquet.sha256:
        raise DamagedShardError(f"{dataset.url}/{parquet}", "its hash is not the manifest's", 0)
    tar = layout.tar_name(entry.stem)
    dataset.stat(tar)
    return ShardReader(dataset.local_path(tar), data, entry, name=f"{dataset.url}/{tar}")
