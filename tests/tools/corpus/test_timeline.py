"""Tests of frame times: nearest frames, exact arithmetic, varying rates, segments that do not fit."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shards.ledger import Reason
from tools.corpus.media_file import MediaError
from tools.corpus.timeline import Timeline

NTSC = Timeline(np.arange(100) * 1001 + 7, 100 * 1001 + 7, Fraction(1, 30000))


@st.composite
def timelines(draw):
    steps = draw(st.lists(st.integers(1, 500), min_size=1, max_size=40))
    ticks = np.cumsum([draw(st.integers(-1000, 1000)), *steps])
    base = Fraction(1, draw(st.sampled_from([25, 600, 1000, 90000])))
    return Timeline(ticks[:-1], int(ticks[-1]), base)


def test_times_count_from_the_first_frame():
    assert NTSC.at(0) == 0
    assert NTSC.at(30) == Fraction(30030, 30000)
    assert NTSC.at(100) == NTSC.duration == Fraction(1001, 300)


def test_a_whole_video_takes_every_frame():
    assert (NTSC.span(None, None).first, NTSC.span(None, None).stop) == (0, 100)
    assert NTSC.span(0.0, float(NTSC.duration)).count == 100


def test_the_nearest_frames_are_taken():
    span = NTSC.span(1.0, 2.0)
    assert (span.first, span.stop, span.note) == (30, 60, None)
    assert NTSC.span(float(NTSC.at(41)), float(NTSC.at(42))).count == 1
    assert NTSC.span(1.0, 1.001).count == 1


@given(timelines(), st.floats(0, 30), st.floats(0.001, 30))
def test_no_other_frame_is_nearer(line, start, length):
    if start >= line.duration or start + length > line.duration:
        return
    span = line.span(start, start + length)
    gaps = [abs(line.at(frame) - Fraction(start)) for frame in range(len(line))]
    assert gaps[span.first] == min(gaps)
    ends = [abs(line.at(frame) - Fraction(start + length)) for frame in range(len(line) + 1)]
    assert ends[span.stop] == min(ends) or span.count == 1
    assert 0 <= span.first < span.stop <= len(line)


@given(timelines(), st.data())
def test_frame_times_name_their_frames(line, data):
    first = data.draw(st.integers(0, len(line) - 1))
    stop = data.draw(st.integers(first + 1, len(line)))
    span = line.span(float(line.at(first)), float(line.at(stop)))
    assert (span.first, span.stop) == (first, stop)
    assert [line.second_at(frame) for frame in (first, stop)] == [float(line.at(frame)) for frame in (first, stop)]


def test_an_end_that_is_a_little_late_is_clipped_and_said():
    span = NTSC.span(1.0, 3.8)
    assert span.stop == 100
    assert span.note == "end 3.8 s clipped to the video's 3.337 s"


@pytest.mark.parametrize(
    ("start", "end", "reason", "words"),
    [
        (0.0, 4.0, Reason.OUT_OF_RANGE, "beyond the video's 3.337 s"),
        (3.4, None, Reason.OUT_OF_RANGE, "start 3.4 s lies beyond"),
        (8.0, 9.0, Reason.OUT_OF_RANGE, "beyond"),
        (2.0, 1.0, Reason.BAD_SEGMENT, "not after start 2 s"),
        (1.0, 1.0, Reason.BAD_SEGMENT, "not after"),
        (-1.0, 1.0, Reason.BAD_TIME, "negative"),
    ],
)
def test_segments_that_do_not_fit_are_refused(start, end, reason, words):
    with pytest.raises(MediaError, match=words) as caught:
        NTSC.span(start, end)
    assert caught.value.reason == reason


def test_rounding_of_a_container_is_no_varying_rate():
    rounded = np.round(np.arange(50) * 1000 / 30).astype(np.int64)
    assert not Timeline(rounded, 1667, Fraction(1, 1000)).is_vfr
    assert not NTSC.is_vfr
    rounded[20:] += 30
    assert Timeline(rounded, 1700, Fraction(1, 1000)).is_vfr


def test_one_frame_has_a_length():
    line = Timeline(np.array([5]), 8, Fraction(1, 30))
    assert (len(line), line.duration, line.is_vfr) == (1, Fraction(1, 10), False)
    assert line.span(0.09, None).count == 1
