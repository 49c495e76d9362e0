"""Encode small videos of several shots, each of a look of its own, whose frames carry their number."""

from __future__ import annotations

import io
from collections.abc import Sequence
from fractions import Fraction
from itertools import accumulate

import av
import numpy as np

from tests.support.numbered_videos import Coding
from tools.corpus.frame_number import paint_frame_number

RATE = 25
PLAIN = Coding(options={"g": "10", "bf": "2", "crf": "12"})


def first_frames(lengths: Sequence[int]) -> list[int]:
    """Return the numbers of the frames at which new shots begin."""
    return list(accumulate(lengths))[:-1]


def shot_picture(shot: int, number: int, width: int = 96, height: int = 64, *, numbered: bool = True) -> np.ndarray:
    """Return an RGB picture of a shot: its own colours, a little motion, and the frame's number painted in."""
    draw = np.random.default_rng(shot)
    colour = draw.integers(-20, 20, 3) + (80 if shot % 2 else 170)
    rows, columns = np.arange(height) * 8 // height, np.arange(width) * 8 // width
    tiles = draw.normal(0, 25, (8, 8, 1))[rows][:, columns]
    frame = np.clip(colour + np.roll(tiles, number % 3, axis=1), 0, 255).astype(np.uint8)
    if numbered:
        paint_frame_number(frame, number)
    return frame


def encode_shots(
    lengths: Sequence[int],
    coding: Coding = PLAIN,
    *,
    times: Sequence[int] | None = None,
    size: tuple[int, int] = (96, 64),
    numbered: bool = True,
) -> bytes:
    """Return a video of shots of so many frames; ``times`` are ticks of a hundredth of a second, else 25 a second."""
    target = io.BytesIO()
    looks = [shot for shot, length in enumerate(lengths) for _ in range(length)]
    base = Fraction(1, 100) if times else Fraction(1, RATE)
    with av.open(target, "w", format=coding.container) as out:
        stream = out.add_stream(coding.encoder, rate=RATE, options=dict(coding.options))
        stream.width, stream.height, stream.pix_fmt = *size, coding.pix_fmt
        stream.codec_context.thread_count = 1
        stream.codec_context.time_base = base
        for number, shot in enumerate(looks):
            frame = av.VideoFrame.from_ndarray(shot_picture(shot, number, *size, numbered=numbered), format="rgb24")
            frame = frame.reformat(format=coding.pix_fmt)
            frame.pts, frame.time_base = times[number] if times else number, base
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return target.getvalue()
