"""Where the loader's time goes: seconds, calls and bytes per stage, depths of queues, and what holds up the rest.

The stages, in the order in which a clip meets them:

========== ============================================================================================
store      requests to a remote store, those that make local copies counted in
cache      reading local copies of remote shards
disk       reading local shards
look       packets looked at before a clip is left to DALI
decode     frames decoded on the host
dali       clips decoded and augmented by DALI, on the GPU or the CPU
augment    decoded frames cut, resized, flipped and normalised by DALI
copy       rows put into the batch and columns sent to the device
wait       the consumer waiting for a batch: what training calls data wait
========== ============================================================================================
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

WAIT: Final = "wait"

READS: Final = ("store", "cache", "disk")
HOST: Final = ("look", "decode")
DEVICE: Final = ("dali", "augment", "copy")
STAGES: Final = (*READS, *HOST, *DEVICE)
"""All stages that work, in the order of a clip's way."""

_QUIET: Final = 0.02
"""Part of the time that a consumer may wait before anything is said to hold it up."""


@dataclass(frozen=True, slots=True)
class StageReading:
    """What one stage did: calls, seconds summed over its threads, and bytes that it brought in."""

    calls: int = 0
    seconds: float = 0.0
    bytes: int = 0

    def __add__(self, other: StageReading) -> StageReading:
        return StageReading(self.calls + other.calls, self.seconds + other.seconds, self.bytes + other.bytes)

    def __sub__(self, other: StageReading) -> StageReading:
        return StageReading(self.calls - other.calls, self.seconds - other.seconds, self.bytes - other.bytes)


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """How many items of a queue are finished, how many are under way or finished, and how many there may be."""

    finished: int
    held: int
    most: int


@dataclass(frozen=True, slots=True)
class MeterReading:
    """The state of a meter at one moment: stages by name, seconds since it began, batches ready and not yet taken.

    ``threads`` says how many work at a stage at a time; ``queues`` how full each queue is at this moment.
    """

    elapsed: float
    ready: int
    stages: Mapping[str, StageReading] = field(default_factory=lambda: MappingProxyType({}))
    threads: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    queues: Mapping[str, QueueDepth] = field(default_factory=lambda: MappingProxyType({}))

    def stage(self, name: str) -> StageReading:
        """Return a stage's reading; one that never ran has zeros."""
        return self.stages.get(name, StageReading())

    def since(self, earlier: MeterReading) -> MeterReading:
        """Return what happened between two readings of one meter; ``ready`` and queues are those of the later one."""
        stages = {name: reading - earlier.stage(name) for name, reading in self.stages.items()}
        return MeterReading(
            self.elapsed - earlier.elapsed, self.ready, MappingProxyType(stages), self.threads, self.queues
        )

    @property
    def wait_share(self) -> float:
        """Part of the time that the consumer waited for data, 0 to 1."""
        return min(self.stage(WAIT).seconds / self.elapsed, 1.0) if self.elapsed > 0 else 0.0

    def busy(self, name: str) -> float:
        """Return the part of its threads' time that a stage worked, 0 to 1."""
        possible = self.elapsed * self.threads.get(name, 1)
        return min(self.stage(name).seconds / possible, 1.0) if possible > 0 else 0.0

    @property
    def culprit(self) -> str | None:
        """The stage that the consumer waits for: the busiest one; None where it does not wait.

        A queue between two stages is full before the slower one and empty behind it, so the threads of the slowest
        stage are the ones that never pause. Stages that share threads share their time, so that the larger one counts.
        """
        if self.wait_share <= _QUIET:
            return None
        worked = [name for name in STAGES if self.stage(name).seconds > 0]
        return max(worked, key=self.busy, default=None)


class StageMeter:
    """Adds up what the stages of a loader report, from any thread; the module says which stages there are."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._began = time.perf_counter()
        self._stages: dict[str, StageReading] = {}
        self._threads: dict[str, int] = {}
        self._queues: dict[str, Callable[[], QueueDepth]] = {}
        self._ready = 0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the body as one call of a stage, whether it succeeds or raises."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, StageReading(1, time.perf_counter() - began))

    def add(self, name: str, reading: StageReading) -> None:
        """Add to a stage."""
        with self._lock:
            self._stages[name] = self._stages.get(name, StageReading()) + reading

    def employ(self, names: tuple[str, ...], threads: int) -> None:
        """Note how many threads work at some stages together."""
        with self._lock:
            self._threads |= dict.fromkeys(names, max(threads, 1))

    def watch(self, queues: Mapping[str, Callable[[], QueueDepth]]) -> None:
        """Take the queues whose depths are told from now on, in place of those known so far."""
        with self._lock:
            self._queues = dict(queues)

    def change_ready(self, by: int) -> None:
        """Note that batches became ready (positive) or were taken (negative)."""
        with self._lock:
            self._ready += by

    def snapshot(self) -> MeterReading:
        """Return the present reading; take two and subtract them with ``since`` for an interval."""
        with self._lock:
            elapsed, ready, queues = time.perf_counter() - self._began, self._ready, dict(self._queues)
            stages, threads = dict(self._stages), dict(self._threads)
        depths = {name: depth() for name, depth in queues.items()}
        return MeterReading(
            elapsed, ready, MappingProxyType(stages), MappingProxyType(threads), MappingProxyType(depths)
        )
