"""What there is to say of a sharding run at any moment: counts, rates, fates, what is slow, and the time left."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from shards.manifest import ShardEntry
from tools.corpus.block import Judged
from tools.corpus.events import Event, Note, Planned
from tools.corpus.tally import Activity, Progress

_WINDOW_SECONDS: Final = 120.0
_SAMPLE_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A moment of a run, ``elapsed`` seconds after its start.

    ``rows`` of ``rows_total`` are dealt with, those of earlier runs counted in; ``clips`` and ``bytes`` (of their
    files) are this run's, as are ``status`` and ``reasons``, which count what became no clip. Rates are those of the
    last two minutes, by the second; ``seconds_left`` is None while nothing is known. ``workers`` are at work, and
    ``slowest`` is the video that has been so for the longest, ``slowest_seconds``.
    """

    elapsed: float
    rows: int
    rows_total: int
    clips: int
    bytes: int
    shards: int
    shards_total: int
    rows_per_second: float
    clips_per_second: float
    bytes_per_second: float
    seconds_left: float | None
    status: dict[str, int]
    reasons: dict[str, dict[str, int]]
    workers: int
    slowest: str
    slowest_seconds: float


@dataclass(frozen=True, slots=True)
class _Sample:
    at: float
    rows: int
    clips: int
    bytes: int


@dataclass
class RunState:
    """Adds up a run's events; may be asked for a snapshot from another thread.

    Args:
        clock: seconds that go on, for tests.
    """

    clock: Callable[[], float] = time.monotonic
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._begun = self.clock()
        self._plan: Planned | None = None
        self._clear()

    @property
    def planned(self) -> bool:
        """Whether the run knows yet what there is to do."""
        return self._plan is not None

    def take(self, event: Event | Judged) -> None:
        """Add what an event says; a plan begins the counts anew."""
        with self._lock:
            if isinstance(event, Planned):
                self._plan = event
                self._clear()
            elif isinstance(event, Progress):
                self._done += event
                self._sample()
            elif isinstance(event, Activity):
                self._activity = event
            elif isinstance(event, (ShardEntry, Judged)):
                self._shards += 1
            elif isinstance(event, Note):
                self.notes.append(event.text)

    def snapshot(self) -> Snapshot:
        """Return what there is to say now."""
        with self._lock:
            return self._snapshot(self.clock())

    def _clear(self) -> None:
        self._done, self._activity, self._shards = Progress(), Activity(0), 0
        self._samples = deque([_Sample(self.clock(), 0, 0, 0)])

    def _sample(self) -> None:
        now, done = self.clock(), self._done
        if now - self._samples[-1].at >= _SAMPLE_SECONDS:
            self._samples.append(_Sample(now, done.rows, done.clips, done.bytes))
        while now - self._samples[0].at > _WINDOW_SECONDS and len(self._samples) > 1:
            self._samples.popleft()

    def _snapshot(self, now: float) -> Snapshot:
        done, first = self._done, self._samples[0]
        span = max(now - first.at, 1e-9)
        before, total, shards_before, shards = 0, 0, 0, 0
        if self._plan is not None:
            before, total = self._plan.rows_done, self._plan.plan.rows
            shards_before, shards = self._plan.blocks_done, self._plan.plan.blocks
        rate = max(0, done.rows - first.rows) / span
        left = total - before - done.rows
        return Snapshot(
            elapsed=now - self._begun,
            rows=before + done.rows,
            rows_total=total,
            clips=done.clips,
            bytes=done.bytes,
            shards=shards_before + self._shards,
            shards_total=shards,
            rows_per_second=rate,
            clips_per_second=max(0, done.clips - first.clips) / span,
            bytes_per_second=max(0, done.bytes - first.bytes) / span,
            seconds_left=left / rate if rate > 0 else None,
            status=_by_status(done),
            reasons=_by_reason(done),
            workers=self._activity.workers,
            slowest=self._activity.slowest,
            slowest_seconds=self._activity.seconds,
        )


def as_json(snapshot: Snapshot) -> dict[str, Any]:
    """Return a snapshot's fields, numbers rounded to what they are worth."""
    values = {name: getattr(snapshot, name) for name in Snapshot.__dataclass_fields__}
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in values.items()}


def _by_status(done: Progress) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for (status, _), count in done.fates.items():
        counts[status] += count
    return dict(sorted(counts.items()))


def _by_reason(done: Progress) -> dict[str, dict[str, int]]:
    reasons: dict[str, dict[str, int]] = {}
    for (status, reason), count in sorted(done.fates.items(), key=lambda item: (item[0][0], -item[1], item[0][1])):
        reasons.setdefault(status, {})[str(reason)] = count
    return reasons
