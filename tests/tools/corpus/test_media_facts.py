"""Tests of a video's record: which decoders take it, groups of pictures, the turn."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest

from tools.corpus.display import Turn
from tools.corpus.media_facts import Facts, media_record
from tools.corpus.packet_table import Packets
from tools.corpus.timeline import Timeline


def record(keys=(0,), *, frames=10, codec="h264", extension="mp4", pix_fmt="yuv420p", turn=90):
    times = np.arange(frames, dtype=np.int64)
    is_key = np.isin(times, keys)
    table = Packets(times, times, times, is_key, np.ones(frames, np.bool_))
    line = Timeline(times, frames, Fraction(1, 25))
    frame = av.VideoFrame(64, 48, pix_fmt)
    return media_record(Facts(table, line, frame, Turn(turn, mirrored=False), codec, None, extension, has_audio=True))


def test_what_a_video_is():
    media = record((0, 4, 9))
    assert (media.duration, media.num_frames, media.fps, media.is_vfr) == (0.4, 10, 25.0, False)
    assert (media.width, media.height, media.rotation, media.pix_fmt) == (64, 48, 90, "yuv420p")
    assert (media.keyframes, media.max_gop, media.has_audio) == ((0, 4, 9), 5, True)
    assert record(()).max_gop == 10
    assert record((7,)).max_gop == 3


@pytest.mark.parametrize(
    ("codec", "extension", "pix_fmt", "dali_cpu", "nvdec"),
    [
        ("h264", "mp4", "yuv420p", False, True),
        ("h264", "mp4", "yuv420p10le", False, False),
        ("hevc", "mp4", "yuv420p10le", False, True),
        ("hevc", "mp4", "yuv420p12le", False, False),
        ("vp9", "webm", "yuv420p", True, True),
        ("vp9", "ogv", "yuv420p", False, True),
        ("vp9", "webm", "yuv444p", True, False),
        ("mjpeg", "mov", "yuvj420p", True, False),
        ("prores", "mov", "yuv422p10le", False, False),
    ],
)
def test_which_decoders_take_it(codec, extension, pix_fmt, dali_cpu, nvdec):
    decodable = record(codec=codec, extension=extension, pix_fmt=pix_fmt).decodable
    assert (decodable.pyav, decodable.dali_cpu, decodable.nvdec) == (True, dali_cpu, nvdec)
