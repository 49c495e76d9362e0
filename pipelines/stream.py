"""Fetch encoded clips by slot: local shards in place, remote ones by range and, once copied, from the cache."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol

import pyarrow as pa

from pipelines.leases import OpenShards
from pipelines.meter import StageMeter, StageReading
from pipelines.plan import Slot
from pipelines.readahead import ReadAhead
from pipelines.remote_clips import OUTAGE_SECONDS, RangedShard, RemoteClips
from pipelines.subset import RowMap
from shards.cache import ShardCache
from shards.manifest import Manifest
from shards.reader import EncodedClip, open_shard
from shards.record import Record
from shards.store import Store
from shards.traffic import Traffic

_WORTH_COPYING: Final = 0.5
"""Part of a shard's clips that must be taken before the whole shard is copied."""


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


class ClipSource:
    """Gives encoded clips by slot, to any number of threads.

    Local shards are read where they lie. A remote shard is read by range, samples that lie near each other by one
    request, until a thread in the background has made a local copy of it; copies are made in the order of ``expect``,
    as many as the cache's budget holds, so a budget that is too small costs speed and never correctness. Without a
    cache all reads are by range, through memory. While the store is out of reach, reading waits.

    Args:
        store: the dataset.
        manifest: its manifest.
        cache: where copies of remote shards go; None makes none.
        meter: gets the time and bytes of reading, by where the bytes come from; what the store took beyond that are the
            calls of ``retry`` and ``hedge``.
        rows: tells which row of its shard a slot's clip is, where only some are taken.
        outage_seconds: how long an outage of the store may last.
    """

    def __init__(
        self,
        store: Store,
        manifest: Manifest,
        cache: CacheConfig | None = None,
        *,
        meter: StageMeter | None = None,
        rows: RowMap | None = None,
        outage_seconds: float = OUTAGE_SECONDS,
    ) -> None:
        self._meter = StageMeter() if meter is None else meter
        self._remote = RemoteClips(outage_seconds)
        self._store = store if store.is_local else replace(store, watch=self._watch, stop=self._remote.stopped)
        self._entries, self._rows = manifest.shards, rows
        self._expected: deque[frozenset[int]] = deque()
        self._direct = OpenShards(self._open)
        self._copies: ReadAhead | None = None
        if cache is not None and not store.is_local:
            folder = ShardCache(cache.folder, cache.budget_bytes, wait_seconds=0)
            watched = replace(store, watch=self._watch)
            self._copies = ReadAhead(watched, self._entries, folder, meter=self._meter, worth=self._is_worth_copying)

    @property
    def is_remote(self) -> bool:
        """Whether clips come over the network."""
        return not self._store.is_local

    def stem(self, slot: Slot) -> str:
        """Return the stem of the shard that holds a slot's sample."""
        return self._entries[slot.shard].stem

    def expect(self, shards: Sequence[int], *, under_way: int = 1, slots: Sequence[Slot] = ()) -> None:
        """Say which shards are needed next, in order; those not named for a while are closed and may be evicted.

        Args:
            shards: what is needed next.
            under_way: of how many calls, this one counted in, there may be slots that are not fetched yet; what these
                calls named stays open.
            slots: the samples that will be asked for, so that neighbours can come together.
        """
        self._expected.append(frozenset(shards))
        while len(self._expected) > under_way:
            self._expected.popleft()
        keep = frozenset().union(*self._expected)
        self._direct.keep(keep)
        if self._rows is not None:
            self._rows.keep(keep)
        if self.is_remote:
            self._remote.announce(slots, under_way=under_way)
        if self._copies is not None:
            self._copies.want(shards, keep=keep)

    def fetch(self, slot: Slot) -> EncodedClip:
        """Return the clip of a slot.

        Raises:
            DamagedSampleError: the sample's bytes are not those that were stored.
            DamagedShardError: its shard is cut or does not fit the manifest.
            StoreError: the store failed, after retries and, where it was out of reach, after waiting for it.
        """
        promise = self._remote.promised(slot) if self.is_remote else None
        if promise is not None:
            with self._meter.stage("store"):
                return promise.result()
        if self._copies is not None:
            with self._copies.borrow(slot.shard) as copy:
                if copy is not None:
                    with self._meter.stage("cache"):
                        clip = copy.read(self._row(slot, copy))
                    self._meter.add("cache", StageReading(bytes=len(clip.payload)))
                    return clip
        with self._meter.stage("store" if self.is_remote else "disk"), self._direct.borrow(slot.shard) as shard:
            if isinstance(shard, RangedShard):
                return self._remote.read(slot, shard, lambda each: self._row(each, shard))
            clip = shard.read(self._row(slot, shard))
        self._meter.add("disk", StageReading(bytes=len(clip.payload)))
        return clip

    def record(self, slot: Slot) -> Record:
        """Return the record of a slot's sample, which is there even where its bytes are damaged.

        Raises:
            DamagedShardError, StoreError: see ``fetch``.
        """
        with self._direct.borrow(slot.shard) as shard:
            return shard.record(self._row(slot, shard))

    def interrupt(self) -> None:
        """Give up what waits for the store; reading fails from now on, until ``resume``."""
        self._remote.stop()

    def resume(self) -> None:
        """Read again after an interruption."""
        self._remote.resume()

    def close(self, patience: float) -> bool:
        """Close all shards; return whether the background thread ended within ``patience`` seconds."""
        self.interrupt()
        ended = self._copies is None or self._copies.close(patience)
        self._direct.close()
        return ended

    def _row(self, slot: Slot, shard: ClipShard) -> int:
        return slot.row if self._rows is None else self._rows.true_row(slot.shard, shard.table, slot.row)

    def _watch(self, traffic: Traffic) -> None:
        self._meter.add("store", StageReading(bytes=traffic.bytes))
        for name, calls in (("retry", traffic.retries), ("hedge", traffic.hedges)):
            if calls:
                self._meter.add(name, StageReading(calls))

    def _is_worth_copying(self, shard: int) -> bool:
        """Tell whether enough of a shard's clips are taken to copy all of it."""
        clips = self._entries[shard].clips
        return self._rows is None or self._rows.count(shard) >= _WORTH_COPYING * clips

    def _open(self, shard: int) -> ClipShard:
        entry = self._entries[shard]
        if self._store.is_local:
            return open_shard(self._store, entry)
        return self._remote.open(self._store, entry)
