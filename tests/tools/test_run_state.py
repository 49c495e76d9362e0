"""A run's counts, rates and time left follow from its events; lost work is taken back; a new plan begins anew."""

from __future__ import annotations

import json

import pytest

from shards.plan import BlockPlan
from tools.corpus.block import Judged
from tools.corpus.events import Note, Planned
from tools.corpus.tally import Activity, Progress
from tools.run_state import RunState, as_json

PLAN = BlockPlan("0" * 64, "corpus.csv", rows=100, rows_per_block=10, blocks=10, settings={}, extra={})
FAILED = Progress(fates={("failed", "not_found"): 3, ("failed", "damaged"): 5, ("filtered", "too_short"): 1})


class Clock:
    """Time that goes on when a test says so."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def state(clock):
    state = RunState(clock)
    state.take(Planned(PLAN, rows_done=20, clips_done=18, blocks_done=2))
    return state


def test_rates_and_time_left_are_those_of_what_was_done(state, clock):
    for _ in range(10):
        clock.now += 2.0
        state.take(Progress(rows=4, clips=3, bytes=1000))
    seen = state.snapshot()
    assert (seen.rows, seen.rows_total, seen.clips, seen.bytes, seen.elapsed) == (60, 100, 30, 10_000, 20.0)
    assert (seen.rows_per_second, seen.clips_per_second, seen.bytes_per_second) == (2.0, 1.5, 500.0)
    assert seen.seconds_left == 20.0


def test_old_rates_are_forgotten(state, clock):
    clock.now += 10.0
    state.take(Progress(rows=40))
    for _ in range(200):
        clock.now += 1.0
        state.take(Progress())
    assert state.snapshot().rows_per_second == 0.0
    assert state.snapshot().seconds_left is None


def test_lost_work_is_taken_back(state, clock):
    state.take(Progress(rows=5, clips=5, bytes=50) + FAILED)
    state.take(-(Progress(rows=5, clips=5, bytes=50) + FAILED))
    clock.now += 1.0
    seen = state.snapshot()
    assert (seen.rows, seen.clips, seen.bytes, seen.status, seen.reasons) == (20, 0, 0, {}, {})


def test_fates_are_told_by_status_the_commonest_reason_first(state):
    state.take(FAILED)
    seen = state.snapshot()
    assert seen.status == {"failed": 8, "filtered": 1}
    assert [list(reasons) for reasons in seen.reasons.values()] == [["damaged", "not_found"], ["too_short"]]


def test_shards_what_is_slow_and_notes_are_kept(state):
    state.take(Judged(2, 10, 9, 1.0, 10, 100, {}, {}))
    state.take(Activity(4, "long.mp4", 33.0))
    state.take(Note("12 rows were added"))
    seen = state.snapshot()
    assert (seen.shards, seen.shards_total) == (3, 10)
    assert (seen.workers, seen.slowest, seen.slowest_seconds) == (4, "long.mp4", 33.0)
    assert state.notes == ["12 rows were added"]


def test_another_plan_begins_the_counts_anew(state, clock):
    state.take(Progress(rows=80, clips=80) + FAILED)
    clock.now += 5.0
    state.take(Planned(PLAN, rows_done=97, clips_done=90, blocks_done=9))
    seen = state.snapshot()
    assert (seen.rows, seen.clips, seen.status, seen.shards, seen.rows_per_second) == (97, 0, {}, 9, 0.0)


def test_nothing_is_known_before_the_plan(clock):
    state = RunState(clock)
    assert not state.planned
    assert state.snapshot().seconds_left is None
    assert json.loads(json.dumps(as_json(state.snapshot())))["rows_total"] == 0
