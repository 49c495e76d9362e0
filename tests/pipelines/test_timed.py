"""Frames chosen by time: right for any rate, steady or not, and never outside the video."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.augment import sample_rng
from pipelines.timed import at_even_pace, even_rate_frames, frames_at, rate_frames, rate_views

STEADY = np.arange(250) / 25
SLOW_THEN_QUICK = np.concatenate([np.arange(10) / 5, 2 + np.arange(100) / 50])
"""Two seconds of 5 frames, then two of 50."""


def test_a_frame_is_shown_until_the_next_one():
    times = np.array([0.0, 0.5, 2.0])
    assert frames_at(times, np.array([-1.0, 0.0, 0.49, 0.5, 1.99, 1.99995, 2.0, 9.0])).tolist() == [
        *(0, 0, 0, 1, 1, 2, 2, 2),
    ]


@pytest.mark.parametrize("rate", [1.0, 2.0, 4.0, 12.5, 25.0])
def test_frames_of_a_steady_video_are_as_far_apart_as_the_rate_says(rate: float):
    for number in range(20):
        ids = rate_frames(STEADY, 8, rate, sample_rng(0, 0, number))
        step = 25 / rate
        assert np.abs(ids - ids[0] - np.arange(8) * step).max() < 1 + 1e-6
        assert ids[-1] <= 249
    middle = rate_frames(STEADY, 8, rate, None)
    assert abs((middle[0] + middle[-1]) / 2 - 124.5) <= 1


def test_frames_of_an_uneven_video_are_as_far_apart_in_time():
    for number in range(50):
        ids = rate_frames(SLOW_THEN_QUICK, 5, 2.0, sample_rng(3, 1, number))
        shown = SLOW_THEN_QUICK[ids]
        assert np.abs(np.diff(shown) - 0.5).max() <= 0.2 + 1e-6, "at most one frame of the slow part off"
    starts = {int(rate_frames(SLOW_THEN_QUICK, 2, 2.0, sample_rng(0, 0, number))[0]) for number in range(300)}
    assert min(starts) == 0
    assert max(starts) > 80, "places are drawn by time: half of them are in the quick half"
    assert sum(start >= 10 for start in starts) > 40


def test_a_short_video_repeats_its_last_frame():
    assert rate_frames(np.array([0.0, 0.4, 0.8]), 6, 2.0, sample_rng(0, 0, 0)).tolist() == [0, 1, 2, 2, 2, 2]
    assert rate_frames(np.zeros(1), 3, 1.0, sample_rng(0, 0, 0)).tolist() == [0, 0, 0]


def test_views_lie_from_end_to_end_and_one_is_the_middle():
    views = rate_views(STEADY, 4, 2.0, 3)
    assert views[0, 0] == 0
    assert views[2, -1] == 249
    assert views[1].tolist() == rate_frames(STEADY, 4, 2.0, None).tolist()
    assert rate_views(STEADY, 4, 2.0, 1)[0].tolist() == views[1].tolist()


def test_a_whole_video_is_thinned_out_evenly():
    assert even_rate_frames(STEADY, 10, 1.0).tolist() == list(range(0, 250, 25)), "ten seconds hold ten whole ones"
    assert even_rate_frames(STEADY, 4, 1.0).tolist() == [0, 75, 150, 225]
    assert even_rate_frames(STEADY[:30], 4, 1.0).tolist() == [0, 0, 25, 25]
    assert even_rate_frames(SLOW_THEN_QUICK, 4, 1.0).tolist() == [0, 5, 10, 60]


def test_an_even_pace_changes_nothing_where_the_rate_is_steady():
    ids = np.array([0, 3, 77, 249, 10])
    for offset in (0.0, 5.0):
        assert at_even_pace(STEADY + offset, ids).tolist() == ids.tolist()
    frames = np.arange(len(SLOW_THEN_QUICK))
    paced = at_even_pace(SLOW_THEN_QUICK, frames)
    assert paced[0] == 0
    assert paced[-1] == frames[-1]
    assert (np.bincount(paced, minlength=10)[:9] >= 4).all(), "each slow frame takes the place of several"


@settings(max_examples=60, deadline=None)
@given(
    gaps=st.lists(st.floats(0.001, 3.0), max_size=40),
    length=st.integers(1, 20),
    rate=st.floats(0.05, 60.0),
    number=st.integers(0, 9),
)
def test_frames_exist_and_rise(gaps: list[float], length: int, rate: float, number: int):
    times = np.concatenate([[0.0], np.cumsum(gaps)])
    for ids in (
        rate_frames(times, length, rate, sample_rng(0, 0, number)),
        rate_frames(times, length, rate, None),
        even_rate_frames(times, length, rate),
        rate_views(times, length, rate, 3)[2],
        at_even_pace(times, np.sort(np.arange(length) % len(times))),
    ):
        assert ids.shape == (length,)
        assert (np.diff(ids) >= 0).all()
        assert 0 <= ids[0] <= ids[-1] < len(times)


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="rate 0"):
        rate_frames(STEADY, 4, 0, None)
    with pytest.raises(ValueError, match="clip_len 0"):
        even_rate_frames(STEADY, 0, 1.0)
    with pytest.raises(ValueError, match="without frames"):
        frames_at(np.zeros(0), np.zeros(1))
