"""Worker processes that make blocks: a dead one is replaced, a row that kills its process is found and given up."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from multiprocessing import connection
from typing import Final, TypeVar

from shards.errors import without_signature
from shards.ledger import Reason
from tools.console import StoppedError
from tools.corpus.block import Block, BlockSettings, Task
from tools.corpus.tables import Fault
from tools.corpus.tally import Activity, Progress
from tools.corpus.worker import (
    WORKER_MEMORY,
    Begun,
    Child,
    Counted,
    Done,
    Ended,
    Rows,
    Stopped,
    Work,
    cause_of,
    serve,
    start,
    take_last_words,
)

TRIES: Final = 3
"""How often a row may kill its process before it is given up, and how many rows of a video may run out of time."""

ROW_SECONDS: Final = 1200.0
"""How long a video may be at work without a clip of it being done before its process is taken for stuck."""

_START_SECONDS: Final = 300.0
"""How long a process may take to its first word."""

_QUIET_SECONDS: Final = 3600.0
"""How long a process may be silent with no video at work: while it packs and publishes a shard."""

_POLL_SECONDS: Final = 1.0

R = TypeVar("R")


@dataclass
class _Worker:
    child: Child
    task: Task | None = None
    at_work: dict[Rows, float] = field(default_factory=dict)
    done: Progress = field(default_factory=Progress)
    stuck: frozenset[Rows] = frozenset()
    heard: float = field(default_factory=time.monotonic)
    patience: float = _START_SECONDS

    def video(self, row: int) -> str:
        assert self.task is not None
        name = next((each.video for each in self.task.block.rows if each.row == row), f"row {row}")
        return without_signature(name)  # it is shown and logged

    def give(self, task: Task) -> None:
        self.task, self.done, self.heard = task, Progress(), time.monotonic()
        self.at_work.clear()
        self.child.send(task)


class Pool:
    """Up to ``workers`` processes, each of which does its work on one block at a time.

    Args:
        settings: what all blocks share.
        workers: number of processes.
        row_seconds: seconds that a video may be at work, with no clip of it done, before its process is killed.
        memory: bytes that a process may hold; what asks for more fails, or dies of it, and costs its row.
    """

    def __init__(
        self,
        settings: BlockSettings,
        workers: int,
        *,
        row_seconds: float = ROW_SECONDS,
        memory: int = WORKER_MEMORY,
    ) -> None:
        self._settings = settings
        self._size = workers
        self._row_seconds = row_seconds
        self._memory = memory
        self._told = time.monotonic()
        self._workers: list[_Worker] = []
        self._deaths: Counter[int] = Counter()

    def run(self, blocks: Iterable[Block], work: Work[R]) -> Iterator[Progress | Activity | R]:
        """Do ``work`` on the blocks; yield what goes on, and what the work returns for each block when it is done.

        A block is taken from ``blocks`` only when a worker is free for it. No worker outlives the iteration.

        Raises:
            StoppedError: the work cannot go on, or a process dies again and again with no row at work.
        """
        left = iter(blocks)
        try:
            while True:
                block = next(left, None) if self._is_free() else None
                if block is not None:
                    self._idle(work).give(Task(block))
                elif any(worker.task for worker in self._workers):
                    yield from self._events(work)
                else:
                    return
        finally:
            self.close()

    def close(self) -> None:
        """End all workers at once; what they were at stays undone."""
        for worker in self._workers:
            worker.child.process.kill()
        for worker in self._workers:
            worker.child.end()
        self._workers.clear()

    def _is_free(self) -> bool:
        return len(self._workers) < self._size or any(worker.task is None for worker in self._workers)

    def _idle(self, work: Work[R]) -> _Worker:
        for worker in self._workers:
            if worker.task is None:
                return worker
        self._workers.append(_Worker(start(serve, self._memory, self._settings, work)))
        return self._workers[-1]

    def _events(self, work: Work[R]) -> Iterator[Progress | Activity | R]:
        busy = {worker.child.pipe: worker for worker in self._workers if worker.task is not None}
        for pipe in connection.wait(list(busy), timeout=_POLL_SECONDS):
            yield from self._hear(busy[pipe], work)  # type: ignore[index]  # the list held connections only
        self._kill_stuck()
        if time.monotonic() - self._told >= _POLL_SECONDS:
            self._told = time.monotonic()
            yield self._activity()

    def _activity(self) -> Activity:
        busy = [worker for worker in self._workers if worker.task is not None]
        since = [(begun, rows[0], worker) for worker in busy for rows, begun in worker.at_work.items()]
        if not since:
            return Activity(len(busy))
        begun, row, worker = min(since, key=lambda each: each[0])
        return Activity(len(busy), worker.video(row), time.monotonic() - begun)

    def _hear(self, worker: _Worker, work: Work[R]) -> Iterator[Progress | R]:
        try:
            message = worker.child.pipe.recv()
        except (EOFError, OSError):
            yield from self._replace(worker, work)
            return
        worker.heard, worker.patience = time.monotonic(), max(_QUIET_SECONDS, self._row_seconds)
        if isinstance(message, Stopped):
            raise StoppedError(message.message)
        if isinstance(message, Begun):
            worker.at_work[message.rows] = time.monotonic()
        elif isinstance(message, Done):
            worker.task = None
            yield message.result
        else:
            yield _counted(worker, message)

    def _replace(self, dead: _Worker, work: Work[R]) -> Iterator[Progress]:
        """Start another process for a dead worker's block, which is made again from its beginning."""
        dead.child.end()
        self._workers.remove(dead)
        said = take_last_words(self._settings.scratch, dead.child.process.pid)
        yield -dead.done
        assert dead.task is not None
        if not dead.at_work:
            self._count_death(dead, said)
        self._workers.append(_Worker(start(serve, self._memory, self._settings, work)))
        self._workers[-1].give(_after_timeout(dead) if dead.stuck else _after_death(dead))

    def _count_death(self, dead: _Worker, said: str) -> None:
        assert dead.task is not None
        number = dead.task.block.number
        self._deaths[number] += 1
        if self._deaths[number] >= TRIES:
            cause = f"{cause_of(dead.child.process.exitcode)}{f' ({said})' if said else ''}"
            raise StoppedError(
                f"block {number}: its process died {TRIES} times with no row at work, the last time by {cause}; look "
                "for what killed it (memory?) and run the same command again",
            )

    def _kill_stuck(self) -> None:
        now = time.monotonic()
        for worker in self._workers:
            late = {rows for rows, since in worker.at_work.items() if now - since > self._row_seconds}
            if late and not worker.stuck:
                worker.stuck = frozenset(late)
                worker.child.process.kill()
            elif worker.task is not None and not worker.at_work and now - worker.heard > worker.patience:
                worker.child.process.kill()


def _counted(worker: _Worker, message: Counted | Ended) -> Progress:
    """Return what a message adds; a clip that is done gives its video's other rows their full time again."""
    if isinstance(message, Ended):
        worker.at_work.pop(message.rows, None)
        progress = Progress(rows=len(message.rows))
    else:
        if message.rows in worker.at_work:
            worker.at_work[message.rows] = time.monotonic()
        progress = message.progress
    worker.done += progress
    return progress


def _after_death(dead: _Worker) -> Task:
    """Return the task to try next: rows at work are cut alone from now on, one that killed too often is given up."""
    assert dead.task is not None
    deaths, lost = dict(dead.task.deaths), dict(dead.task.lost)
    fault = Fault(Reason.WORKER_DIED, f"the process that cut it died of it, by {cause_of(dead.child.process.exitcode)}")
    for rows in dead.at_work:
        for row in rows:
            deaths[row] = deaths.get(row, 0) + 1
        if len(rows) == 1 and deaths[rows[0]] >= TRIES:
            lost[rows[0]] = fault
    return replace(dead.task, deaths=deaths, lost=lost)


def _after_timeout(dead: _Worker) -> Task:
    """Return the task to try next: rows that took too long together are cut alone, one that did so alone is given up.

    Alone is what was the only one at work: a process that stands still holds up all that it is at. Once ``TRIES`` rows
    of a video are given up so, the rows of it that come after them are, too: a video of a hundred segments that hangs
    would else hang a hundred times.
    """
    assert dead.task is not None
    deaths, lost = dict(dead.task.deaths), dict(dead.task.lost)
    fault = Fault(Reason.TIMEOUT, "it was not done in the time that a row may take; --row-timeout gives more")
    videos = {row.row: row.video for row in dead.task.block.rows}
    for rows in dead.stuck:
        deaths.update({row: deaths.get(row, 0) + 1 for row in rows})
        if len(rows) == len(dead.at_work) == 1:
            lost[rows[0]] = fault
            video = videos.get(rows[0])
            same = {row for row in (*lost, *deaths) if video is not None and videos.get(row) == video}
            if sum(row in same and given_up.reason == fault.reason for row, given_up in lost.items()) >= TRIES:
                lost.update({row: fault for row in deaths if row > rows[0] and row in same})
    return replace(dead.task, deaths=deaths, lost=lost)
