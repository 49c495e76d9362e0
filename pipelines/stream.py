"""Fetch encoded clips by slot: local shards in place, remote ones by range and, once copied, from the cache."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from pipelines.leases import OpenShards
from pipelines.meter import StageMeter, StageReading
from pipelines.plan import Slot
from pipelines.readahead import ReadAhead
from pipelines.subset import RowMap
from shards import layout
from shards.cache import ShardCache
from shards.index import DamagedShardError
from shards.manifest import Manifest, ShardEntry
from shards.reader import DamagedSampleError, EncodedClip, open_shard, read_records
from shards.record import Record
from shards.store import Store


@dataclass(frozen=True, slots=True)
class CacheConfig:
    """Where copies of remote shards are kept, and how many bytes they may take together."""

    folder: Path
    budget_bytes: int


class ClipShard(Protocol):
    """One shard that gives its samples by number, and has the table of their records."""

    @property
    def table(self) -> pa.Table:
        """Return the records as they are stored."""

    def record(self, i: int) -> Record:
        """Return the record of sample ``i``."""

    def read(self, i: int) -> EncodedClip:
        """Return sample ``i``."""

    def close(self) -> None:
        """Let go of files."""


class RangedShard:
    """A remote shard whose samples are read one by one, by byte range: no sample has to wait for a whole shard.

    Args:
        store: the dataset.
        entry: the shard's entry in the manifest.

    Raises:
        DamagedShardError: the tar's length or the records' hash is not that of the manifest.
        StoreError: a file is missing or cannot be read.
    """

    def __init__(self, store: Store, entry: ShardEntry) -> None:
        self._store, self._tar = store, layout.tar_name(entry.stem)
        self.name = f"{store.url}/{self._tar}"
        self._found = store.stat(self._tar)
        size = self._found.size
        if size != entry.tar.bytes:
            raise DamagedShardError(self.name, f"{size} bytes, the manifest says {entry.tar.bytes}", size)
        parquet = layout.parquet_name(entry.stem)
        data = store.read(parquet)
        if hashlib.sha256(data).hexdigest() != entry.parquet.sha256:
            raise DamagedShardError(f"{store.url}/{parquet}", "its hash is not the manifest's", 0)
        self.table = read_records(data, name=f"{store.url}/{parquet}")
        if self.table.num_rows != entry.clips:
            found = f"{self.table.num_rows} records, the manifest says {entry.clips} clips"
            raise DamagedShardError(self.name, found, 0)

    def record(self, i: int) -> Record:
        """Return the record of sample ``i``."""
        return Record.from_row(self.table.slice(i, 1).to_pylist()[0])

    def read(self, i: int) -> EncodedClip:
        """Return sample ``i``: one ranged request.

        Raises:
            DamagedSampleError: the bytes are not the sample's.
            StoreError: the range cannot be read.
        """
        record = self.record(i)
        sides = {layout.CAPTION_EXT, layout.RECORD_EXT}
        member = next((m for m in record.members if m.ext not in sides), None)
        if member is None:
            raise DamagedSampleError(self.name, record.key, "its record names no video")
        start, stop = member.offset, member.offset + member.size
        payload = self._store.read_range(self._tar, start, stop, known=self._found)
        if hashlib.sha256(payload).hexdigest() != record.sha256:
            raise DamagedSampleError(
                self.name, record.key, f"the {member.size} bytes of {member.ext} have another hash"
            )
        return EncodedClip(record, payload, member.ext, record.caption)

    def close(self) -> None:
        """Nothing is held open."""


class ClipSource:
    """Gives encoded clips by slot, to any number of threads.

    Local shards are read where they lie. A remote shard is read by range until a thread in the background has made a
    local copy of it; copies are made in the order of ``expect``, as many as the cache's budget holds, so a budget that
    is too small costs speed and never correctness. Without a cache all reads are by range.

    Args:
        store: the dataset.
        manifest: its manifest.
        cache: where copies of remote shards go; None makes none.
        meter: gets the time and bytes of reading, by where the bytes come from.
        rows: tells which row of its shard a slot's clip is, where only some are taken.
    """

    def __init__(
        self,
        store: Store,
        manifest: Manifest,
        cache: CacheConfig | None = None,
        *,
        meter: StageMeter | None = None,
        rows: RowMap | None = None,
    ) -> None:
        self._meter = StageMeter() if meter is None else meter
        self._store, self._entries, self._rows = store, manifest.shards, rows
        self._expected: deque[frozenset[int]] = deque()
        self._direct = OpenShards(self._open)
        self._copies: ReadAhead | None = None
        if cache is not None and not store.is_local:
            folder = ShardCache(cache.folder, cache.budget_bytes, wait_seconds=0)
            self._copies = ReadAhead(store, self._entries, folder)

    @property
    def is_remote(self) -> bool:
        """Whether clips come over the network."""
        return not self._store.is_local

    def stem(self, slot: Slot) -> str:
        """Return the stem of the shard that holds a slot's sample."""
        return self._entries[slot.shard].stem

    def expect(self, shards: Sequence[int], *, under_way: int = 1) -> None:
        """Say which shards are needed next, in order; those not named for a while are closed and may be evicted.

        Args:
            shards: what is needed next.
            under_way: of how many calls, this one counted in, there may be slots that are not fetched yet; what these
                calls named stays open.
        """
        self._expected.append(frozenset(shards))
        while len(self._expected) > under_way:
            self._expected.popleft()
        keep = frozenset().union(*self._expected)
        self._direct.keep(keep)
        if self._rows is not None:
            self._rows.keep(keep)
        if self._copies is not None:
            self._copies.want(shards, keep=keep)

    def fetch(self, slot: Slot) -> EncodedClip:
        """Return the clip of a slot.

        Raises:
            DamagedSampleError: the sample's bytes are not those that were stored.
            DamagedShardError: its shard is cut or does not fit the manifest.
            StoreError: the store failed, after retries.
        """
        if self._copies is not None:
            with self._copies.borrow(slot.shard) as copy:
                if copy is not None:
                    with self._meter.stage("cache"):
                        clip = copy.read(self._row(slot, copy))
                    return self._counted("cache", clip)
        place = "disk" if self._store.is_local else "store"
        with self._meter.stage(place), self._direct.borrow(slot.shard) as shard:
            clip = shard.read(self._row(slot, shard))
        return self._counted(place, clip)

    def record(self, slot: Slot) -> Record:
        """Return the record of a slot's sample, which is there even where its bytes are damaged.

        Raises:
            DamagedShardError, StoreError: see ``fetch``.
        """
        with self._direct.borrow(slot.shard) as shard:
            return shard.record(self._row(slot, shard))

    def close(self, patience: float) -> bool:
        """Close all shards; return whether the background thread ended within ``patience`` seconds."""
        ended = self._copies is None or self._copies.close(patience)
        self._direct.close()
        return ended

    def _row(self, slot: Slot, shard: ClipShard) -> int:
        return slot.row if self._rows is None else self._rows.true_row(slot.shard, shard.table, slot.row)

    def _counted(self, place: str, clip: EncodedClip) -> EncodedClip:
        self._meter.add(place, StageReading(bytes=len(clip.payload)))
        return clip

    def _open(self, shard: int) -> ClipShard:
        entry = self._entries[shard]
        return open_shard(self._store, entry) if self._store.is_local else RangedShard(self._store, entry)
