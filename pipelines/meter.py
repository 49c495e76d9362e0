"""Where the loader's time goes: seconds, calls and bytes per stage, and how many batches are ready."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType


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
class MeterReading:
    """The state of a meter at one moment: stages by name, seconds since it began, batches ready and not yet taken."""

    elapsed: float
    ready: int
    stages: Mapping[str, StageReading] = field(default_factory=lambda: MappingProxyType({}))

    def stage(self, name: str) -> StageReading:
        """Return a stage's reading; one that never ran has zeros."""
        return self.stages.get(name, StageReading())

    def since(self, earlier: MeterReading) -> MeterReading:
        """Return what happened between two readings of one meter; ``ready`` is that of the later one."""
        stages = {name: reading - earlier.stage(name) for name, reading in self.stages.items()}
        return MeterReading(self.elapsed - earlier.elapsed, self.ready, MappingProxyType(stages))


class StageMeter:
    """Adds up what the stages of a loader report, from any thread.

    The loader's stages are ``fetch`` (bytes from disk, cache or store), ``decode``, ``augment`` and ``wait`` (the
    consumer waiting for a batch: what training calls data wait).
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._began = time.perf_counter()
        self._stages: dict[str, StageReading] = {}
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

    def change_ready(self, by: int) -> None:
        """Note that batches became ready (positive) or were taken (negative)."""
        with self._lock:
            self._ready += by

    def snapshot(self) -> MeterReading:
        """Return the present reading; take two and subtract them with ``since`` for an interval."""
        with self._lock:
            elapsed = time.perf_counter() - self._began
            return MeterReading(elapsed, self._ready, MappingProxyType(dict(self._stages)))
