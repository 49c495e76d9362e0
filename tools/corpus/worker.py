"""The inside of a worker process: it works on the blocks that a pipe brings, tells of it, and ends with its parent."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing import connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from tools.corpus.block import BlockSettings, Task, Watch
from tools.corpus.tally import Progress

WORKER_MEMORY: Final = 4 << 30
"""Bytes that a worker process may hold; most videos take a tenth of it, 8K ones that must be encoded two thirds."""

ASK_SECONDS: Final = 600.0
"""How long a question may be at work before its process is taken for stuck."""

_OUT_OF_MEMORY: Final = 77
_LAST_WORDS: Final = 4096
_context: Final = multiprocessing.get_context("spawn")

Answer = TypeVar("Answer")
R = TypeVar("R")

Rows = tuple[int, ...]
Work = Callable[[Task, BlockSettings, Watch], R]
"""What is done with a block in a worker process: a function at the top of a module."""


@dataclass(frozen=True, slots=True)
class Begun:
    """The rows of a video are at work."""

    rows: Rows


@dataclass(frozen=True, slots=True)
class Counted:
    """What came of a video's rows so far."""

    rows: Rows
    progress: Progress


@dataclass(frozen=True, slots=True)
class Ended:
    """The rows of a video are dealt with."""

    rows: Rows


@dataclass(frozen=True, slots=True)
class Stopped:
    """The work cannot go on."""

    message: str


@dataclass(frozen=True, slots=True)
class Done(Generic[R]):
    """What the work returned for the block."""

    result: R


@dataclass(frozen=True, slots=True)
class Child:
    """A process of ours and our end of the pipe to it."""

    process: SpawnProcess
    pipe: connection.Connection
    _senders: list[threading.Thread] = field(default_factory=list)

    def send(self, message: object) -> None:
        """Send a message (the last one was answered) without waiting until it is taken: a stopped process takes none.

        One that is dead is noticed when its answer is waited for.
        """
        sender = threading.Thread(target=_send, args=(self.pipe, message), daemon=True)
        self._senders[:] = [sender]
        sender.start()

    def end(self) -> None:
        """Kill the process and wait for its end."""
        self.process.kill()
        self.process.join()
        for sender in self._senders:  # what it waited for is gone
            sender.join()
        self.pipe.close()


def _send(pipe: connection.Connection, message: object) -> None:
    with contextlib.suppress(OSError):
        pipe.send(message)


def ask(function: Callable[..., Answer], *arguments: object, seconds: float = ASK_SECONDS) -> Answer | None:
    """Return ``function(*arguments)`` computed in a process of its own; None where that died of it or took too long."""
    worker = start(_answer, function, arguments)
    try:
        if not worker.pipe.poll(seconds):
            return None
        answer: Answer = worker.pipe.recv()
    except (EOFError, OSError):
        return None
    finally:
        worker.end()
    return answer


def start(target: Callable[..., None], *arguments: object) -> Child:
    """Start a process that a Ctrl-C on the terminal does not reach: it is ours to end."""
    ours, theirs = _context.Pipe()
    process = _context.Process(target=target, args=(theirs, *arguments), daemon=True)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    theirs.close()
    return Child(process, ours)


def cause_of(exitcode: int | None) -> str:
    """Return what ended a process, from its exit code."""
    if exitcode == _OUT_OF_MEMORY:
        return "memory beyond --worker-memory"
    if exitcode is not None and exitcode < 0:
        return signal.Signals(-exitcode).name
    return f"exit status {exitcode}"


def serve(pipe: connection.Connection, memory: int, settings: BlockSettings, work: Work[Any]) -> None:
    """Do the work on the blocks that come through the pipe, until it closes."""
    _follow_parent()
    _speak_to_file(last_words_file(settings.scratch, os.getpid()))
    _bound_memory(memory)
    lock = threading.Lock()

    def tell(message: object) -> None:
        with lock:
            pipe.send(message)

    watch = Watch(
        lambda rows: tell(Begun(rows)),
        lambda rows, progress: tell(Counted(rows, progress)),
        lambda rows: tell(Ended(rows)),
    )
    while True:
        try:
            task = pipe.recv()
        except EOFError:
            return
        os.truncate(2, 0)
        try:
            tell(Done(work(task, settings, watch)))
        except OSError as error:
            tell(Stopped(str(error)))
        except MemoryError:  # with no video to blame, else its row would have failed
            os._exit(_OUT_OF_MEMORY)


def last_words_file(scratch: Path, pid: int) -> Path:
    """Return where what a worker process, or a library in it, says on standard error goes in place of the terminal."""
    return scratch / f"worker-{pid}.err"


def take_last_words(scratch: Path, pid: int | None) -> str:
    """Return the last line that a worker process said, empty where it said nothing, and remove what it said."""
    path = last_words_file(scratch, pid or 0)
    try:
        said = path.read_bytes()[-_LAST_WORDS:]
        path.unlink()
    except OSError:
        return ""
    lines = [line.strip() for line in said.decode(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else ""


def _speak_to_file(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
    os.dup2(file, 2)
    os.close(file)


def _answer(pipe: connection.Connection, function: Callable[..., Any], arguments: tuple[object, ...]) -> None:
    _follow_parent()
    _speak_to_file(Path(os.devnull))  # that there is no answer says it all
    _bound_memory(WORKER_MEMORY)
    pipe.send(function(*arguments))


def _bound_memory(size: int) -> None:
    """Let requests for more memory fail in this process: its own data, not the files that it maps."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = sys.maxsize if hard == resource.RLIM_INFINITY else hard
    resource.setrlimit(resource.RLIMIT_DATA, (min(size, most), hard))


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
