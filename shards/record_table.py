"""The records, index and sums of a shard whose tar is there already: another tool's, or one of another dataset."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Self

import pyarrow as pa
import pyarrow.parquet as pq

from shards import layout, record
from shards.index import TarSample, format_idx
from shards.ledger import LedgerRow
from shards.manifest import FileEntry, ShardEntry, describe
from shards.record import Member, Record
from shards.store import Store
from shards.writer import BuiltShard, publish

_ROW_GROUP: Final = 4096


class RecordTable:
    """Builds a shard's records and index in a scratch folder, a group of rows at a time.

    Args:
        stem: the shard's stem.
        scratch: a local folder, which is made; files of the same names are replaced.
        extra: the user's own columns: stored name -> type, as ``shards.record.schema`` takes them.
    """

    def __init__(self, stem: str, scratch: Path, extra: Mapping[str, str]) -> None:
        scratch.mkdir(parents=True, exist_ok=True)
        self.stem = stem
        self._paths = {"idx": scratch / layout.idx_name(stem), "parquet": scratch / layout.parquet_name(stem)}
        self._schema = record.schema(extra)
        self._table = pq.ParquetWriter(self._paths["parquet"], self._schema, compression="zstd")
        self._rows: list[Record] = []
        self._samples: list[TarSample] = []
        self._seconds: list[float] = []
        self._frames = 0

    def add(self, row: Record, key: str, members: Sequence[Member]) -> None:
        """Append one record; ``key`` and ``members`` are the tar's own, as DALI's index names them."""
        self._rows.append(row)
        self._samples.append(TarSample(key, tuple(members)))
        self._seconds.append(row.media.duration)
        self._frames += row.media.num_frames
        if len(self._rows) == _ROW_GROUP:
            self._flush()

    def publish(
        self, store: Store, tar: FileEntry, ledger: Sequence[LedgerRow], links: Mapping[str, str]
    ) -> ShardEntry:
        """Close the files and publish them beside a tar of that length and hash, as ``shards.writer.publish`` does.

        Raises:
            ValueError: the ledger's successes are not the records.
            StoreError: a file cannot be written.
        """
        return publish(store, self._finish(tar), ledger, links)

    def _finish(self, tar: FileEntry) -> BuiltShard:
        self._flush()
        self._table.close()
        self._paths["idx"].write_bytes(format_idx(self._samples))
        with self._paths["parquet"].open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return BuiltShard(
            stem=self.stem,
            paths=self._paths,
            files={
                "tar": tar,
                "idx": describe(self._paths["idx"].read_bytes()),
                "parquet": FileEntry(self._paths["parquet"].stat().st_size, digest),
            },
            clips=len(self._samples),
            seconds=math.fsum(self._seconds),
            frames=self._frames,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._table.close()
            for path in self._paths.values():
                path.unlink(missing_ok=True)

    def _flush(self) -> None:
        if self._rows:
            self._table.write_table(pa.Table.from_pylist([row.to_row() for row in self._rows], schema=self._schema))
        self._rows.clear()
