"""Tests of the painted frame number: it survives codecs and resizing, and never reads wrongly."""

from __future__ import annotations

import io

import av
import numpy as np
import pytest

from tools.corpus.frame_number import MAX_FRAMES, paint_frame_number, read_frame_number

NUMBERS = [0, 1, 2, 3, 4, 7, 8, 100, 1023, 1024, 2730, 1365, 4094, 4095, *range(40, 60)]
CODERS = {
    "x264": ("libx264", "mp4", "yuv420p", {"crf": "23", "tune": "fastdecode", "g": "16", "bf": "3"}),
    "vp9": ("libvpx-vp9", "webm", "yuv420p", {"crf": "34", "b": "0", "g": "16", "deadline": "realtime"}),
    "mjpeg": ("mjpeg", "mp4", "yuvj420p", {"qmin": "10", "qmax": "10"}),
}


def noisy_frame(number: int, width: int = 128, height: int = 96) -> np.ndarray:
    rng = np.random.default_rng(number)
    frame = np.repeat(np.repeat(rng.integers(0, 256, (height // 8, width // 8, 3), np.uint8), 8, 0), 8, 1)
    paint_frame_number(frame, number)
    return frame


def code(frames: list[np.ndarray], coder: str) -> list[av.VideoFrame]:
    codec, ext, pix_fmt, options = CODERS[coder]
    file = io.BytesIO()
    with av.open(file, "w", format=ext) as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pix_fmt
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    with av.open(io.BytesIO(file.getvalue())) as container:
        return list(container.decode(video=0))


@pytest.mark.parametrize("coder", CODERS)
def test_number_survives_lossy_coding_and_resizing(coder):
    decoded = code([noisy_frame(number) for number in NUMBERS], coder)
    for scale in (0.5, 0.75, 1.0, 1.37, 2.0):
        width, height = round(128 * scale), round(96 * scale)
        read = [read_frame_number(frame.to_ndarray(format="rgb24", width=width, height=height)) for frame in decoded]
        assert read == NUMBERS, f"{coder} at {width}x{height}"


def test_number_survives_an_uneven_resize():
    frame = av.VideoFrame.from_ndarray(noisy_frame(77, 160, 120), format="rgb24")
    assert read_frame_number(frame.to_ndarray(format="rgb24", width=224, height=224)) == 77


def test_frames_without_a_number_are_unreadable():
    assert read_frame_number(np.zeros((96, 128, 3), np.uint8)) == -1
    assert read_frame_number(np.full((4, 4, 3), 255, np.uint8)) == -1
    noise = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
    assert read_frame_number(noise) == -1


def test_one_wrong_cell_is_noticed():
    frame = noisy_frame(1234)
    frame[:16, 24:32] = 255 - frame[:16, 24:32]
    assert read_frame_number(frame) == -1


def test_only_numbers_and_sizes_that_fit_are_painted():
    frame = np.zeros((96, 128, 3), np.uint8)
    with pytest.raises(ValueError, match="does not fit"):
        paint_frame_number(frame, MAX_FRAMES)
    with pytest.raises(ValueError, match="does not fit"):
        paint_frame_number(frame, -1)
    with pytest.raises(ValueError, match="too small"):
        paint_frame_number(frame[:8], 0)
