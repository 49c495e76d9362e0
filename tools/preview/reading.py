"""Read chosen clips of a dataset, and nothing else of it: of a bucket, the byte ranges that hold them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

import pyarrow as pa
import pyarrow.parquet as pq

from shards import layout
from shards.errors import NotFoundError, StoreError
from shards.index import DamagedShardError
from shards.manifest import ShardEntry
from shards.reader import DamagedSampleError, EncodedClip
from shards.record import COLUMNS, LATER_COLUMNS, Record
from shards.store import Store

MOST_BYTES: Final = 1 << 30
"""Largest payload that is read for a picture, in bytes."""

_SIDES: Final = frozenset({layout.CAPTION_EXT, layout.RECORD_EXT})


@dataclass(frozen=True, slots=True)
class Told:
    """What a shard's table says of a row, or why it says nothing."""

    record: Record | None
    fault: str | None = None


def read_told(store: Store, entry: ShardEntry, rows: Sequence[int]) -> list[Told]:
    """Return the records of some rows of a shard, in the order asked for; only their groups of rows are read.

    A table that is missing, damaged or not the manifest's is told as the fault of each row.

    Raises:
        StoreError: the store is out of reach.
    """
    name = layout.parquet_name(entry.stem)
    url = f"{store.url}/{name}"
    try:
        with store.open(name) as file:
            return [Told(record) for record in _records(file, entry, rows, url)]
    except NotFoundError as error:
        fault = str(error)
    except StoreError:
        raise
    except DamagedShardError as error:
        fault = str(error)
    except (pa.ArrowException, OSError) as error:  # pyarrow calls a broken page an OSError
        fault = str(DamagedShardError(url, f"its records are unreadable: {error}", 0))
    return [Told(None, fault)] * len(rows)


def read_clip(store: Store, stem: str, record: Record) -> EncodedClip:
    """Return the clip of a record: one ranged read, its hash compared.

    Raises:
        DamagedSampleError: the bytes are not the record's, are not there, or are too many for a picture.
        StoreError: the store failed.
    """
    name = layout.tar_name(stem)
    url = f"{store.url}/{name}"
    member = next((member for member in record.members if member.ext not in _SIDES), None)
    if member is None:
        raise DamagedSampleError(url, record.key, "its record names no video")
    if member.size > MOST_BYTES:
        raise DamagedSampleError(url, record.key, f"{member.size} bytes; a picture is made of {MOST_BYTES} at most")
    known = store.stat(name)
    if member.offset + member.size > known.size:
        raise DamagedSampleError(url, record.key, f"it lies beyond the tar's {known.size} bytes")
    payload = store.read_range(name, member.offset, member.offset + member.size, known=known)
    if hashlib.sha256(payload).hexdigest() != record.sha256:
        raise DamagedSampleError(url, record.key, f"the {member.size} bytes of {member.ext} have another hash")
    return EncodedClip(record, payload, member.ext, record.caption)


def _records(file: BinaryIO, entry: ShardEntry, rows: Sequence[int], url: str) -> list[Record]:
    parquet = pq.ParquetFile(file, pre_buffer=False)
    missing = sorted(COLUMNS - LATER_COLUMNS - set(parquet.schema_arrow.names))
    if missing:
        raise DamagedShardError(url, f"its records lack the columns {', '.join(missing)}", 0)
    if parquet.metadata.num_rows != entry.clips:
        found = f"{parquet.metadata.num_rows} records, the manifest says {entry.clips} clips"
        raise DamagedShardError(url, found, 0)
    found_rows: dict[int, dict[str, Any]] = {}
    first = 0
    for group in range(parquet.num_row_groups):
        count = parquet.metadata.row_group(group).num_rows
        wanted = [row for row in rows if first <= row < first + count]
        if wanted:
            table = parquet.read_row_group(group, use_threads=False)
            found_rows |= {row: table.slice(row - first, 1).to_pylist()[0] for row in wanted}
        first += count
    return [Record.from_row(found_rows[row]) for row in rows]
