"""Clips read from remote shards by range: neighbours by one request, and an outage of the store is waited for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from threading import Event

from pipelines.drops import Failure, attempt
from pipelines.nearby import Nearby
from pipelines.outages import OUTAGE_SECONDS, OutagePatience
from pipelines.plan import Slot
from pipelines.ranged import RangedShard
from shards.manifest import ShardEntry
from shards.reader import DamagedSampleError, EncodedClip
from shards.store import Store

__all__ = ["OUTAGE_SECONDS", "RangedShard", "RemoteClips"]


class RemoteClips:
    """Reads clips of remote shards for any number of threads.

    Args:
        outage_seconds: how long an outage of the store may last.
    """

    def __init__(self, outage_seconds: float) -> None:
        self._outages = OutagePatience(outage_seconds)
        self._nearby = Nearby()

    @property
    def stopped(self) -> Event:
        """Set while nothing is waited for."""
        return self._outages.stopped

    def stop(self) -> None:
        """Wait for the store no more, until ``resume``."""
        self._outages.stop()

    def resume(self) -> None:
        """Wait for the store again; what was announced before, and what became of it, is forgotten."""
        self._nearby.forget()
        self._outages.resume()

    def announce(self, slots: Sequence[Slot], *, under_way: int) -> None:
        """Take note of samples that are going to be asked for; those of ``under_way`` calls are remembered."""
        self._nearby.announce(slots, under_way=under_way)

    def promised(self, slot: Slot) -> Future[EncodedClip] | None:
        """Begin with a sample: return its promise where it comes with another one's request."""
        return self._nearby.take(slot)

    def open(self, store: Store, entry: ShardEntry) -> RangedShard:
        """Open a shard.

        Raises:
            DamagedShardError, StoreError: see ``RangedShard``.
        """
        return self._outages.wait_out(lambda: RangedShard(store, entry))

    def read(self, slot: Slot, shard: RangedShard, row: Callable[[Slot], int]) -> EncodedClip:
        """Read a sample, and with it those that are announced and lie near it.

        Args:
            slot: the sample.
            shard: its shard.
            row: gives the row of a sample of that shard.

        Raises:
            DamagedSampleError, DamagedShardError, StoreError: see ``RangedShard.read``.
        """
        promises = self._nearby.gather(slot, lambda each: shard.span(row(each)))
        rows = [row(each) for each in (slot, *promises)]
        found = attempt(lambda: self._outages.wait_out(lambda: shard.read_together(rows)))
        if isinstance(found, Failure):
            for promise in promises.values():
                promise.set_exception(found.error)
            raise found.error
        mine, *others = found
        for promise, clip in zip(promises.values(), others, strict=True):
            if isinstance(clip, DamagedSampleError):
                promise.set_exception(clip)
            else:
                promise.set_result(clip)
        if isinstance(mine, DamagedSampleError):
            raise mine
        return mine
