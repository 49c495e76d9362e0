"""Encode small videos whose frames carry their number, in any codec and container, and decode them the slow way."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av
import numpy as np

from tools.corpus.frame_number import paint_frame_number

WIDTH, HEIGHT = 128, 96
RATE = 25


@dataclass(frozen=True)
class Coding:
    """How to encode: FFmpeg's names of encoder, container and pixel format, and the encoder's options."""

    encoder: str = "libx264"
    container: str = "mp4"
    pix_fmt: str = "yuv420p"
    options: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.encoder}-{self.container}"


def picture(number: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray[Any, Any]:
    """Return an RGB picture with a moving gradient and a number painted in."""
    rows, columns = np.mgrid[0:height, 0:width]
    frame = np.stack([rows * 2 + number * 5, columns + number * 3, rows + columns], axis=-1).astype(np.uint8)
    paint_frame_number(frame, number)
    return frame


def encode_numbered(
    coding: Coding,
    frames: int = 40,
    *,
    times: Sequence[int] | None = None,
    first_time: int = 0,
    size: tuple[int, int] = (WIDTH, HEIGHT),
) -> bytes:
    """Return a video of numbered frames; ``times`` are ticks of a hundredth of a second, else the rate is constant.

    ``first_time`` shifts the time stamps of all packets by so many frames.
    """
    target = io.BytesIO()
    with av.open(target, "w", format=coding.container) as out:
        stream = out.add_stream(coding.encoder, rate=RATE, options=dict(coding.options))
        stream.width, stream.height, stream.pix_fmt = *size, coding.pix_fmt
        stream.codec_context.thread_count = 1
        stream.codec_context.time_base = Fraction(1, 100) if times else Fraction(1, RATE)
        shift = Fraction(first_time, RATE)
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(number, *size), format="rgb24").reformat(format=coding.pix_fmt)
            frame.pts = times[number] if times else number
            frame.time_base = stream.codec_context.time_base
            _mux(out, stream.encode(frame), shift)
        _mux(out, stream.encode(None), shift)
    return target.getvalue()


def _mux(out: Any, packets: list[Any], shift: Fraction) -> None:
    for packet in packets:
        ticks = int(shift / packet.time_base)
        packet.pts += ticks
        packet.dts += ticks
        out.mux(packet)


def decode_all(
    payload: bytes, last: int | None = None, *, only: Sequence[int] | None = None
) -> dict[int, np.ndarray[Any, Any]]:
    """Decode from the start with PyAV alone, up to frame ``last``; return the frames by number, or only some."""
    frames: dict[int, np.ndarray[Any, Any]] = {}
    seen = 0
    with av.open(io.BytesIO(payload)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for packet in container.demux(stream):
            for frame in stream.codec_context.decode(packet):
                if only is None or seen in only:
                    frames[seen] = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))
                seen += 1
            if last is not None and seen > last:
                break
    return frames
