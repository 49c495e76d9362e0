"""All rows of one video: good ones become pieces, the others say why; nothing about a video is raised."""

from __future__ import annotations

import errno
from contextlib import contextmanager

import pytest

from shards.ledger import Reason
from tests.support.small_corpus import write_video
from tools.corpus.cut import CutSettings, Piece
from tools.corpus.ingest import InputRow
from tools.corpus.sources import Sources
from tools.corpus.units import CutOptions, cut_unit


@pytest.fixture
def options(tmp_path):
    write_video(tmp_path / "a.mp4")
    return CutOptions(Sources.below(str(tmp_path), allow_outside=False), CutSettings())


def rows(*times, video="a.mp4"):
    return [InputRow(number, video, "c", *pair) for number, pair in enumerate(times)]


def reasons(outcomes):
    return [outcome.made if isinstance(outcome.made, Piece) else outcome.made.reason for outcome in outcomes]


def test_segments_of_one_video(options, tmp_path):
    whole, part, beyond = cut_unit(rows((None, None), (0.5, 1.5), (9.0, 10.0)), options, tmp_path)
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
    outcomes = cut_unit(rows((None, None), (0.0, 1.0), video="b.mp4"), options, tmp_path)
    assert reasons(outcomes) == [reason, reason]
    assert all(str(tmp_path) not in outcome.made.message for outcome in outcomes)


def test_length_bounds_sort_rows_out(options, tmp_path):
    bounded = CutOptions(options.sources, options.cut, min_seconds=1.0, max_seconds=1.8)
    outcomes = cut_unit(rows((None, None), (0.5, 1.5), (0.0, 0.5), (0.3, None)), bounded, tmp_path)
    assert [outcome.status for outcome in outcomes] == ["filtered", "success", "filtered", "success"]
    assert outcomes[0].made.reason is Reason.TOO_LONG
    assert "2.000 s" in outcomes[0].made.message
    assert outcomes[2].made.reason is Reason.TOO_SHORT


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
        cut_unit(rows((None, None)), broken(options, OSError(errno.ENOSPC, "No space left on device")), tmp_path)
