"""Tests of which frames a clip takes: all at their own times, or fewer at an even rate and never one twice."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from tools.corpus.pace import pace
from tools.corpus.timeline import Span, Timeline

EVEN = Timeline(np.arange(50) * 512 + 77, 50 * 512 + 77, Fraction(1, 12800))


def frames(taken):
    return [slot.frame for slot in taken.slots]


def test_without_a_rate_all_frames_keep_their_times():
    line = Timeline(np.array([5, 7, 12, 13]), 20, Fraction(1, 10))
    taken = pace(line, Span(1, 4), None)
    assert taken.base == Fraction(1, 10)
    assert [(slot.frame, slot.tick, slot.duration) for slot in taken.slots] == [(0, 0, 5), (1, 5, 1), (2, 6, 7)]


@pytest.mark.parametrize("fps", [25, 24.99, 30, 1000])
def test_a_rate_that_is_no_lower_changes_nothing(fps):
    taken = pace(EVEN, Span(3, 40), fps)
    assert list(taken.slots) == list(pace(EVEN, Span(3, 40), None).slots)
    assert taken.base == EVEN.base


def test_a_lower_rate_shows_what_the_video_shows_at_each_instant():
    taken = pace(EVEN, Span(10, 35), 8)
    assert taken.base == Fraction(1, 8)
    assert frames(taken) == [instant * 25 // 8 for instant in range(8)]
    assert [(slot.tick, slot.duration) for slot in taken.slots] == [(instant, 1) for instant in range(8)]


def test_rates_are_exact_over_a_day():
    day = Timeline(np.arange(24 * 3600 * 30, dtype=np.int64) * 1001, 24 * 3600 * 30 * 1001, Fraction(1, 30000))
    taken = pace(day, Span(0, len(day)), 0.1)
    assert len(taken) == round(day.duration / 10)
    slots = list(taken.slots)[::97]
    assert all(0 <= 10 * slot.tick - day.at(slot.frame) < Fraction(1001, 30000) for slot in slots)
    assert pace(EVEN, Span(0, 50), 12.5).base == Fraction(2, 25)


def test_a_frame_that_lasts_is_stored_once():
    line = Timeline(np.array([0, 1, 2, 3, 10, 11, 12, 13, 14, 15]), 16, Fraction(1, 10))
    taken = pace(line, Span(0, 10), 5)
    assert [(slot.frame, slot.tick, slot.duration) for slot in taken.slots] == [
        *[(0, 0, 1), (2, 1, 1), (3, 2, 3), (4, 5, 1), (6, 6, 1), (8, 7, 1)]
    ]
    assert sum(slot.duration for slot in taken.slots) == 8


def test_the_length_is_rounded_to_whole_instants_and_one_frame_stays():
    assert len(pace(EVEN, Span(0, 26), 8)) == 8
    assert len(pace(EVEN, Span(0, 28), 8)) == 9
    assert frames(pace(EVEN, Span(7, 8), 0.01)) == [0]
