"""Cut and encode videos with FFmpeg through PyAV and nothing else: no checks, no records."""

from __future__ import annotations

import io
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from tools.corpus.encode import RECIPES

_MICROSECOND = 1e-6


def copy_once(job: dict[str, Any]) -> Iterator[bytes]:
    """Demux a video once and begin another file at each border; yield the files."""
    with av.open(job["path"]) as source:
        stream = source.streams.video[0]
        ticks = _ticks(stream, job)
        clip, number = _Clip(stream), 0
        for packet in source.demux(stream):
            pts = packet.pts
            if pts is None:
                continue
            if packet.is_keyframe and number + 1 < len(ticks) and pts >= ticks[number + 1]:
                yield clip.end()
                clip, number = _Clip(stream), number + 1
            clip.add(packet)
        yield clip.end()


def copy_each(job: dict[str, Any]) -> Iterator[bytes]:
    """Cut as an ``ffmpeg -ss START -to END -c copy`` for each clip does: open, seek, copy; yield the files."""
    for number in range(len(job["spans"])):
        with av.open(job["path"]) as source:
            yield _one(source, job, number)


def _one(source: InputContainer, job: dict[str, Any], number: int) -> bytes:
    stream = source.streams.video[0]
    ticks = [*_ticks(stream, job), float("inf")]
    clip = _Clip(stream)
    if number:
        source.seek(round(ticks[number]) + 1, stream=stream)
    for packet in source.demux(stream):
        pts = packet.pts
        if pts is None or (packet.is_keyframe and pts >= ticks[number + 1]):
            break
        clip.add(packet)
    return clip.end()


def _ticks(stream: VideoStream, job: dict[str, Any]) -> list[float]:
    """Return where the clips begin, a little early."""
    assert stream.time_base is not None
    first, base = stream.start_time or 0, float(stream.time_base)
    return [first + (start - _MICROSECOND) / base for start, _ in job["spans"]]


class _Clip:
    """One file that packets are copied to."""

    def __init__(self, stream: VideoStream) -> None:
        self._target = io.BytesIO()
        self._out = av.open(self._target, "w", format="mp4")
        self._stream = self._out.add_stream_from_template(stream)
        self._shift: int | None = None

    def add(self, packet: Packet[VideoStream]) -> None:
        assert packet.pts is not None
        assert packet.dts is not None
        self._shift = packet.pts if self._shift is None else self._shift
        packet.pts, packet.dts, packet.stream = packet.pts - self._shift, packet.dts - self._shift, self._stream
        self._out.mux(packet)

    def end(self) -> bytes:
        self._out.close()
        return self._target.getvalue()


def encode(path: str, short_side: int) -> bytes:
    """Decode, scale, encode, with one thread and the settings of our preset train; return the file."""
    recipe = RECIPES["train"]
    target = io.BytesIO()
    with av.open(path) as source, av.open(target, "w", format="mp4") as out:
        video = source.streams.video[0]
        video.codec_context.thread_count = 1
        shrink = min(1.0, short_side / min(video.width, video.height))
        width, height = (round(side * shrink / 2) * 2 for side in (video.width, video.height))
        stream = out.add_stream(recipe.codec, rate=video.average_rate, options=dict(recipe.options))
        assert isinstance(stream, VideoStream), "its encoder is one of pictures"
        stream.width, stream.height, stream.pix_fmt = width, height, recipe.pix_fmt
        stream.codec_context.thread_count = 1
        stream.codec_context.time_base = video.time_base or Fraction(1, 90000)
        for frame in source.decode(video):
            small = frame.reformat(width, height, recipe.pix_fmt)
            small.pict_type = 0
            out.mux(stream.encode(small))
        out.mux(stream.encode(None))
    return target.getvalue()
