"""When an answer is late and when it is given up, by the store's own pace; second requests are few."""

from __future__ import annotations

import pytest

from shards.pace import Pace


def learnt(seconds: float, *, most: float = 60.0, count: int = 64) -> Pace:
    pace = Pace(most)
    for _ in range(count):
        pace.note(seconds, first=True)
    return pace


def test_an_unknown_store_gets_some_seconds():
    assert Pace(60).late_after(first=True) == 3.0
    assert learnt(0.1, count=7).late_after(first=True) == 3.0


def test_late_is_six_times_what_is_usual():
    assert learnt(0.1).late_after(first=True) == pytest.approx(0.6)
    assert learnt(0.001).late_after(first=True) == 0.2, "less is jitter"
    assert learnt(0.1).late_after(first=False) == 3.0, "later pieces have a pace of their own"


def test_a_few_stragglers_do_not_move_it():
    pace = learnt(0.1)
    for _ in range(20):
        pace.note(10.0, first=True)
    assert pace.late_after(first=True) == pytest.approx(0.6)


def test_a_store_that_slows_down_gets_more_time():
    pace = learnt(0.1)
    for _ in range(64):
        pace.note(1.0, first=True)
    assert pace.late_after(first=True) == pytest.approx(6.0)


def test_patience_grows_with_each_failure_up_to_its_bound():
    pace = learnt(0.1)
    waits = [pace.silent_after(failures, first=True) for failures in range(5)]
    assert waits == pytest.approx([6.0, 12.0, 24.0, 48.0, 60.0])
    assert Pace(0.3).silent_after(0, first=True) == 0.3
    assert Pace(0.3).late_after(first=True) == 0.15


def test_second_requests_are_a_small_share():
    pace = Pace(60)
    assert [pace.take_hedge() for _ in range(9)] == [True] * 8 + [False]
    granted = 0
    for _ in range(1000):
        pace.note(0.1, first=True)
        granted += pace.take_hedge()
    assert granted == pytest.approx(50, abs=1)


def test_later_pieces_earn_no_second_request():
    pace = Pace(60)
    while pace.take_hedge():
        pass
    for _ in range(1000):
        pace.note(0.1, first=False)
    assert not pace.take_hedge()
