"""Make local copies of remote shards in the background, those that are needed first, as many as the cache holds."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from typing import Final

from pipelines.drops import Failure, attempt
from pipelines.leases import OpenShards
from pipelines.meter import StageMeter
from shards import layout
from shards.cache import CacheFullError, ShardCache
from shards.manifest import ShardEntry
from shards.reader import ShardReader
from shards.store import Store, StoreOutageError

_LOG: Final = logging.getLogger(__name__)


class CachedShard:
    """A remote shard read from a local copy, which stays pinned in the cache until ``close``.

    Args:
        reader: reads the copy.
        pin: releases the copy when closed.
    """

    def __init__(self, reader: ShardReader, pin: ExitStack) -> None:
        self._reader, self._pin = reader, pin
        self.table, self.record, self.read = reader.table, reader.record, reader.read

    def close(self) -> None:
        """Close the copy and let the cache evict it."""
        self._reader.close()
        self._pin.close()


class ReadAhead:
    """A thread that copies wanted shards into the cache, one after the other, and keeps them pinned while wanted.

    A copy that does not fit into the budget, or cannot be made, is left out: its readers use ranges instead.

    Args:
        store: the remote dataset.
        entries: the manifest's entries, by shard number.
        cache: where the copies go; it should not wait for room, since nobody waits for a copy.
        meter: gets the time that copying takes, as ``store``.
        worth: tells which shards are copied at all; None takes all.
    """

    def __init__(
        self,
        store: Store,
        entries: Sequence[ShardEntry],
        cache: ShardCache,
        *,
        meter: StageMeter | None = None,
        worth: Callable[[int], bool] | None = None,
    ) -> None:
        self._stop = threading.Event()
        self._store, self._entries, self._cache = replace(store, stop=self._stop), entries, cache
        self._meter, self._worth = meter or StageMeter(), worth or (lambda _: True)
        self._say_what_does_not_fit()
        self._copies = OpenShards(self._open)
        self._changed = threading.Condition()
        self._wanted: tuple[int, ...] = ()
        self._asked = 0
        self._short = False
        self._closing = False
        self._given_up: set[int] = set()
        self._said_full = False
        self._thread = threading.Thread(target=self._run, name="vidloom-readahead", daemon=True)
        self._thread.start()

    def want(self, shards: Sequence[int], *, keep: Collection[int]) -> None:
        """Set which shards to copy, in order of need; copies of others are let go, save those in ``keep``."""
        self._copies.keep({*shards, *keep})
        with self._changed:
            if self._short or tuple(shards) != self._wanted:
                self._wanted = tuple(shards)
                self._asked += 1
                self._changed.notify()

    def borrow(self, shard: int) -> AbstractContextManager[CachedShard | None]:
        """Give the copy of a shard for the time of a ``with`` block, or None where there is none yet."""
        return self._copies.borrow_open(shard)

    def close(self, patience: float) -> bool:
        """Stop copying and let go of the copies; return whether the thread ended within ``patience`` seconds."""
        self._stop.set()
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(patience)
        self._copies.close()
        return not self._thread.is_alive()

    def _run(self) -> None:
        seen = 0
        while not self._closing:
            seen = self._news(seen)
            self._short = not self._copy_wanted(seen)

    def _news(self, seen: int) -> int:
        """Wait until something was asked for after request ``seen``, or until closing; return the newest request."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing or self._asked != seen)
            return self._asked

    def _copy_wanted(self, request: int) -> bool:
        """Copy what is wanted until a newer request comes; return whether there was room for all."""
        for shard in self._wanted:
            if self._closing or self._asked != request:
                return True
            if not self._copy(shard):
                return False
        return True

    def _copy(self, shard: int) -> bool:
        """Make one copy; return whether there is room for more."""
        if shard in self._given_up or not self._worth(shard):
            return True
        result = attempt(lambda: self._make_sure(shard))
        if not isinstance(result, Failure):
            return True
        if self._closing or isinstance(result.error, StoreOutageError):
            return False  # those who need its clips wait for the store; the copy is tried with the next request
        never = self._size(shard) > self._cache.budget_bytes
        if isinstance(result.error, CacheFullError) and not never:
            _LOG.log(
                logging.DEBUG if self._said_full else logging.WARNING, "%s: read by ranges meanwhile", result.error
            )
            self._said_full = True
            return False
        self._given_up.add(shard)
        _LOG.warning("no local copy of shard %s, reading it by ranges: %s", self._entries[shard].stem, result.error)
        return True

    def _size(self, shard: int) -> int:
        entry = self._entries[shard]
        return entry.tar.bytes + entry.parquet.bytes

    def _say_what_does_not_fit(self) -> None:
        """Say at the start that the budget is too small for a shard, not when its turn comes."""
        budget, sizes = self._cache.budget_bytes, [self._size(shard) for shard in range(len(self._entries))]
        never = sum(size > budget for size in sizes)
        if never:
            largest = max(range(len(sizes)), key=lambda shard: sizes[shard])
            _LOG.warning(
                "the cache's budget of %s bytes cannot hold %s of %s shards, whose clips come one by one: the "
                "largest, %s, has %s bytes; give a budget of lanes x window times that",
                *(budget, never, len(sizes), self._entries[largest].stem, sizes[largest]),
            )

    def _make_sure(self, shard: int) -> None:
        with self._copies.borrow(shard):
            pass

    def _open(self, shard: int) -> CachedShard:
        entry = self._entries[shard]
        tar, parquet = layout.tar_name(entry.stem), layout.parquet_name(entry.stem)
        with ExitStack() as pin:
            with self._meter.stage("store"):
                with self._cache.hold(self._store, parquet, entry.parquet) as records:
                    table = records.read_bytes()
                path = pin.enter_context(self._cache.hold(self._store, tar, entry.tar))
            reader = ShardReader(path, table, entry, name=f"{self._store.url}/{tar}")
            return CachedShard(reader, pin.pop_all())
