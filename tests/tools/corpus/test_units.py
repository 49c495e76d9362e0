"""All rows of one video: good ones become pieces, the others say why; nothing about a video is raised."""

from __future__ import annotations

import errno
from contextlib import contextmanager
from dataclasses import replace

import pytest

from shards.ledger import Reason
from tests.support.small_corpus import write_video
from tools.corpus import one_cut, units
from tools.corpus.cut import CutSettings, Piece, clip_as_it_is
from tools.corpus.held_media import HeldMedia
from tools.corpus.ingest import InputRow
from tools.corpus.media_file import Limits
from tools.corpus.probe import probe
from tools.corpus.shots import ShotSettings
from tools.corpus.sources import Sources
from tools.corpus.units import CutOptions, cut_unit


@pytest.fixture
def options(tmp_path):
    write_video(tmp_path / "a.mp4")
    return CutOptions(Sources.below(str(tmp_path), allow_outside=False), CutSettings())


def rows(*times, video="a.mp4"):
    return [InputRow(number, video, "c", *pair) for number, pair in enumerate(times)]


def cut(asked, options, scratch):
    """Return the outcomes in the order of the rows."""
    return sorted(cut_unit(asked, options, scratch), key=lambda one: (one.row.row, one.row.part, one.shot))


def reasons(outcomes):
    return [outcome.made if isinstance(outcome.made, Piece) else outcome.made.reason for outcome in outcomes]


def test_segments_of_one_video(options, tmp_path):
    whole, part, beyond = cut(rows((None, None), (0.5, 1.5), (9.0, 10.0)), options, tmp_path)
    assert (whole.status, whole.made.cut, whole.made.media.num_frames) == ("success", "verbatim", 20)
    assert (part.made.pts_start, part.made.pts_end, part.made.media.num_frames) == (0.5, 1.5, 10)
    assert (beyond.status, beyond.made.reason) == ("failed", Reason.OUT_OF_RANGE)


@pytest.mark.parametrize(
    ("data", "reason"),
    [(None, Reason.NOT_FOUND), (b"", Reason.NOT_A_VIDEO), (b"text" * 99, Reason.NOT_A_VIDEO)],
)
def test_what_is_wrong_with_the_video_is_every_rows_reason(options, tmp_path, data, reason):
    if data is not None:
        (tmp_path / "b.mp4").write_bytes(data)
    outcomes = list(cut(rows((None, None), (0.0, 1.0), video="b.mp4"), options, tmp_path))
    assert reasons(outcomes) == [reason, reason]
    assert all(str(tmp_path) not in outcome.made.message for outcome in outcomes)


def test_length_bounds_sort_rows_out(options, tmp_path):
    bounded = CutOptions(options.sources, options.cut, min_seconds=1.0, max_seconds=1.8)
    outcomes = list(cut(rows((None, None), (0.5, 1.5), (0.0, 0.5), (0.3, None)), bounded, tmp_path))
    assert [outcome.status for outcome in outcomes] == ["filtered", "success", "filtered", "success"]
    assert outcomes[0].made.reason is Reason.TOO_LONG
    assert "2.000 s" in outcomes[0].made.message
    assert outcomes[2].made.reason is Reason.TOO_SHORT


def test_a_start_beyond_the_video_fails_whatever_the_bounds(options, tmp_path):
    bounded = CutOptions(options.sources, options.cut, min_seconds=1.0, max_seconds=1.8)
    outcomes = list(cut(rows((3.0, None), (9.0, 9.5), (1.5, 9.0)), bounded, tmp_path))
    assert [(outcome.status, outcome.made.reason) for outcome in outcomes] == [("failed", Reason.OUT_OF_RANGE)] * 3


def test_the_video_is_probed_once_within_the_limits(options, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        units, "probe", lambda source, *, limits: (seen.append(limits), probe(source, limits=limits))[1]
    )
    limits = Limits(max_frames=19)
    bounded = CutOptions(options.sources, CutSettings(limits=limits), min_seconds=0.1)
    assert reasons(cut_unit(rows((None, None), (0.0, 1.0)), bounded, tmp_path)) == [Reason.TOO_LARGE] * 2
    assert seen == [limits]
    list(cut_unit(rows((None, None), (0.0, 1.0)), CutOptions(options.sources, CutSettings(), 0.1), tmp_path))
    assert len(seen) == 2


def test_pieces_come_one_by_one_and_rows_that_say_the_same_share_theirs(options, tmp_path, monkeypatch):
    calls = []

    def count(media, found, span, settings):
        calls.append((span.first, span.stop))
        return clip_as_it_is(media, found, span, settings)

    monkeypatch.setattr(one_cut, "clip_as_it_is", count)
    outcomes = cut_unit(rows((0.0, 1.0), (0.0, 1.0), (0.5, 1.5), (0.0, 1.0)), options, tmp_path)
    first, again, third = (next(outcomes) for _ in range(3))
    assert calls == [(0, 10)]
    assert [one.row.row for one in (first, again, third)] == [0, 1, 3]
    assert first.made is again.made
    assert first.made is third.made
    assert [outcome.row.row for outcome in outcomes] == [2]
    assert calls == [(0, 10), (5, 15)]


def test_trouble_with_one_segment_spares_the_others(options, tmp_path, monkeypatch):
    def fail(media, found, span, settings):
        if span.first == 5:
            raise MemoryError
        return clip_as_it_is(media, found, span, settings)

    monkeypatch.setattr(one_cut, "clip_as_it_is", fail)
    outcomes = list(cut(rows((0.0, 1.0), (0.5, 1.5), (1.0, 2.0)), options, tmp_path))
    assert [outcome.status for outcome in outcomes] == ["success", "failed", "success"]
    assert outcomes[1].made.reason is Reason.TOO_LARGE


def test_what_goes_wrong_in_the_middle_is_the_reason_of_what_is_left(options, tmp_path, monkeypatch):
    def fail(media, found, span, settings):
        if span.first == 10:
            raise OSError(errno.EIO, "Input/output error")
        return clip_as_it_is(media, found, span, settings)

    monkeypatch.setattr(one_cut, "clip_as_it_is", fail)
    monkeypatch.setattr(one_cut, "TROUBLE", ())
    parts = [replace(row, part=row.row, row=7) for row in rows((0.0, 0.5), (0.5, 1.0), (1.0, 1.5), (1.5, 2.0))]
    outcomes = cut(parts, options, tmp_path)
    assert [outcome.status for outcome in outcomes] == ["success", "success", "failed", "failed"]
    assert [outcome.row.part for outcome in outcomes] == [0, 1, 2, 3]
    assert {outcome.made.reason for outcome in outcomes[2:]} == {Reason.UNREADABLE}


@pytest.mark.parametrize(
    ("segment", "changes", "is_kept"),
    [
        ((0.5, None), {}, True),
        ((None, 1.0), {}, True),
        ((None, None), {}, False),
        ((None, None), {"shots": ShotSettings("clips")}, True),
        ((0.5, None), {"dry": True}, False),
        ((0.5, None), {"cut": CutSettings("mjpeg", short_side=32)}, False),
    ],
)
def test_packets_are_kept_where_some_of_them_may_be_copied(options, tmp_path, segment, changes, is_kept):
    asked = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(units, "HeldMedia", lambda *given: asked.append(given[2]) or HeldMedia(*given))
        outcomes = cut(rows(segment), replace(options, **changes), tmp_path)
    assert all(outcome.status == "success" for outcome in outcomes)
    assert asked == [units.KEPT_BYTES if is_kept else 0]


def test_a_dry_run_tells_what_clips_would_be_like_and_makes_none(options, tmp_path, monkeypatch):
    dry = replace(options, dry=True, max_seconds=1.8)
    monkeypatch.setattr(units, "cut_once", None)
    whole, part, beyond = cut(rows((None, None), (0.5, 1.5), (9.0, 10.0)), dry, tmp_path)
    assert (whole.status, whole.made.reason) == ("filtered", Reason.TOO_LONG)
    assert (part.made.seconds, part.made.frames) == (1.0, 10)
    assert 0 < part.made.bytes < (tmp_path / "a.mp4").stat().st_size
    assert beyond.made.reason is Reason.OUT_OF_RANGE
    (kept,) = cut(rows((None, None)), replace(options, dry=True), tmp_path)
    assert kept.made.bytes == (tmp_path / "a.mp4").stat().st_size
    encoded = replace(dry, cut=CutSettings("mjpeg", short_side=16))
    assert cut(rows((0.5, 1.5)), encoded, tmp_path)[0].made.bytes < part.made.bytes


class BrokenSources(Sources):
    """Sources whose reading fails with a given error."""

    error: BaseException

    @contextmanager
    def reading(self, video, scratch):
        raise self.error
        yield


def broken(options, error):
    sources = BrokenSources(options.sources.root)
    object.__setattr__(sources, "error", error)
    return CutOptions(sources, options.cut)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MemoryError(), Reason.TOO_LARGE),
        (PermissionError(errno.EACCES, "Permission denied"), Reason.UNREADABLE),
        (OSError(errno.EIO, "Input/output error"), Reason.UNREADABLE),
    ],
)
def test_errors_of_the_machine_about_a_video_are_its_rows_reason(options, tmp_path, error, reason):
    assert reasons(cut_unit(rows((None, None)), broken(options, error), tmp_path)) == [reason]


def test_a_full_disk_is_no_rows_fault(options, tmp_path):
    with pytest.raises(OSError, match="No space"):
        list(cut_unit(rows((None, None)), broken(options, OSError(errno.ENOSPC, "No space left on device")), tmp_path))
