"""The record of a video, made of what a probe found."""

from __future__ import annotations

import operator
from bisect import bisect_left
from dataclasses import dataclass
from typing import Final, TypedDict

import numpy as np
from av.video.frame import VideoFrame

from shards.record import Decodable, Media
from tools.corpus.display import Turn
from tools.corpus.packet_table import Packets
from tools.corpus.timeline import Timeline

_DALI_CPU_CODECS: Final = frozenset({"vp8", "vp9", "mjpeg"})
_DALI_CPU_CONTAINERS: Final = frozenset({"mp4", "mov", "webm", "mkv"})
_NVDEC_8_BIT: Final = frozenset({"h264", "hevc", "vp8", "vp9", "av1", "mpeg4"})
_NVDEC_10_BIT: Final = frozenset({"hevc", "vp9", "av1"})


@dataclass(frozen=True, slots=True)
class Facts:
    """What the media record is made of."""

    packets: Packets
    timeline: Timeline
    frame: VideoFrame
    turn: Turn
    codec: str
    profile: str | None
    extension: str | None
    has_audio: bool


def media_record(facts: Facts) -> Media:
    """Return the record of a video."""
    keys = np.flatnonzero(facts.packets.is_key[facts.packets.shown]).tolist()
    return Media(
        **_in_time(facts.timeline, keys, is_vfr=facts.timeline.is_vfr),
        width=facts.frame.width,
        height=facts.frame.height,
        rotation=facts.turn.rotation,
        codec=facts.codec,
        profile=facts.profile,
        pix_fmt=facts.frame.format.name,
        has_audio=facts.has_audio,
        decodable=_decodable(facts),
    )


def excerpted(media: Media, first: int, timeline: Timeline, *, is_even: bool) -> Media:
    """Return the record of frames ``first`` and following of a video by themselves, without sound.

    Args:
        media: the record of the video.
        first: the number of the first frame.
        timeline: the times of the frames.
        is_even: whether they are known to be evenly spaced.
    """
    keys, count = media.keyframes, len(timeline)
    inside = keys[bisect_left(keys, first) : bisect_left(keys, first + count)]
    held = [key - first for key in inside]
    return Media(
        **_in_time(timeline, held, is_vfr=not is_even and timeline.is_vfr),
        width=media.width,
        height=media.height,
        rotation=media.rotation,
        codec=media.codec,
        profile=media.profile,
        pix_fmt=media.pix_fmt,
        has_audio=False,
        decodable=media.decodable,
    )


class _InTime(TypedDict):
    """The fields of a record that times and key flags give."""

    duration: float
    num_frames: int
    fps: float
    is_vfr: bool
    max_gop: int
    keyframes: tuple[int, ...]


def _in_time(timeline: Timeline, keys: list[int], *, is_vfr: bool) -> _InTime:
    count, base = len(timeline), timeline.base
    gops = map(operator.sub, [*keys[1:], count], keys)
    lasting = (timeline.stop - int(timeline.ticks[0])) * base.numerator
    return _InTime(
        duration=lasting / base.denominator,
        num_frames=count,
        fps=count * base.denominator / lasting,
        is_vfr=is_vfr,
        max_gop=max(gops, default=count),
        keyframes=tuple(keys),
    )


def _decodable(facts: Facts) -> Decodable:
    """Return which decoders take the codec, its pixel format and the container."""
    pixels = facts.frame.format
    bits = max(component.bits for component in pixels.components)
    nvdec = facts.codec in (_NVDEC_8_BIT if bits == 8 else _NVDEC_10_BIT if bits == 10 else ())  # noqa: PLR2004  # bits
    return Decodable(
        pyav=True,
        dali_cpu=facts.codec in _DALI_CPU_CODECS and facts.extension in _DALI_CPU_CONTAINERS,
        nvdec=nvdec and pixels.name.startswith(("yuv420p", "yuvj420p", "nv12")),
    )
