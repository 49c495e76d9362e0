"""A run that one can watch: a live table on a terminal, plain lines at growing intervals elsewhere."""

from __future__ import annotations

from types import TracebackType
from typing import Final, Self

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tools.console import printable, spell_seconds, spell_size
from tools.corpus.block import Judged
from tools.corpus.events import Event, Note, Planned
from tools.run_state import RunState, Snapshot

LINE_SECONDS: Final = 10.0
"""Seconds between two plain lines at first; later a twentieth of the time that the run took so far, up to a minute."""

_LONGEST_LINE_SECONDS: Final = 60.0
_SHOWN_REASONS: Final = 6
_SLOW_SECONDS: Final = 10.0
_MEGA: Final = 1e6


class RunDisplay:
    """Shows a run while it goes on; as a context manager it takes its table away at the end.

    Args:
        console: where to show; lines in place of a table unless it is a terminal.
        state: what there is to show.
        title: what is being made.
    """

    def __init__(self, console: Console, state: RunState, title: str) -> None:
        self._console = console
        self._state = state
        self._title = title
        self._live: Live | None = None
        self._said = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    def take(self, event: Event | Judged) -> None:
        """Show what an event has changed; the state has it already."""
        if isinstance(event, Note):
            self._print(event.text)
        elif isinstance(event, Planned):
            self._begin(event)
        elif not self._console.is_terminal:
            self._say()

    def _begin(self, planned: Planned) -> None:
        self._said = self._state.snapshot().elapsed
        if planned.rows_done:
            self._print(f"{planned.rows_done} of {planned.plan.rows} rows are finished already")
        if self._console.is_terminal and self._live is None and planned.rows_done < planned.plan.rows:
            self._live = Live(
                get_renderable=lambda: table_of(self._state.snapshot(), self._title),
                console=self._console,
                transient=True,
                redirect_stdout=False,
            )
            self._live.start()

    def _say(self) -> None:
        snapshot = self._state.snapshot()
        interval = min(max(LINE_SECONDS, snapshot.elapsed / 20), _LONGEST_LINE_SECONDS)
        if self._state.planned and snapshot.elapsed - self._said >= interval:
            self._said = snapshot.elapsed
            self._print(line_of(snapshot))

    def _print(self, line: str) -> None:
        self._console.print(printable(line), highlight=False, markup=False, soft_wrap=True)


def line_of(snapshot: Snapshot) -> str:
    """Return a moment of a run in one line."""
    rates = f"{snapshot.rows_per_second:.1f} rows/s, {snapshot.clips_per_second:.1f} clips/s"
    parts = [f"{snapshot.rows} of {snapshot.rows_total} rows", rates, f"{snapshot.bytes_per_second / _MEGA:.1f} MB/s"]
    parts += [f"{count} {status} ({_reasons(snapshot, status)})" for status, count in snapshot.status.items()]
    if snapshot.slowest_seconds >= _SLOW_SECONDS:
        parts.append(f"{snapshot.slowest} for {spell_seconds(snapshot.slowest_seconds)}")
    return ", ".join([*parts, _left(snapshot)])


def table_of(snapshot: Snapshot, title: str) -> RenderableType:
    """Return a moment of a run as a table of a few lines."""
    table = Table.grid(padding=(0, 2))
    table.title, table.title_justify, table.title_style = Text(printable(title), overflow="ellipsis"), "left", "bold"
    table.add_column(style="dim", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    table.expand = True
    share = snapshot.rows / snapshot.rows_total if snapshot.rows_total else 1.0
    bar = ProgressBar(total=1.0, completed=min(max(share, 0.0), 1.0), width=24)
    table.add_row("rows", f"{snapshot.rows:,} of {snapshot.rows_total:,}", f"{snapshot.rows_per_second:,.1f}/s", bar)
    table.add_row("clips", f"{snapshot.clips:,}", f"{snapshot.clips_per_second:,.1f}/s", _left(snapshot))
    rate = f"{snapshot.bytes_per_second / _MEGA:,.1f} MB/s"
    table.add_row("bytes", spell_size(max(0, snapshot.bytes)), rate, f"{spell_seconds(snapshot.elapsed)} so far")
    table.add_row("shards", f"{snapshot.shards:,} of {snapshot.shards_total:,}", "", "")
    for status, count in snapshot.status.items():
        table.add_row(status, f"{count:,}", "", Text(_reasons(snapshot, status), style="yellow"))
    slowest = f"{printable(snapshot.slowest)}, for {spell_seconds(snapshot.slowest_seconds)}"
    table.add_row("at work", f"{snapshot.workers:,} workers", "", Text(slowest if snapshot.slowest else "", "dim"))
    return table


def _reasons(snapshot: Snapshot, status: str) -> str:
    """Return the commonest reasons of a status with their counts."""
    counts = list(snapshot.reasons.get(status, {}).items())
    shown = [f"{reason} {count}" for reason, count in counts[:_SHOWN_REASONS]]
    rest = sum(count for _, count in counts[_SHOWN_REASONS:])
    return ", ".join([*shown, f"others {rest}"] if rest else shown)


def _left(snapshot: Snapshot) -> str:
    left = snapshot.seconds_left
    return "time left unknown" if left is None else f"{spell_seconds(max(0.0, left))} left"
