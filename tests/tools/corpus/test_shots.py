"""Cuts lie on our own frame numbers, whatever the detector, the coding and the scale; short shots are none."""

from __future__ import annotations

import pickle
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from tests.support.numbered_videos import Coding
from tests.support.shot_videos import encode_shots, first_frames
from tools.corpus.frames import decode_span
from tools.corpus.media_file import Limits
from tools.corpus.probe import probe
from tools.corpus.shots import (
    DETECTORS,
    ShotFinder,
    ShotSettings,
    Thumbnails,
    cut_seconds,
    detector_versions,
    lasting_cuts,
    shots_of,
)
from tools.corpus.timeline import Span, Timeline

LENGTHS = [20, 27, 16, 31, 26]
CUTS = tuple(first_frames(LENGTHS))


@pytest.fixture(scope="module")
def payload():
    return encode_shots(LENGTHS)


def cuts_of(payload, settings, span=None):
    found = probe(payload)
    span = span or Span(0, len(found.timeline))
    finder = ShotFinder(span, found.timeline, settings, Thumbnails(settings.side))
    for frame in decode_span(payload, found, span, Limits()):
        finder.push(frame)
    return finder.finish()


@pytest.mark.parametrize("detector", DETECTORS)
def test_every_detector_finds_the_cuts_on_their_frames(detector):
    payload = encode_shots(LENGTHS, numbered=False)  # painted numbers change more of a small picture than they should
    assert cuts_of(payload, ShotSettings(detector=detector)) == CUTS


@pytest.mark.parametrize("side", [16, 48, 1000])
def test_small_pictures_show_the_same_cuts(payload, side):
    assert cuts_of(payload, ShotSettings(side=side)) == CUTS


def test_a_segment_has_the_cuts_inside_it(payload):
    settings = ShotSettings(min_seconds=0.1)
    assert cuts_of(payload, settings, Span(21, 63)) == (47,)
    assert cuts_of(payload, settings, Span(20, 48)) == ()
    assert cuts_of(payload, settings, Span(17, 66)) == (20, 47, 63)


def test_frames_left_out_make_a_cut_late_by_no_more_than_they_are(payload):
    found = cuts_of(payload, ShotSettings(skip=3))
    assert [0 <= late - cut <= 3 for late, cut in zip(found, CUTS, strict=True)] == [True] * len(CUTS)
    assert all(cut % 4 == 0 for cut in found)


def test_cuts_of_a_variable_rate_are_frames_too():
    times = np.cumsum([0] + [3 + 5 * (number % 4 == 0) for number in range(sum(LENGTHS) - 1)]).tolist()
    payload = encode_shots(LENGTHS, Coding(options={"g": "12"}, container="matroska"), times=times)
    assert probe(payload).media.is_vfr
    assert cuts_of(payload, ShotSettings(min_seconds=0.5)) == CUTS


def test_a_threshold_beyond_every_change_finds_none(payload):
    assert cuts_of(payload, ShotSettings(threshold=200.0)) == ()


def test_short_shots_are_none():
    line = Timeline(np.arange(100, dtype=np.int64), 100, Fraction(1, 10))
    span = Span(10, 90)
    assert lasting_cuts((12, 20, 25, 40, 86), span, line, 0.9) == (20, 40)
    assert lasting_cuts((12, 20, 25, 40, 86), span, line, 1.1) == (25, 40)
    assert lasting_cuts((12, 20), span, line, 0.0) == (12, 20)
    assert lasting_cuts((19,), span, line, 0.9) == (19,)
    assert lasting_cuts((81, 82), span, line, 0.9) == (81,)
    assert lasting_cuts((50,), span, line, 100.0) == ()


def test_shots_cover_a_span_without_gaps_and_keep_its_note_at_the_end():
    assert shots_of(Span(5, 30, "clipped"), (9, 20)) == [Span(5, 9), Span(9, 20), Span(20, 30, "clipped")]
    assert shots_of(Span(5, 30), ()) == [Span(5, 30)]


def test_cuts_in_seconds_count_from_the_spans_first_frame():
    line = Timeline(np.array([0, 3, 4, 9, 10], np.int64), 12, Fraction(1, 4))
    assert cut_seconds(Span(1, 5), (2, 4), line) == (0.25, 1.75)


def test_a_picture_of_another_size_is_looked_at_in_the_size_of_the_first(payload):
    found = probe(payload)
    frames = list(decode_span(payload, found, Span(0, 40), Limits()))
    finder = ShotFinder(Span(0, 40), found.timeline, ShotSettings(), Thumbnails(64))
    for number, frame in enumerate(frames):
        finder.push(frame.reformat(width=80, height=80) if number > 30 else frame)
    assert finder.finish() == (20,)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"mode": "scenes"}, "clips, cuts"),
        ({"detector": "best"}, "content, adaptive"),
        ({"threshold": 0.0}, "more than 0"),
        ({"min_seconds": -1.0}, "0 or more"),
        ({"min_seconds": float("nan")}, "0 or more"),
        ({"side": 8}, "at least 16"),
        ({"skip": 1000}, "0 to 240"),
    ],
)
def test_settings_out_of_range_are_named(change, named):
    with pytest.raises(ValueError, match=named):
        replace(ShotSettings(), **change)


def test_settings_travel_and_versions_are_told():
    settings = ShotSettings("cuts", "adaptive", 2.5, skip=1)
    assert pickle.loads(pickle.dumps(settings)) == settings
    assert all(value[0].isdigit() for value in detector_versions().values())
