"""What the rows of a video ask for: segments or shots, bounds and filters asked of each, nothing lost on the way."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import pytest

from shards.ledger import Reason
from tests.support.shot_videos import encode_shots
from tools.corpus import frames, held_media, units, wanted
from tools.corpus.cut_options import CutOptions
from tools.corpus.cut_settings import CutSettings
from tools.corpus.filters import Filters
from tools.corpus.ingest import InputRow
from tools.corpus.media_file import MediaError
from tools.corpus.one_decode import Taken
from tools.corpus.shots import ShotSettings
from tools.corpus.sources import Sources
from tools.corpus.tables import Fault
from tools.corpus.units import cut_unit

LENGTHS = [20, 27, 16, 31, 26]
WHOLE = (None, None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shots")
    (folder / "v.mp4").write_bytes(encode_shots(LENGTHS))
    return folder


@pytest.fixture
def options(folder):
    return CutOptions(Sources.below(str(folder), allow_outside=False), CutSettings(), shots=ShotSettings())


def cut(options, tmp_path, *times):
    rows = [InputRow(number, "v.mp4", "some words here", *pair) for number, pair in enumerate(times)]
    outcomes = cut_unit(rows, options, tmp_path)
    return sorted(outcomes, key=lambda one: (one.row.row, one.row.part, one.shot))


def frames_of(outcomes):
    return [(one.row.row, one.shot, one.shots, round(one.made.pts_start * 25)) for one in outcomes]


def test_every_shot_of_a_segment_is_a_clip(options, tmp_path):
    outcomes = cut(options, tmp_path, WHOLE, (0.08, 2.6))
    assert frames_of(outcomes) == [
        (0, 0, 5, 0),
        (0, 1, 5, 20),
        (0, 2, 5, 47),
        (0, 3, 5, 63),
        (0, 4, 5, 94),
        (1, 0, 3, 2),
        (1, 1, 3, 20),
        (1, 2, 3, 47),
    ]
    assert [one.made.media.num_frames for one in outcomes[:5]] == LENGTHS
    assert all(one.cuts is None for one in outcomes)


def test_bounds_are_asked_of_each_shot(options, tmp_path):
    bounded = replace(options, min_seconds=0.7, max_seconds=1.1)
    outcomes = cut(bounded, tmp_path, WHOLE)
    assert [one.status for one in outcomes] == ["success", "success", "filtered", "filtered", "success"]
    assert outcomes[2].made == Fault(Reason.TOO_SHORT, "the shot lasts 0.640 s, kept are 0.7 s or more", "filtered")
    assert outcomes[3].made.reason is Reason.TOO_LONG
    assert [(one.shot, one.shots) for one in outcomes] == [(number, 5) for number in range(5)]


def test_without_shots_as_clips_bounds_are_asked_of_the_segment(options, tmp_path):
    bounded = replace(options, min_seconds=1.2, shots=ShotSettings("cuts"))
    first, second = cut(bounded, tmp_path, WHOLE, (0.0, 1.0))
    assert (first.status, second.made.reason) == ("success", Reason.TOO_SHORT)


@pytest.mark.parametrize("preset", ["copy", "mjpeg"])
def test_cuts_are_seconds_within_the_clip(options, tmp_path, preset):
    within = replace(options, shots=ShotSettings("cuts", min_seconds=0.1), cut=CutSettings(preset))
    outcomes = cut(within, tmp_path, WHOLE, (0.4, 2.4), (0.0, 0.6))
    assert [one.cuts for one in outcomes] == [(0.8, 1.88, 2.52, 3.76), (0.4, 1.48), ()]


def test_filters_are_asked_of_each_shot_before_it_is_cut(options, tmp_path, monkeypatch):
    cut_spans = []
    real = units.cut_once
    monkeypatch.setattr(units, "cut_once", lambda *given: (cut_spans.extend(given[2]), real(*given))[1])
    kept = replace(options, filters=Filters.parse("num_frames > 20 and caption_words == 3"))
    outcomes = cut(kept, tmp_path, WHOLE)
    assert [one.status for one in outcomes] == ["filtered", "success", "filtered", "success", "success"]
    assert outcomes[0].made.reason is Reason.FILTER_EXPRESSION
    assert [span.first for span in cut_spans] == [20, 63, 94]


def test_pictures_are_measured_only_where_a_filter_asks_for_it(options, tmp_path, monkeypatch):
    asked = []

    def measure(media, found, spans, limits):
        asked.extend(spans)
        return [
            Taken(index, {"luma": 10.0 * span.count, "motion": 9.0, "luma_peak": 99.0})
            for index, span in enumerate(spans)
        ]

    monkeypatch.setattr(wanted, "measure_pictures", measure)
    plain = replace(options, shots=None)
    cut(replace(plain, filters=Filters.parse("duration > 0")), tmp_path, WHOLE)
    assert asked == []
    by_look = replace(plain, filters=Filters.parse("luma > 300"), min_seconds=0.5)
    outcomes = cut(by_look, tmp_path, WHOLE, (0.0, 0.6), (0.0, 0.6), (0.0, 0.2))
    assert [one.status for one in outcomes] == ["success", "filtered", "filtered", "filtered"]
    assert len(asked) == 2, "each span once, and none that is too short anyway"


def test_pictures_that_cannot_be_seen_are_their_rows_fault(options, tmp_path, monkeypatch):
    error = MediaError(Reason.DAMAGED, "torn")
    monkeypatch.setattr(wanted, "find_cuts", lambda media, found, spans, *_: [Taken(0, error), Taken(1, (20,))])
    outcomes = cut(options, tmp_path, WHOLE, (0.4, 2.4))
    assert [(one.row.row, one.status) for one in outcomes] == [(0, "failed"), (1, "success"), (1, "success")]
    assert outcomes[0].made == Fault(Reason.DAMAGED, "torn")


def test_a_dry_run_knows_the_shots_too(options, tmp_path):
    outcomes = cut(replace(options, dry=True, shots=ShotSettings("cuts"), cut=CutSettings("mjpeg")), tmp_path, WHOLE)
    assert outcomes[0].cuts == (0.8, 1.88, 2.52, 3.76)
    outcomes = cut(replace(options, dry=True), tmp_path, WHOLE)
    assert [one.made.frames for one in outcomes] == LENGTHS


@pytest.mark.parametrize(
    ("shots", "passes"),
    [(None, 1), (ShotSettings("cuts"), 1), (ShotSettings("clips"), 2)],
    ids=["none", "cuts", "clips"],
)
def test_a_video_is_opened_once_and_its_frames_are_decoded_once_to_look_and_once_to_cut(
    options, tmp_path, monkeypatch, shots, passes
):
    seen = {"opened": 0, "decoded": 0}
    decode, opened = frames._decoded, held_media.open_media

    def count(*given):
        for frame in decode(*given):
            seen["decoded"] += 1
            yield frame

    def count_open(source, limits, **how):
        seen["opened"] += source == Path(options.sources.root.url, "v.mp4")
        return opened(source, limits, **how)

    monkeypatch.setattr(frames, "_decoded", count)
    monkeypatch.setattr(held_media, "open_media", count_open)
    encoded = replace(options, shots=shots, cut=CutSettings("mjpeg", short_side=32))
    cut(encoded, tmp_path, (2.0, 3.0), WHOLE, (0.4, 2.4), (0.2, 0.9))
    assert seen == {"opened": 1, "decoded": passes * sum(LENGTHS)}


def test_options_travel_to_other_processes(options):
    full = replace(options, filters=Filters.parse("duration > 1 and caption_words > 2", drop_static=True))
    again = pickle.loads(pickle.dumps(full))
    assert (again.shots, again.filters, again.by_shot) == (full.shots, full.filters, True)
