"""Videos that are odd in one way each: every clip holds the frames asked for, or the file is refused with a reason."""

from __future__ import annotations

import io
import os

import av
import numpy as np
import pytest

from shards.ledger import Reason
from tests.support.numbered_videos import Coding, encode_numbered
from tests.support.odd_videos import (
    interlaced,
    joined_ts,
    rewrapped,
    with_attachments,
    with_display_matrix,
    with_edits,
)
from tools.corpus.cut import CutSettings, MediaError, Piece, cut_video
from tools.corpus.frame_number import read_frame_number
from tools.corpus.probe import probe

WHOLE = os.environ.get("VIDLOOM_WHOLE_CORPUS") == "1"
GOP = {"g": "10", "bf": "2"}
MP4 = encode_numbered(Coding(options={"g": "10", "bf": "0"}))


def coded(encoder, container, pix_fmt="yuv420p", size=(128, 96), frames=24, **options):
    coding = Coding(encoder, container, pix_fmt, options={"g": "10", **options})
    return lambda: encode_numbered(coding, frames, size=size)


ALT_REF = {"auto-alt-ref": "1", "lag-in-frames": "16", "cpu-used": "4"}
QUICK = {
    "attachments and cover": with_attachments,
    "edit list: late start": lambda: with_edits(MP4, [(33, 7)]),
    "edit list: early end": lambda: with_edits(MP4, [(20, 0)]),
    "edit list: begins empty": lambda: with_edits(MP4, [(25, -1), (40, 0)]),
    "edit list: two parts": lambda: with_edits(MP4, [(10, 0), (10, 25)]),
    "edit list: out of order": lambda: with_edits(MP4, [(10, 20), (10, 0)]),
    "edit list: one part twice": lambda: with_edits(MP4, [(10, 10), (10, 10)]),
    "fragments": lambda: rewrapped(MP4, "mp4", movflags="frag_keyframe+empty_moov"),
    "no index, open length": lambda: rewrapped(MP4, "matroska", live="1"),
    "VP9, hidden frames": coded("libvpx-vp9", "webm", **ALT_REF),
    "transport stream, late": lambda: encode_numbered(Coding("libx264", "mpegts", options=GOP), first_time=1_000_000),
    "Matroska, late": lambda: encode_numbered(Coding("libx264", "matroska", options=GOP), first_time=100_000),
    "Matroska, before 0": lambda: encode_numbered(Coding("libx264", "matroska", options=GOP), first_time=-20),
    "a long gap": lambda: encode_numbered(Coding(options=GOP), times=[n * 4 + 900 * (n > 19) for n in range(40)]),
    "GIF": coded("gif", "gif", "rgb8"),
    "animated PNG": coded("apng", "apng", "rgb24"),
    "4:4:4 of odd size": coded("libx264", "mp4", "yuv444p", (131, 97)),
    "10-bit 4:2:2": coded("libx264", "mp4", "yuv422p10le"),
    "RGB": coded("libx264rgb", "mp4", "rgb24"),
    "alpha": coded("qtrle", "mov", "argb"),
    "one frame": coded("libx264", "mp4", frames=1),
    "interlaced": interlaced,
}
MORE = {
    "VP8, hidden frames": coded("libvpx", "webm", **ALT_REF),
    "VP9, hidden frames, in MP4": lambda: rewrapped(coded("libvpx-vp9", "webm", **ALT_REF)(), "mp4"),
    "AV1": coded("libsvtav1", "mp4", preset="12"),
    "AV1, 10 bits, in Matroska": coded("libsvtav1", "matroska", "yuv420p10le", preset="12"),
    "AV1 without a container": coded("libsvtav1", "obu", preset="12"),
    "program stream": coded("mpeg2video", "vob", bf="2"),
    "MPEG-1 without a container": coded("mpeg1video", "mpeg1video"),
    "MPEG-4 without a container": coded("mpeg4", "m4v", bf="2"),
    "JPEG after JPEG": coded("mjpeg", "mjpeg", "yuvj420p"),
    "YUV4MPEG2": coded("wrapped_avframe", "yuv4mpegpipe", frames=12),
    "Flash": coded("flv", "flv"),
    "MXF": coded("mpeg2video", "mxf", bf="2"),
    "NUT": coded("libx264", "nut", bf="2"),
    "RealMedia": coded("rv20", "rm", size=(176, 144)),
    "DV": coded("dvvideo", "dv", size=(720, 576), frames=6),
    "ProRes with alpha": coded("prores_ks", "mov", "yuva444p10le"),
    "FFV1, 16 bits grey": coded("ffv1", "matroska", "gray16le"),
    "FFV1, 16 bits RGB": coded("ffv1", "matroska", "gbrp16le"),
    "raw RGB in AVI": coded("rawvideo", "avi", "bgr24"),
    "HuffYUV": coded("huffyuv", "avi", "yuv422p"),
    "HEVC, 12 bits": coded("libx265", "mp4", "yuv420p12le", **{"x265-params": "log-level=none:keyint=10"}),
    "VP9 4:4:4": coded("libvpx-vp9", "webm", "yuv444p"),
    "VP9, odd size": coded("libvpx-vp9", "webm", size=(131, 97)),
    "VP8 in Ogg": lambda: rewrapped(coded("libvpx", "webm")(), "ogg"),
    "interlaced MPEG-2": lambda: interlaced("mpeg2video", "mpeg"),
    "time stamps that wrap around": lambda: encode_numbered(
        Coding("libx264", "mpegts", options=GOP), first_time=int((2**33 / 90000 - 0.8) * 25)
    ),
    "garbage behind the end": lambda: MP4 + bytes(range(256)) * 40,
}


def numbers_in(payload):
    with av.open(io.BytesIO(payload)) as container:
        shown = next(s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic)
        return [read_frame_number(frame.to_ndarray(format="rgb24")) for frame in container.decode(shown)]


def prove(payload, presets):
    """Check segments of a video, whole and in part, against the frames that decoding from the start gives."""
    wanted = numbers_in(payload)
    line = probe(payload).timeline
    assert len(line) == len(wanted)
    assert -1 not in wanted
    count = len(line)
    spans = [(0, count), (count // 3, count // 3 + 1), (count // 4, count - count // 5), (count - 1, count)]
    segments = [(float(line.at(first)), float(line.at(stop))) for first, stop in spans]
    for preset in presets:
        pieces = cut_video(payload, [(None, None), *segments[1:]], CutSettings(preset))
        for piece, (first, stop) in zip(pieces, spans, strict=True):
            assert isinstance(piece, Piece), piece
            assert numbers_in(piece.payload) == wanted[first:stop], (preset, first, stop, piece.cut_reason)


@pytest.mark.parametrize("name", QUICK)
def test_odd_videos_are_cut_to_the_frame(name):
    prove(QUICK[name](), ["copy", "intra"])


@pytest.mark.slow
@pytest.mark.skipif(not WHOLE, reason="a minute; VIDLOOM_WHOLE_CORPUS=1 runs it")
@pytest.mark.parametrize("name", QUICK | MORE)
def test_odder_videos_are_cut_to_the_frame_by_every_preset(name):
    prove((QUICK | MORE)[name](), ["copy", "train", "intra", "vp9", "mjpeg"])


@pytest.mark.parametrize(
    ("matrix", "undo"),
    [
        ((-1, 0, 0, 1), lambda a: a[:, ::-1]),
        ((1, 0, 0, -1), lambda a: a[::-1]),
        ((0, 1, 1, 0), lambda a: a.transpose(1, 0, 2)),
        ((0, 1, -1, 0), np.rot90),
        ((0, -1, 1, 0), lambda a: np.rot90(a, -1)),
    ],
    ids=["left to right", "upside down", "transposed", "clockwise", "anticlockwise"],
)
def test_encodes_show_what_the_display_matrix_says(matrix, undo):
    payload = with_display_matrix(MP4, *matrix)
    whole, part = cut_video(payload, [(None, None), (0.4, 0.8)])
    (encoded,) = cut_video(payload, [(0.4, 0.8)], CutSettings("intra"))
    is_mirrored = matrix[0] * matrix[3] < matrix[1] * matrix[2]
    assert (whole.cut, part.cut) == (("encoded",) * 2 if is_mirrored else ("verbatim", "packets"))
    assert ("mirrors" in (part.cut_reason or "")) == is_mirrored
    assert encoded.media.rotation == 0
    with av.open(io.BytesIO(encoded.payload)) as container:
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert [read_frame_number(np.ascontiguousarray(undo(one))) for one in pictures] == list(range(10, 20))


@pytest.mark.parametrize("matrix", [(0.7, 0.7, -0.7, 0.7), (0, 0, 0, 0)])
def test_a_matrix_that_makes_no_sense_turns_nothing(matrix):
    found = probe(with_display_matrix(MP4, *matrix))
    assert (found.media.rotation, found.mirrored) == (0, False)


def test_two_recordings_in_one_file_are_refused():
    first = encode_numbered(Coding("libx264", "mpegts", options=GOP))
    with pytest.raises(MediaError, match=r"time stamps go back by 1\.5") as caught:
        probe(joined_ts(first, first))
    assert caught.value.reason == Reason.UNSUPPORTED
    with pytest.raises(MediaError, match="incomplete") as caught:
        probe(first + first)
    assert caught.value.reason == Reason.DAMAGED
