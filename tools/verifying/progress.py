"""How far a verification is: a bar on a terminal, plain lines at intervals elsewhere."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from tools.console import spell_size

_LINE_SECONDS: Final = 10.0


class CheckDisplay:
    """Shows how many bytes of tars were read, and how many clips were decoded; threads may tell it at the same time.

    Args:
        console: where to show.
        shards: how many shards there are to check.
        total: what there is to do: clips to decode where there are any, else bytes to read.
        decodes: whether clips are decoded.
    """

    def __init__(self, console: Console, shards: int, total: int, *, decodes: bool = False) -> None:
        self._console, self._shards, self._total, self._decodes = console, shards, total, decodes
        self._lock = threading.Lock()
        self._said = time.monotonic()
        self._shards_done = self._bytes = self._clips = 0
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=console, transient=True, redirect_stdout=False)
        self._task = self._bar.add_task("verifying", total=max(total, 1))

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._console.is_terminal:  # elsewhere its end is an empty line
            self._bar.stop()

    def count(self, *, clips: int = 0, size: int = 0, shards: int = 0) -> None:
        """Take in what was done: clips decoded, bytes that passed, shards that are done; fewer where work was lost."""
        with self._lock:
            self._clips, self._bytes, self._shards_done = (
                self._clips + clips,
                self._bytes + size,
                self._shards_done + shards,
            )
            done = self._clips if self._decodes else self._bytes
            self._bar.update(self._task, completed=done, description=self.line())
            now = time.monotonic()
            if not self._console.is_terminal and now - self._said >= _LINE_SECONDS:
                self._said = now
                self._console.print(f"verifying: {self.line()}", highlight=False, markup=False, soft_wrap=True)

    def line(self) -> str:
        """Return how far it is, in words."""
        shards = f"{self._shards_done} of {self._shards} shards"
        if self._decodes:
            return f"{shards}, {self._clips} of {self._total} clips decoded"
        return f"{shards}, {spell_size(self._bytes)} of {spell_size(self._total)} read"
