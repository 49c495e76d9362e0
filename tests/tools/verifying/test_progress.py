"""How far a verification is, is shown on a terminal at once, and elsewhere in lines at intervals."""

from __future__ import annotations

import io
import threading

import pytest
from rich.console import Console

from tools.verifying import progress
from tools.verifying.progress import CheckDisplay


def console(*, terminal: bool) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=120, color_system=None)


def test_lines_come_at_intervals(monkeypatch):
    times = iter([0.0, 1.0, 10.5, 11.0, 25.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(times))
    out = console(terminal=False)
    monkeypatch.setattr(progress.Progress, "update", lambda *_, **__: None)
    monkeypatch.setattr(progress.Progress, "add_task", lambda *_, **__: 0)
    with CheckDisplay(out, 3, 4096) as display:
        for _ in range(4):
            display.count(size=1024)
    assert out.file.getvalue().splitlines() == [
        "verifying: 0 of 3 shards, 2.0 KiB of 4.0 KiB read",
        "verifying: 0 of 3 shards, 4.0 KiB of 4.0 KiB read",
    ]


def test_clips_are_counted_where_they_are_decoded():
    with CheckDisplay(console(terminal=False), 2, 10, decodes=True) as display:
        display.count(clips=4, size=100)
        display.count(clips=-1, shards=1)
        assert display.line() == "1 of 2 shards, 3 of 10 clips decoded"


def test_a_terminal_shows_a_bar_and_is_left_clean():
    out = console(terminal=True)
    with CheckDisplay(out, 2, 2048) as display:
        display.count(size=1024, shards=1)
        display._bar.refresh()
    assert "1 of 2 shards, 1.0 KiB of 2.0 KiB read" in out.file.getvalue()
    assert "50%" in out.file.getvalue()


def test_threads_may_tell_at_the_same_time():
    display = CheckDisplay(console(terminal=False), 1, 4000)
    threads = [threading.Thread(target=lambda: [display.count(size=1) for _ in range(200)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert display.line() == "0 of 1 shards, 800 bytes of 3.9 KiB read"


@pytest.mark.parametrize("total", [0, 1])
def test_nothing_to_do_is_no_error(total):
    with CheckDisplay(console(terminal=True), 0, total) as display:
        display.count()
