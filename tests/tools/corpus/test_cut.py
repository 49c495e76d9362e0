"""Tests of cutting: the frames asked for, the way they were cut and why, errors by segment, stable bytes."""

from __future__ import annotations

import csv
import io
from collections import Counter
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from shards.ledger import Reason
from tests.support.cut_proof import digest, digests_elsewhere
from tests.support.numbered_videos import Coding, encode_numbered
from tools.corpus.cut import CutSettings, MediaError, Piece, cut_video
from tools.corpus.encode import RECIPES
from tools.corpus.frame_number import read_frame_number
from tools.corpus.media_file import Limits
from tools.corpus.probe import probe
from tools.corpus.synthetic import BROKEN_REASONS, render_corpus

MP4 = encode_numbered(Coding(options={"g": "10", "bf": "0"}))


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    return render_corpus(tmp_path_factory.mktemp("corpus"), clips=14, seed=5, broken=True)


def videos(table: Path) -> list[Path]:
    with table.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        names = dict.fromkeys(row["video"] for row in csv.DictReader(file))
    return [table.parent / name for name in names if name.startswith("videos/0")]


def numbers_in(piece: Piece | MediaError) -> list[int]:
    assert isinstance(piece, Piece), piece
    with av.open(io.BytesIO(piece.payload)) as container:
        return [read_frame_number(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


@pytest.mark.parametrize("preset", RECIPES)
def test_segments_hold_the_frames_asked_for(table, preset):
    rng = np.random.default_rng(1)
    kinds: Counter[str] = Counter()
    for video in videos(table)[: 14 if preset == "copy" else 4]:
        line = probe(video).timeline
        cuts = sorted(rng.choice(len(line) + 1, 5, replace=False).tolist())
        spans = [(0, len(line)), *pairwise([0, *cuts[1:]])]
        pieces = cut_video(video, [(float(line.at(a)), float(line.at(b))) for a, b in spans], CutSettings(preset))
        for piece, (first, stop) in zip(pieces, spans, strict=True):
            assert numbers_in(piece) == list(range(first, stop)), (video.name, preset)
            assert piece.pts_start == pytest.approx(float(line.at(first)))
            assert piece.pts_end == pytest.approx(float(line.at(stop)))
            assert piece.media.num_frames == stop - first
            kinds[piece.cut] += 1
    assert set(kinds) == ({"verbatim", "packets", "encoded"} if preset == "copy" else {"encoded"})


def test_a_whole_video_keeps_its_bytes(table):
    for video in videos(table):
        (piece,) = cut_video(video, [(None, None)])
        assert isinstance(piece, Piece)
        assert piece.payload == video.read_bytes()
        assert (piece.cut, piece.cut_reason, piece.ext) == ("verbatim", None, video.suffix[1:])
        assert piece.pts_start == 0
        assert piece.pts_end == piece.media.duration


def test_the_way_and_the_reason_are_told():
    whole, key, late, clipped, trained = (
        *cut_video(MP4, [(None, None), (0.4, 0.8), (0.52, 0.8), (0.4, 2.0)]),
        *cut_video(MP4, [(0.4, 2.0)], CutSettings("train")),
    )
    assert [(piece.cut, piece.cut_reason) for piece in (whole, key, late, clipped, trained)] == [
        ("verbatim", None),
        ("packets", None),
        ("encoded", "starts 0.120 s after a key frame"),
        ("packets", "end 2 s clipped to the video's 1.600 s"),
        ("encoded", "preset train; end 2 s clipped to the video's 1.600 s"),
    ]


def test_what_cannot_be_kept_whole_is_made_anew():
    for coding, words in (
        (Coding("libx264", "h264"), "it has no time stamps"),
        (Coding("mpeg4", "avi", options={"bf": "2"}), "AVI keeps no times"),
    ):
        (piece,) = cut_video(encode_numbered(coding), [(None, None)])
        assert numbers_in(piece) == list(range(40))
        assert (piece.cut, piece.ext) == ("encoded", "mp4")
        assert words in (piece.cut_reason or "")
    (piece,) = cut_video(encode_numbered(Coding("libvpx-vp9", "ivf")), [(None, None)])
    assert numbers_in(piece) == list(range(40))
    assert (piece.cut, piece.ext) == ("packets", "webm")


def test_a_segment_that_fails_spares_the_others():
    good, late, backwards, again = cut_video(MP4, [(0.0, 0.4), (9.0, 10.0), (1.0, 0.5), (0.0, 0.4)])
    assert numbers_in(good) == list(range(10))
    assert isinstance(late, MediaError)
    assert late.reason == Reason.OUT_OF_RANGE
    assert isinstance(backwards, MediaError)
    assert backwards.reason == Reason.BAD_SEGMENT
    assert again == good


def test_broken_videos_of_the_generated_corpus_are_named(table):
    lines = table.read_bytes().decode("utf-8", "surrogateescape").splitlines()[-len(BROKEN_REASONS) :]
    reasons = {}
    for line in lines:
        name = line.split(",")[0]
        if Path(name).name.startswith(("bad_", "no_such")):
            with pytest.raises(MediaError) as caught:
                cut_video(table.parent / name, [(None, None)])
            reasons[name] = caught.value.reason.value
    assert list(reasons.values()) == [*BROKEN_REASONS[:5], "not_found"]


def test_short_side_and_limits():
    (small,) = cut_video(MP4, [(0.0, 0.4)], CutSettings("train", short_side=48))
    assert isinstance(small, Piece)
    assert (small.media.width, small.media.height) == (64, 48)
    (same,) = cut_video(MP4, [(0.0, 0.4)], CutSettings("train"))
    assert isinstance(same, Piece)
    assert (same.media.width, same.media.height) == (128, 96)
    with pytest.raises(MediaError) as caught:
        cut_video(MP4, [(None, None)], CutSettings(limits=Limits(max_frames=5)))
    assert caught.value.reason == Reason.TOO_LARGE


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"preset": "best"}, "taken are copy, train, intra, vp9, mjpeg"),
        ({"short_side": 128}, "preset copy keeps the pictures"),
        ({"preset": "train", "short_side": 15}, "even number from 16"),
        ({"preset": "train", "short_side": 8}, "even number from 16"),
        ({"fps": 8.0}, "preset copy keeps the frames"),
        ({"preset": "train", "fps": 0.0}, "above 0, up to 1000"),
        ({"preset": "train", "fps": float("nan")}, "above 0, up to 1000"),
    ],
)
def test_settings_that_make_no_sense_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        CutSettings(**arguments)


def test_bytes_are_the_same_here_and_in_another_process(table):
    some = [video for video in videos(table) if "mjpeg" not in video.name][:6]
    segments = [(None, None), (0.0, 1.0), (0.31, 1.63)]
    jobs = [(video, segments, preset) for video in some for preset in ("copy", "train")]
    jobs += [(some[0], segments, preset) for preset in ("intra", "vp9", "mjpeg")]
    here = [[digest(piece) for piece in cut_video(video, parts, CutSettings(kind))] for video, parts, kind in jobs]
    assert here == digests_elsewhere(jobs, MALLOC_PERTURB_="85")
