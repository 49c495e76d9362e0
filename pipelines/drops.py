"""What happens to a sample that cannot be used: it is named, counted and bounded, and its slot stays."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from av.error import FFmpegError

from shards.index import DamagedShardError
from shards.store import StoreError

T = TypeVar("T")


class TooManyDropsError(ValueError):
    """So many samples were dropped that the run must stop; the message names the last one."""


@dataclass(frozen=True, slots=True)
class Drop:
    """A sample that could not be used: its place in the endless order, its shard and key, and why.

    ``reason`` is the kind of the error, ``message`` what it says.
    """

    position: int
    epoch: int
    shard: str
    key: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Failure:
    """What came instead of a result: the error, and whether it is the whole run's and not one sample's."""

    error: Exception
    ends_run: bool


@dataclass(frozen=True, slots=True)
class DropBudget:
    """How many samples a run may lose before it stops: more than ``share`` of ``window``, or ``in_a_row``.

    The last ``window`` samples may hold up to ``share * window`` drops (default: 100 among the last 10,000), so a run
    that has only begun is not stopped by its first few. Each rank keeps its own count.

    Raises:
        ValueError: a number is out of range; the message names the field.
    """

    share: float = 0.01
    window: int = 10_000
    in_a_row: int = 100

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError(f"share {self.share} of dropped samples is outside 0 to 1")
        for name in ("window", "in_a_row"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")


def attempt(work: Callable[[], T]) -> T | Failure:
    """Return the result of ``work``, or what went wrong as a value, so that it can travel in order to the consumer.

    A store that fails, a damaged shard, a full disk or memory end the run. Everything else is blamed on the sample:
    media from outside fail in ways that no list foresees, and the budget stops a run in which all of them do.
    """
    try:
        return work()
    except FFmpegError as error:  # before OSError, from which some of its classes descend
        return Failure(error, ends_run=False)
    except (DamagedShardError, StoreError, OSError, MemoryError) as error:
        return Failure(error, ends_run=True)
    except Exception as error:  # noqa: BLE001 - the one place that takes any error; see the docstring
        return Failure(error, ends_run=False)


class DropPolicy:
    """Counts dropped samples, writes them to the run's drop log, and stops a run that loses too many.

    Args:
        budget: how many may be lost.
        log: file that gets one JSON line per drop, added at its end; None keeps no log.
    """

    def __init__(self, budget: DropBudget, log: Path | None = None) -> None:
        self.budget = budget
        self.log = log
        self.seen = 0
        self.dropped = 0
        self._in_a_row = 0
        self._recent: deque[int] = deque()

    def account(self, outcomes: Sequence[Drop | None]) -> None:
        """Take note of samples in their order: a drop, or None for one that is whole.

        Raises:
            TooManyDropsError: the budget is spent. All drops given are in the log by then.
        """
        self._write([drop for drop in outcomes if drop is not None])
        for drop in outcomes:
            self.seen += 1
            if drop is None:
                self._in_a_row = 0
                continue
            self.dropped += 1
            self._in_a_row += 1
            self._recent.append(self.seen)
            self._require_budget(drop)

    def _require_budget(self, drop: Drop) -> None:
        while self._recent[0] <= self.seen - self.budget.window:
            self._recent.popleft()
        if self._in_a_row >= self.budget.in_a_row:
            found = f"{self._in_a_row} samples in a row"
        elif len(self._recent) > self.budget.share * self.budget.window:
            found = f"{len(self._recent)} of the last {min(self.seen, self.budget.window)} samples"
        else:
            return
        where = f"all are named in {self.log}" if self.log else "set a drop log to have all of them named"
        raise TooManyDropsError(
            f"{found} could not be used (allowed: {self.budget.share:.3%} of {self.budget.window}, fewer than "
            f"{self.budget.in_a_row} in a row); the last one is {drop.key} in shard {drop.shard}: "
            f"{drop.reason}: {drop.message}; {where}; run 'vidloom verify' on the dataset, or raise the budget",
        )

    def _write(self, drops: Sequence[Drop]) -> None:
        if not drops or self.log is None:
            return
        lines = "".join(json.dumps(asdict(drop), ensure_ascii=False) + "\n" for drop in drops)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab", buffering=0) as file:  # one write at the end of the file: ranks may share it
            file.write(lines.encode(errors="backslashreplace"))
