"""A remote shard read by byte range: neighbours by one request, and no sample waits for a whole shard."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from shards import layout
from shards.index import DamagedShardError
from shards.manifest import ShardEntry
from shards.reader import DamagedSampleError, EncodedClip, MemberTable, read_records
from shards.record import Member, Record
from shards.store import Store, StoreError, StoreOutageError

_SIDES = frozenset({layout.CAPTION_EXT, layout.RECORD_EXT})


class RangedShard:
    """Gives the samples of a remote shard, with the records in memory and nothing else.

    Args:
        store: the dataset.
        entry: the shard's entry in the manifest.

    Raises:
        DamagedShardError: the records' hash is not that of the manifest.
        StoreError: a file is missing or cannot be read.
    """

    def __init__(self, store: Store, entry: ShardEntry) -> None:
        self._store, self._entry, self._tar = store, entry, layout.tar_name(entry.stem)
        self.name = f"{store.url}/{self._tar}"
        parquet = layout.parquet_name(entry.stem)
        size = entry.parquet.bytes
        data = store.read_range(parquet, 0, size, known=store.expect(parquet, size))
        if hashlib.sha256(data).hexdigest() != entry.parquet.sha256:
            raise DamagedShardError(f"{store.url}/{parquet}", "its hash is not the manifest's", 0)
        self.table = read_records(data, name=f"{store.url}/{parquet}")
        if self.table.num_rows != entry.clips:
            found = f"{self.table.num_rows} records, the manifest says {entry.clips} clips"
            raise DamagedShardError(self.name, found, 0)
        self._members = MemberTable.of(self.table["members"])
        self._found = store.expect(self._tar, entry.tar.bytes)

    def record(self, i: int) -> Record:
        """Return the record of sample ``i``."""
        return Record.from_row(self.table.slice(i, 1).to_pylist()[0])

    def span(self, i: int) -> range:
        """Return which bytes of the tar sample ``i`` needs; none where its record names no video."""
        member = self._video(i)
        return range(0) if member is None else range(member.offset, member.offset + member.size)

    def read(self, i: int) -> EncodedClip:
        """Return sample ``i``: one ranged request.

        Raises:
            DamagedSampleError: the bytes are not the sample's.
            DamagedShardError: the tar's length is not that of the manifest.
            StoreError: the range cannot be read.
        """
        (clip,) = self.read_together([i])
        if isinstance(clip, DamagedSampleError):
            raise clip
        return clip

    def read_together(self, rows: Sequence[int]) -> list[EncodedClip | DamagedSampleError]:
        """Return samples by one request for all that lies between the first and the last of them.

        Returns:
            For each row its clip, or what is wrong with it.

        Raises:
            DamagedShardError, StoreError: see ``read``.
        """
        spans = [self.span(row) for row in rows]
        wanted = [span for span in spans if span]
        low = min((span.start for span in wanted), default=0)
        high = max((span.stop for span in wanted), default=0)
        data = memoryview(self._bytes(low, high))
        return [
            self._clip(row, data[span.start - low : span.stop - low]) for row, span in zip(rows, spans, strict=True)
        ]

    def close(self) -> None:
        """Nothing is held open."""

    def _video(self, i: int) -> Member | None:
        return next((member for member in self._members.of_row(i) if member.ext not in _SIDES), None)

    def _clip(self, row: int, data: memoryview) -> EncodedClip | DamagedSampleError:
        record, member = self.record(row), self._video(row)
        if member is None:
            return DamagedSampleError(self.name, record.key, "its record names no video")
        if hashlib.sha256(data).hexdigest() != record.sha256:
            what = f"the {member.size} bytes of {member.ext} have another hash"
            return DamagedSampleError(self.name, record.key, what)
        return EncodedClip(record, bytes(data), member.ext, record.caption)

    def _bytes(self, low: int, high: int) -> bytes:
        if low == high:
            return b""
        try:
            return self._store.read_range(self._tar, low, high, known=self._found)
        except StoreOutageError:
            raise
        except StoreError:
            self._require_length()
            raise

    def _require_length(self) -> None:
        size = self._store.stat(self._tar).size
        if size != self._entry.tar.bytes:
            raise DamagedShardError(self.name, f"{size} bytes, the manifest says {self._entry.tar.bytes}", size)
