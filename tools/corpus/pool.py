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
from typing import Any, Final, TypeVar

from shards.ledger import Reason
from shards.manifest import ShardEntry
from tools.console import StoppedError
from tools.corpus.block import Block, BlockSettings, Task, Watch, make_block
from tools.corpus.tables import Fault

TRIES: Final = 3
"""How often a row may kill its process before it is given up."""

ROW_SECONDS: Final = 3600.0
"""How long a row may be at work before its process is taken for stuck."""

ASK_SECONDS: Final = 600.0
"""How long a question may be at work before its process is taken for stuck."""

_POLL_SECONDS: Final = 1.0
_context: Final = multiprocessing.get_context("spawn")

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Progress:
    """Rows that were dealt with and clips that were cut since the last event; negative where work was lost."""

    rows: int
    clips: int


@dataclass(frozen=True, slots=True)
class _Begun:
    rows: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Ended:
    rows: tuple[int, ...]
    clips: int


@dataclass(frozen=True, slots=True)
class _Stopped:
    message: str


@dataclass
class _Worker:
    process: SpawnProcess
    pipe: connection.Connection
    task: Task | None = None
    at_work: dict[tuple[int, ...], float] = field(default_factory=dict)
    rows: int = 0
    clips: int = 0
    stuck: bool = False

    def give(self, task: Task) -> None:
        self.task, self.rows, self.clips = task, 0, 0
        self.at_work.clear()
        # A worker that died while it was idle is noticed when its answer is waited for.
        with contextlib.suppress(OSError):
            self.pipe.send(task)


class Pool:
    """Up to ``workers`` processes, each of which makes and publishes one block at a time.

    Args:
        settings: what all blocks share.
        workers: number of processes.
        row_seconds: seconds that a row may be at work before its process is killed.
    """

    def __init__(self, settings: BlockSettings, workers: int, *, row_seconds: float = ROW_SECONDS) -> None:
        self._settings = settings
        self._size = workers
        self._row_seconds = row_seconds
        self._workers: list[_Worker] = []
        self._deaths: Counter[int] = Counter()

    def run(self, blocks: Iterable[Block]) -> Iterator[Progress | ShardEntry]:
        """Make the blocks; yield what goes on, and each block's entry when it is published.

        A block is taken from ``blocks`` only when a worker is free for it. No worker outlives the iteration.

        Raises:
            StoppedError: a shard cannot be published, or a process dies again and again with no row at work.
        """
        try:
            for block in blocks:
                while (worker := self._idle()) is None:
                    yield from self._events()
                worker.give(Task(block))
            while any(worker.task for worker in self._workers):
                yield from self._events()
        finally:
            self.close()

    def close(self) -> None:
        """End all workers at once; blocks that they were making stay unpublished."""
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.join()
            worker.pipe.close()
        self._workers.clear()

    def _idle(self) -> _Worker | None:
        for worker in self._workers:
            if worker.task is None:
                return worker
        if len(self._workers) == self._size:
            return None
        self._workers.append(_start(_work, self._settings))
        return self._workers[-1]

    def _events(self) -> Iterator[Progress | ShardEntry]:
        busy = {worker.pipe: worker for worker in self._workers if worker.task is not None}
        for pipe in connection.wait(list(busy), timeout=_POLL_SECONDS):
            yield from self._hear(busy[pipe])  # type: ignore[index]  # the list held connections only
        self._kill_stuck()

    def _hear(self, worker: _Worker) -> Iterator[Progress | ShardEntry]:
        try:
            message = worker.pipe.recv()
        except (EOFError, OSError):
            yield from self._replace(worker)
            return
        if isinstance(message, _Stopped):
            raise StoppedError(message.message)
        if isinstance(message, _Begun):
            worker.at_work[message.rows] = time.monotonic()
        elif isinstance(message, _Ended):
            worker.at_work.pop(message.rows, None)
            worker.rows += len(message.rows)
            worker.clips += message.clips
            yield Progress(len(message.rows), message.clips)
        else:
            worker.task = None
            yield message

    def _replace(self, dead: _Worker) -> Iterator[Progress]:
        """Start another process for a dead worker's block, which is made again from its beginning."""
        dead.process.join()
        dead.pipe.close()
        self._workers.remove(dead)
        yield Progress(-dead.rows, -dead.clips)
        assert dead.task is not None
        if not dead.at_work:
            self._count_death(dead)
        self._workers.append(_start(_work, self._settings))
        self._workers[-1].give(_after_death(dead.task, tuple(dead.at_work), _fault(dead)))

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
            if any(now - begun > self._row_seconds * len(rows) for rows, begun in worker.at_work.items()):
                worker.stuck = True
                worker.process.kill()


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


def _after_death(task: Task, at_work: tuple[tuple[int, ...], ...], fault: Fault) -> Task:
    """Return the task to try next: rows at work are cut alone from now on, one that killed too often is given up."""
    deaths, lost = dict(task.deaths), dict(task.lost)
    for rows in at_work:
        for row in rows:
            deaths[row] = deaths.get(row, 0) + 1
        if len(rows) == 1 and deaths[rows[0]] >= TRIES:
            lost[rows[0]] = fault
    return replace(task, deaths=deaths, lost=lost)


def _fault(dead: _Worker) -> Fault:
    if dead.stuck:
        return Fault(Reason.TIMEOUT, "it was not done in the time that a row may take; --row-timeout gives more")
    return Fault(Reason.WORKER_DIED, f"the process that cut it died of it, by {_cause(dead.process.exitcode)}")


def _cause(exitcode: int | None) -> str:
    if exitcode is not None and exitcode < 0:
        return signal.Signals(-exitcode).name
    return f"exit status {exitcode}"


def _work(pipe: connection.Connection, settings: BlockSettings) -> None:
    """Make the blocks that come through the pipe, until it closes."""
    _follow_parent()
    lock = threading.Lock()

    def tell(message: object) -> None:
        with lock:
            pipe.send(message)

    watch = Watch(lambda rows: tell(_Begun(rows)), lambda rows, clips: tell(_Ended(rows, clips)))
    while True:
        try:
            task = pipe.recv()
        except EOFError:
            return
        try:
            tell(make_block(task, settings, watch))
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
