"""Progress: plain lines at intervals, a bar on a terminal, rates and times that follow from the counts."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from tools.progress import ClipProgress


class Clock:
    """Time that goes on when a test says so."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_plain_lines_come_at_intervals(clock):
    shown = io.StringIO()
    with ClipProgress(Console(file=shown), clock=clock, every=10.0) as progress:
        progress.start(total=100, done=20)
        for _ in range(4):
            clock.now += 5.0
            progress.advance(rows=10, clips=8)
    assert shown.getvalue().splitlines() == [
        "20 of 100 rows are finished already",
        "40 of 100 rows, 1.6 clips/s, 30.0 s left",
        "60 of 100 rows, 1.6 clips/s, 20.0 s left",
    ]


def test_work_that_was_lost_is_taken_back(clock):
    shown = io.StringIO()
    with ClipProgress(Console(file=shown), clock=clock, every=10.0) as progress:
        progress.start(total=10, done=0)
        progress.advance(5, 5)
        clock.now += 10.0
        progress.advance(-5, -5)
    assert shown.getvalue() == "0 of 10 rows, 0.0 clips/s, time left unknown\n"


def test_a_terminal_gets_a_bar(clock):
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=100)
    with ClipProgress(console, clock=clock) as progress:
        progress.start(total=10, done=0)
        clock.now += 2.0
        progress.advance(10, 8)
    assert "10/10" in shown.getvalue()
    assert "4.0 clips/s" in shown.getvalue()
