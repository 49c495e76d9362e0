"""A task beside the program: its failure is heard of once, at the next wait."""

from __future__ import annotations

import threading
import time

import pytest

from train.background import Background


def test_a_task_runs_beside_and_is_waited_for():
    go_on, done = threading.Event(), []
    background = Background("task")
    background.start(lambda: done.append(go_on.wait(20)))
    assert background.busy
    assert not done
    go_on.set()
    background.finish()
    assert done == [True]
    assert not background.busy
    background.finish()


def test_one_at_a_time_in_order():
    done = []
    background = Background("task")
    for number in range(5):
        background.start(lambda number=number: done.append(number))
    background.finish()
    assert done == list(range(5))


def _fail():
    raise OSError("no room")


def test_a_failure_is_told_once_and_keeps_the_next_task_from_beginning():
    background, begun = Background("task"), []
    background.start(_fail)
    with pytest.raises(OSError, match="no room"):
        background.start(lambda: begun.append(1))
    assert not begun
    background.finish()
    background.start(lambda: begun.append(2))
    background.finish()
    assert begun == [2]


def test_a_wait_that_is_cut_short_can_be_taken_up_again(monkeypatch):
    go_on, background = threading.Event(), Background("task")
    background.start(lambda: go_on.wait(20) and _fail())
    with monkeypatch.context() as patch:
        patch.setattr("concurrent.futures.Future.result", _interrupted)
        with pytest.raises(KeyboardInterrupt):
            background.finish()
    go_on.set()
    with pytest.raises(OSError, match="no room"):
        background.finish()


def _interrupted(_future):
    raise KeyboardInterrupt


class _SlowToGo:
    """A task that takes a while to be let go of, as large tensors do, and that ends once it is waited for."""

    def __init__(self) -> None:
        self.started = threading.Event()

    def __call__(self) -> None:
        assert self.started.wait(20)

    def __del__(self) -> None:
        time.sleep(0.3)


def test_its_thread_is_gone_after_the_wait():
    background, started = Background("a thread to be gone"), []

    def begin() -> None:
        task = _SlowToGo()
        started.append(task.started)
        background.start(task)

    begin()
    started[0].set()
    background.finish()
    assert "a thread to be gone" not in [thread.name for thread in threading.enumerate()]
