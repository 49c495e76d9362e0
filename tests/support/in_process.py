"""Whole runs made quick and unlucky: workers in the test's own process, and crashes at a chosen step."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shards.store import Store
from tools.corpus import making, planning
from tools.corpus.block import Block, BlockSettings, Task, Watch
from tools.corpus.events import Event
from tools.corpus.request import ShardRequest
from tools.corpus.run import shard

SILENT = Watch(lambda rows: None, lambda rows, progress: None, lambda rows: None)
VERBS = ("put", "put_file", "move", "delete", "create")
"""What changes a store."""


class InProcess:
    """An executor that does the work where it is."""

    def __init__(self, _choice: object, settings: BlockSettings, _blocks: int) -> None:
        self._settings = settings

    def run(self, blocks: Iterable[Block], work: Callable[..., Any]) -> Iterator[Any]:
        for block in blocks:
            yield work(Task(block), self._settings, SILENT)


def work_here(patch: pytest.MonkeyPatch) -> None:
    """Let runs do all their work in this process."""
    patch.setattr(making, "open_executor", InProcess)
    patch.setattr(planning, "ask", lambda function, *arguments: function(*arguments))


def run_here(table: str | Path | tuple[str, ...], out: str | Path, **settings: Any) -> list[Event]:
    """Run to the end and return what the run told; ``table`` is one input, or several."""
    events: list[Event] = []
    shard(
        ShardRequest(input=table if isinstance(table, tuple) else str(table), out=str(out), **settings), events.append
    )
    return events


def hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file below a folder, by name."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


class CrashError(BaseException):
    """The process is gone, as far as a test can tell."""


class Crashes:
    """Lets every change of a store fail from a chosen one on: the run has died there, as far as the store can tell.

    Args:
        patch: by which the store's verbs are replaced.
    """

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.left: int | None = None
        self._lock = threading.Lock()
        for verb in VERBS:
            patch.setattr(Store, verb, self._counted(getattr(Store, verb)))

    def _counted(self, change: Callable[..., Any]) -> Callable[..., Any]:
        def changed(*arguments: Any, **options: Any) -> Any:
            with self._lock:
                if self.left is not None:
                    self.left -= 1
                    if self.left < 0:
                        raise CrashError
            return change(*arguments, **options)

        return changed

    def at(self, step: int, action: Callable[[], object]) -> bool:
        """Do the action and let it die before its change number ``step``; tell whether it died."""
        self.left = step
        try:
            action()
        except CrashError:
            return True
        finally:
            self.left = None
        return False
