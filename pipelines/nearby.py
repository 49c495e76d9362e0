"""Which announced samples lie so near each other in their shard that one request brings them all."""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Final

from pipelines.plan import Slot
from shards.reader import EncodedClip

GAP_BYTES: Final = 512 << 10
"""Unneeded bytes between two samples that cost less than another request: some milliseconds of a connection."""

MOST_BYTES: Final = 8 << 20
"""What one request may bring, unless a single sample is larger."""


def neighbours(at: range, others: Sequence[range], *, gap: int = GAP_BYTES, most: int = MOST_BYTES) -> list[int]:
    """Return which byte ranges are read together with one of them.

    From ``at`` on, ranges are added on either side while no more than ``gap`` unneeded bytes lie between and all
    together span at most ``most`` bytes.

    Args:
        at: the range that is needed now.
        others: ranges that will be needed, in any order.
        gap: unneeded bytes to read rather than ask again.
        most: bytes of the whole span.
    """
    low, high = at.start, at.stop
    chosen = []
    order = sorted(range(len(others)), key=lambda n: others[n].start)
    behind = (n for n in order if others[n].start >= at.start)
    before = (n for n in reversed(order) if others[n].start < at.start)
    for side in (behind, before):
        for n in side:
            reach = range(min(low, others[n].start), max(high, others[n].stop))
            apart = max(others[n].start - high, low - others[n].stop)
            if apart > gap or len(reach) > most:
                break
            low, high = reach.start, reach.stop
            chosen.append(n)
    return chosen


class Nearby:
    """Announced samples that nobody has begun to read, and promises for those that come with another one's request.

    Any number of threads may use it. What is announced and never asked for is forgotten with its announcement.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._shares: deque[tuple[Slot, ...]] = deque()
        self._waiting: defaultdict[int, dict[int, Slot]] = defaultdict(dict)
        self._coming: dict[int, Future[EncodedClip]] = {}

    def announce(self, slots: Sequence[Slot], *, under_way: int) -> None:
        """Take note of samples that are going to be asked for; those of ``under_way`` calls are remembered."""
        with self._lock:
            self._shares.append(tuple(slots))
            for slot in slots:
                self._waiting[slot.shard][slot.position] = slot
            while len(self._shares) > under_way:
                for slot in self._shares.popleft():
                    self._forget(slot)

    def forget(self) -> None:
        """Forget all announcements and promises: those of an interrupted reading failed with it."""
        with self._lock:
            self._shares.clear()
            self._waiting.clear()
            self._coming.clear()

    def take(self, slot: Slot) -> Future[EncodedClip] | None:
        """Begin with a sample: return its promise, or None where the caller has to read it."""
        with self._lock:
            self._begin(slot)
            return self._coming.pop(slot.position, None)

    def gather(self, slot: Slot, span: Callable[[Slot], range]) -> dict[Slot, Future[EncodedClip]]:
        """Choose what is read together with a sample; the caller keeps the promises for it.

        Args:
            slot: the sample that is being read.
            span: gives the byte range of a sample of the same shard.
        """
        with self._lock:
            self._begin(slot)
            others = list(self._waiting.get(slot.shard, {}).values())
            chosen = neighbours(span(slot), [span(each) for each in others])
            promises: dict[Slot, Future[EncodedClip]] = {others[n]: Future() for n in chosen}
            for each, promise in promises.items():
                self._begin(each)
                self._coming[each.position] = promise
            return promises

    def _begin(self, slot: Slot) -> None:
        waiting = self._waiting.get(slot.shard, {})
        waiting.pop(slot.position, None)
        if not waiting:
            self._waiting.pop(slot.shard, None)

    def _forget(self, slot: Slot) -> None:
        self._begin(slot)
        self._coming.pop(slot.position, None)
