"""How far a run is, with clips a second and the time left: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tools.console import spell_seconds

_LINE_SECONDS: Final = 10.0


class ClipProgress:
    """Counts rows and clips and shows them; as a context manager it closes its bar.

    Args:
        console: where to show; lines in place of a bar unless it is a terminal.
        clock: seconds that go on, for tests.
        every: seconds between two lines.
    """

    def __init__(
        self,
        console: Console,
        *,
        clock: Callable[[], float] = time.monotonic,
        every: float = _LINE_SECONDS,
    ) -> None:
        self._console = console
        self._clock = clock
        self._every = every
        self._total = self._rows = self._before = self._clips = 0
        self._begun = self._said = clock()
        self._bar: Progress | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    def start(self, total: int, done: int) -> None:
        """Begin: ``done`` of ``total`` rows are finished from an earlier run."""
        self._total, self._rows, self._before = total, done, done
        self._begun = self._said = self._clock()
        if done:
            self._console.print(f"{done} of {total} rows are finished already", highlight=False)
        if self._console.is_terminal and done < total:
            self._bar = _bar(self._console)
            self._bar.add_task("rows", total=total, completed=done, rate="")
            self._bar.start()

    def advance(self, rows: int, clips: int) -> None:
        """Count rows that were dealt with and clips that were made; negative where work was lost."""
        self._rows += rows
        self._clips += clips
        now = self._clock()
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=self._rows, rate=f"{self._rate(now):.1f} clips/s")
        elif not self._console.is_terminal and now - self._said >= self._every:
            self._said = now
            self._console.print(self._line(now), highlight=False, markup=False, soft_wrap=True)

    def _rate(self, now: float) -> float:
        return max(0, self._clips) / max(now - self._begun, 1e-9)

    def _line(self, now: float) -> str:
        made = self._rows - self._before
        left = (now - self._begun) * (self._total - self._rows) / made if made > 0 else None
        time_left = "time left unknown" if left is None else f"{spell_seconds(left)} left"
        return f"{self._rows} of {self._total} rows, {self._rate(now):.1f} clips/s, {time_left}"


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("sharding"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("rows, {task.fields[rate]},"),
        TimeRemainingColumn(compact=True),
        TextColumn("left"),
        console=console,
    )
