"""Worker processes that make blocks: a dead one is replaced, a row that kills its process is found and given up."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from multiprocessing import connection
from multiprocessing.context import SpawnProcess
from typing import Any, Final, Generic, TypeVar

from shards.ledger import Reason
from tools.console import StoppedError
from tools.corpus.block import Block, BlockSettings, Task, Watch
from tools.corpus.tables import Fault
from tools.corpus.tally import Activity, Progress

TRIES: Final = 3
"""How often a row may kill its process before it is given up, and how many rows of a video may run out of time."""

ROW_SECONDS: Final = 1200.0
"""How long a video may be at work without a clip of it being done before its process is taken for stuck."""

ASK_SECONDS: Final = 600.0
"""How long a question may be at work before its process is taken for stuck."""

_POLL_SECONDS: Final = 1.0
_context: Final = multiprocessing.get_context("spawn")

Answer = TypeVar("Answer")
R = TypeVar("R")

Rows = tuple[int, ...]
Work = Callable[[Task, BlockSettings, Watch], R]
"""What is done with a block in a worker process: a function at the top of a module."""


@dataclass(frozen=True, slots=True)
class _Begun:
    rows: Rows


@dataclass(frozen=True, slots=True)
class _Counted:
    rows: Rows
    progress: Progress


@dataclass(frozen=True, slots=True)
class _Ended:
    rows: Rows


@dataclass(frozen=True, slots=True)
class _Stopped:
    message: str


@dataclass(frozen=True, slots=True)
class _Done(Generic[R]):
    result: R


@dataclass
class _Worker:
    process: SpawnProcess
    pipe: connection.Connection
    task: Task | None = None
    at_work: dict[Rows, float] = field(default_factory=dict)
    done: Progress = field(default_factory=Progress)
    stuck: frozenset[Rows] = frozenset()

    def give(self, task: Task) -> None:
        self.task, self.done = task, Progress()
        self.at_work.clear()
        # A worker that died while it was idle is noticed when its answer is waited for.
        with contextlib.suppress(OSError):
            self.pipe.send(task)


class Pool:
    """Up to ``workers`` processes, each of which does its work on one block at a time.

    Args:
        settings: what all blocks share.
        workers: number of processes.
        row_seconds: seconds that a video may be at work, with no clip of it done, before its process is killed.
    """

    def __init__(self, settings: BlockSettings, workers: int, *, row_seconds: float = ROW_SECONDS) -> None:
        self._settings = settings
        self._size = workers
        self._row_seconds = row_seconds
        self._workers: list[_Worker] = []
        self._deaths: Counter[int] = Counter()

    def run(self, blocks: Iterable[Block], work: Work[R]) -> Iterator[Progress | Activity | R]:
        """Do ``work`` on the blocks; yield what goes on, and what the work returns for each block when it is done.

        A block is taken from ``blocks`` only when a worker is free for it. No worker outlives the iteration.

        Raises:
            StoppedError: the work cannot go on, or a process dies again and again with no row at work.
        """
        try:
            for block in blocks:
                while (worker := self._idle(work)) is None:
                    yield from self._events(work)
                worker.give(Task(block))
            while any(worker.task for worker in self._workers):
                yield from self._events(work)
        finally:
            self.close()

    def close(self) -> None:
        """End all workers at once; what they were at stays undone."""
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.join()
            worker.pipe.close()
        self._workers.clear()

    def _idle(self, work: Work[R]) -> _Worker | None:
        for worker in self._workers:
            if worker.task is None:
                return worker
        if len(self._workers) == self._size:
            return None
        self._workers.append(_start(_serve, self._settings, work))
        return self._workers[-1]

    def _events(self, work: Work[R]) -> Iterator[Progress | Activity | R]:
        busy = {worker.pipe: worker for worker in self._workers if worker.task is not None}
        for pipe in connection.wait(list(busy), timeout=_POLL_SECONDS):
            yield from self._hear(busy[pipe], work)  # type: ignore[index]  # the list held connections only
        self._kill_stuck()

    def _hear(self, worker: _Worker, work: Work[R]) -> Iterator[Progress | R]:
        try:
            message = worker.pipe.recv()
        except (EOFError, OSError):
            yield from self._replace(worker, work)
            return
        if isinstance(message, _Stopped):
            raise StoppedError(message.message)
        if isinstance(message, _Begun):
            worker.at_work[message.rows] = time.monotonic()
        elif isinstance(message, _Done):
            worker.task = None
            yield message.result
        else:
            yield _counted(worker, message)

    def _replace(self, dead: _Worker, work: Work[R]) -> Iterator[Progress]:
        """Start another process for a dead worker's block, which is made again from its beginning."""
        dead.process.join()
        dead.pipe.close()
        self._workers.remove(dead)
        yield -dead.done
        assert dead.task is not None
        if not dead.at_work:
            self._count_death(dead)
        self._workers.append(_start(_serve, self._settings, work))
        self._workers[-1].give(_after_timeout(dead) if dead.stuck else _after_death(dead))

    def _count_death(self, dead: _Worker) -> None:
        assert dead.task is not None
        number = dead.task.block.number
        self._deaths[number] += 1
        if self._deaths[number] >= TRIES:
            raise StoppedError(
                f"block {number}: its process died {TRIES} times with no row at work, the last time by "
                f"{_cause(dead.process.exitcode)}; look for what killed it (memory?) and run the same command again",
            )

    def _kill_stuck(self) -> None:
        now = time.monotonic()
        for worker in self._workers:
            late = {rows for rows, since in worker.at_work.items() if now - since > self._row_seconds}
            if late and not worker.stuck:
                worker.stuck = frozenset(late)
                worker.process.kill()


def _counted(worker: _Worker, message: _Counted | _Ended) -> Progress:
    """Return what a message adds; a clip that is done gives its video's other rows their full time again."""
    if isinstance(message, _Ended):
        worker.at_work.pop(message.rows, None)
        progress = Progress(rows=len(message.rows))
    else:
        if message.rows in worker.at_work:
            worker.at_work[message.rows] = time.monotonic()
        progress = message.progress
    worker.done += progress
    return progress


def ask(function: Callable[..., Answer], *arguments: object, seconds: float = ASK_SECONDS) -> Answer | None:
    """Return ``function(*arguments)`` computed in a process of its own; None where that died of it or took too long."""
    worker = _start(_answer, function, arguments)
    try:
        if not worker.pipe.poll(seconds):
            return None
        answer: Answer = worker.pipe.recv()
    except (EOFError, OSError):
        return None
    finally:
        worker.process.kill()
        worker.process.join()
        worker.pipe.close()
    return answer


def _start(target: Callable[..., None], *arguments: object) -> _Worker:
    """Start a process that a Ctrl-C on the terminal does not reach: it is ours to end."""
    ours, theirs = _context.Pipe()
    process = _context.Process(target=target, args=(theirs, *arguments), daemon=True)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    theirs.close()
    return _Worker(process, ours)


def _after_death(dead: _Worker) -> Task:
    """Return the task to try next: rows at work are cut alone from now on, one that killed too often is given up."""
    assert dead.task is not None
    deaths, lost = dict(dead.task.deaths), dict(dead.task.lost)
    fault = Fault(Reason.WORKER_DIED, f"the process that cut it died of it, by {_cause(dead.process.exitcode)}")
    for rows in dead.at_work:
        for row in rows:
            deaths[row] = deaths.get(row, 0) + 1
        if len(rows) == 1 and deaths[rows[0]] >= TRIES:
            lost[rows[0]] = fault
    return replace(dead.task, deaths=deaths, lost=lost)


def _after_timeout(dead: _Worker) -> Task:
    """Return the task to try next: rows that took too long together are cut alone, one that did so alone is given up.

    Once ``TRIES`` rows of a video are given up so, the rows of it that come after them are, too: a video of a hundred
    segments that hangs would else hang a hundred times.
    """
    assert dead.task is not None
    deaths, lost = dict(dead.task.deaths), dict(dead.task.lost)
    fault = Fault(Reason.TIMEOUT, "it was not done in the time that a row may take; --row-timeout gives more")
    videos = {row.row: row.video for row in dead.task.block.rows}
    for rows in dead.stuck:
        deaths.update({row: deaths.get(row, 0) + 1 for row in rows})
        if len(rows) == 1:
            lost[rows[0]] = fault
            video = videos[rows[0]]
            if sum(videos[row] == video and given_up.reason == fault.reason for row, given_up in lost.items()) >= TRIES:
                lost.update({row: fault for row in deaths if row > rows[0] and videos[row] == video})
    return replace(dead.task, deaths=deaths, lost=lost)


def _cause(exitcode: int | None) -> str:
    if exitcode is not None and exitcode < 0:
        return signal.Signals(-exitcode).name
    return f"exit status {exitcode}"


def _serve(pipe: connection.Connection, settings: BlockSettings, work: Work[Any]) -> None:
    """Do the work on the blocks that come through the pipe, until it closes."""
    _follow_parent()
    lock = threading.Lock()

    def tell(message: object) -> None:
        with lock:
            pipe.send(message)

    watch = Watch(
        lambda rows: tell(_Begun(rows)),
        lambda rows, progress: tell(_Counted(rows, progress)),
        lambda rows: tell(_Ended(rows)),
    )
    while True:
        try:
            task = pipe.recv()
        except EOFError:
            return
        try:
            tell(_Done(work(task, settings, watch)))
        except OSError as error:
            tell(_Stopped(str(error)))


def _answer(pipe: connection.Connection, function: Callable[..., Any], arguments: tuple[object, ...]) -> None:
    _follow_parent()
    pipe.send(function(*arguments))


def _follow_parent() -> None:
    """Leave Ctrl-C to the parent, and end with it however it ends: a run that is killed leaves nobody writing."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def leave() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=leave, daemon=True).start()
