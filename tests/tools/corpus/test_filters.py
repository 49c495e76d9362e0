"""What filters are asked of a segment, what they sort out and say of it, and what is refused before a run begins."""

from __future__ import annotations

import pickle

import pytest

from shards.expression import ExpressionError
from shards.ledger import Reason
from tests.support.shot_videos import encode_shots
from tools.corpus.filters import BLACK_PEAK, STATIC_MOTION, Filters, record_values
from tools.corpus.ingest import InputRow
from tools.corpus.media_file import Limits
from tools.corpus.pictures import measure_pictures
from tools.corpus.probe import probe
from tools.corpus.timeline import Span

ROW = InputRow(7, "v.mp4", "two  words", 0.4, 1.2, {"license": "free", "score": None, "aspect": 9.0})


@pytest.fixture(scope="module")
def video():
    return encode_shots([30, 20])


def test_values_are_those_of_the_segment_the_source_and_the_user(video):
    values = record_values(ROW, probe(video), Span(10, 30))
    assert values["duration"] == pytest.approx(0.8)
    known = {"num_frames": 20, "start": 0.4, "end": 1.2, "row": 7, "source": "v.mp4", "codec": "h264", "max_gop": 10}
    known |= {"width": 96, "height": 64, "short_side": 64, "long_side": 96, "fps": 25.0, "has_audio": False}
    known |= {"caption_words": 2, "caption_chars": 10, "license": "free", "score": None}
    assert {name: values[name] for name in known} == known
    assert values["aspect"] == 9.0  # the user's own column


def test_every_value_may_be_asked_for_and_has_its_type(video):
    extra = {"license": "string", "score": "double", "aspect": "double"}
    values = record_values(ROW, probe(video), Span(10, 30))
    (seen,) = measure_pictures(video, probe(video), [Span(10, 30)], Limits())
    values |= seen.result
    condition = " and ".join(f"({name} = {name} or {name} is null)" for name in sorted(values))
    filters = Filters.parse(condition)
    filters.check(extra)
    assert filters.judge(values) is None
    with pytest.raises(ExpressionError, match="there is no column 'key'"):
        Filters.parse("key = 'x'").check(extra)
    with pytest.raises(ExpressionError, match="given a text and a number"):
        Filters.parse("license > 3").check(extra)


def test_what_is_not_true_is_sorted_out_and_its_values_are_named(video):
    values = record_values(ROW, probe(video), Span(10, 30))
    filters = Filters.parse("duration >= 2 and license = 'free' and has_audio")
    fault = filters.judge(values)
    assert (fault.reason, fault.status) == (Reason.FILTER_EXPRESSION, "filtered")
    assert fault.message == (
        "not true of it: duration >= 2 and license = 'free' and has_audio; "
        "duration is 0.8, has_audio is false, license is free"
    )
    assert Filters.parse("score > 1").judge(values).message.endswith("score is null")
    assert Filters.parse("duration < 2").judge(values) is None
    assert Filters.parse("caption contains 'w'").judge(values | {"caption": "w" * 99}) is None


def test_stills_and_black_pictures_have_reasons_of_their_own():
    filters = Filters.parse(None, drop_static=True, drop_black=True)
    seen = {"num_frames": 9, "motion": STATIC_MOTION, "luma": 3.0, "luma_peak": BLACK_PEAK}
    assert filters.judge(seen) is None
    fault = filters.judge(seen | {"motion": 0.3})
    assert (fault.reason, fault.status) == (Reason.STATIC, "filtered")
    assert fault.message == "its pictures change by 0.3 of 255; below 1 they stand still"
    assert filters.judge(seen | {"motion": 0.0, "num_frames": 1}) is None
    fault = filters.judge(seen | {"luma_peak": 4.0, "motion": 0.0})
    assert fault.reason == Reason.BLACK
    assert fault.message == "the brightest place of its pictures is 4 of 255; below 24 is black"


def test_pictures_are_looked_at_only_where_something_asks_for_them():
    assert Filters.parse(None) is Filters.parse("") is None
    assert not Filters.parse("duration > 2").needs_pictures
    assert Filters.parse("motion > 2").needs_pictures
    assert Filters.parse(None, drop_black=True).needs_pictures
    assert Filters.parse(None, static_below=9.0) is None


def test_filters_travel_and_stand_in_the_plan():
    filters = Filters.parse("duration > 2", drop_static=True, static_below=2.5)
    assert pickle.loads(pickle.dumps(filters)) == filters
    assert filters.settings == {"expression": "duration > 2", "static": 2.5, "black": None}


def test_what_cannot_be_is_refused():
    with pytest.raises(ExpressionError, match="character 9: found the end"):
        Filters.parse("height >")
    for bound in (0, -1, 256):
        with pytest.raises(ValueError, match="--black-below is"):
            Filters.parse(None, drop_black=True, black_below=bound)
