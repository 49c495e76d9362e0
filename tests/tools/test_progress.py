"""What one sees of a run: plain lines at growing intervals, on a terminal a table that fits and obeys nobody."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from tests.tools.test_run_state import FAILED, PLAN, Clock
from tools.corpus.events import Note, Planned
from tools.corpus.tally import Activity, Progress
from tools.progress import RunDisplay, line_of, table_of
from tools.run_state import RunState


class Watched:
    """A run whose events go to a state and to a display that writes into a text."""

    def __init__(self, **console):
        self.clock = Clock()
        self.shown = io.StringIO()
        self.state = RunState(self.clock)
        self.display = RunDisplay(Console(file=self.shown, **console), self.state, "sharding to out")

    def take(self, event, *, after=0.0):
        self.clock.now += after
        self.state.take(event)
        self.display.take(event)

    @property
    def lines(self):
        return self.shown.getvalue().splitlines()


@pytest.fixture
def plain():
    return Watched()


def test_plain_lines_come_at_intervals(plain):
    plain.take(Planned(PLAN, 20, 18, 2))
    for _ in range(4):
        plain.take(Progress(10, 8, 500_000), after=5.0)
    assert plain.lines == [
        "20 of 100 rows are finished already",
        "40 of 100 rows, 2.0 rows/s, 1.6 clips/s, 0.1 MB/s, 30.0 s left",
        "60 of 100 rows, 2.0 rows/s, 1.6 clips/s, 0.1 MB/s, 20.0 s left",
    ]


def test_the_intervals_grow_with_the_run_up_to_a_minute(plain):
    plain.take(Planned(PLAN, 0, 0, 0))
    for _ in range(600):
        plain.take(Progress(), after=5.0)
    assert 60 < len(plain.lines) < 90
    for _ in range(600):
        plain.take(Progress(), after=5.0)
    assert 110 < len(plain.lines) < 140


def test_a_line_names_reasons_and_a_video_that_takes_long(plain):
    plain.take(Planned(PLAN, 0, 0, 0))
    plain.take(Activity(2, "videos/\x1b[2Jlong.mp4", 75.0))
    plain.take(FAILED, after=10.0)
    (line,) = plain.lines
    assert "8 failed (damaged 5, not_found 3), 1 filtered (too_short 1)" in line
    assert "videos/\\x1b[2Jlong.mp4 for 1 min 15 s" in line
    assert line.endswith("time left unknown")


def test_notes_are_shown_at_once(plain):
    plain.take(Note("12 rows were added"))
    assert plain.lines == ["12 rows were added"]


def test_many_reasons_are_summed_up(plain):
    plain.take(Progress(fates={("failed", f"reason{number}"): 10 - number for number in range(9)}))
    assert "reason5 5, others 9)" in line_of(plain.state.snapshot())


def test_a_terminal_gets_a_table_that_goes_at_the_end():
    watched = Watched(force_terminal=True, width=100, legacy_windows=False)
    with watched.display:
        watched.take(Planned(PLAN, 0, 0, 0))
        watched.take(Progress(40, 30, 2_000_000), after=4.0)
    shown = watched.shown.getvalue()
    assert "40 of 100" in shown
    assert "7.5/s" in shown
    assert "\x1b[2K" in shown  # lines are erased


def test_the_table_is_a_few_lines_that_fit_any_width():
    state = RunState(Clock())
    state.take(Planned(PLAN, 0, 0, 0))
    state.take(FAILED)
    state.take(Activity(8, "a/very/" + "long/" * 60 + "\x1b[2Jname.mp4", 12.0))
    moment = replace(state.snapshot(), rows=10**9, rows_total=10**9)
    for width in (40, 80, 200):
        console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
        console.print(table_of(moment, "sharding to s3://bucket/corpus"))
        lines = console.file.getvalue().splitlines()
        assert len(lines) == 8
        assert all(len(line) <= width for line in lines)
        assert not any("\x1b" in line for line in lines)
    assert "1,000,000,000 of 1,000,000,000" in lines[1]
