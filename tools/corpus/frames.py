"""Decode exactly the frames of a segment, in order, starting at the key frame before them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Final

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from shards.ledger import Reason
from tools.corpus.media_file import Limits, MediaError, Source, open_media, video_stream
from tools.corpus.probe import NO_TIME, Probe
from tools.corpus.timeline import Span

_SEEKABLE: Final = frozenset({"mp4", "mov", "3gp", "mkv", "webm", "avi", "flv", "wmv", "ogv", "ts"})
"""Containers in which packets have the same times after a seek as in one reading; MPEG program streams are not."""

_OLD_X264_FORMAT: Final = "444"
"""FFmpeg decodes 4:4:4 H.264 of old x264 versions rightly only after it has seen the first packet, which names them."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """Where decoding may start: the key packet's times in ticks."""

    pts: int
    dts: int


def decode_span(source: Source, found: Probe, span: Span, limits: Limits) -> Iterator[VideoFrame]:
    """Yield frames ``span.first`` to ``span.stop - 1`` of a probed source, in presentation order, none missing.

    Raises:
        MediaError: a frame is damaged or missing.
    """
    entry = _entry(found, span.first)
    if entry is not None and _seeks_well(source, entry, limits):
        frames = _entered(source, found, span, _Start(limits, entry))
        try:
            first = next(frames)
        except MediaError:  # a decoder may take several pictures to find in, or the container may lie about key frames
            frames.close()
        else:
            yield first
            yield from frames
            return
    yield from _entered(source, found, span, _Start(limits, None))


@dataclass(frozen=True, slots=True)
class _Start:
    """Where to begin within which limits; without an entry at the video's beginning."""

    limits: Limits
    entry: _Entry | None


def _entered(source: Source, found: Probe, span: Span, start: _Start) -> Generator[VideoFrame]:
    """Yield the frames of a span, decoded from ``start``."""
    with open_media(source, start.limits) as container:
        stream = video_stream(container, start.limits)
        if start.entry is not None:
            container.seek(start.entry.dts, stream=stream)
        frames = _decoded(container, stream, start.entry)
        yield from _counted(frames, found, span) if found.untimed else _timed(frames, found, span)


def starts_clean(found: Probe, key: int) -> bool:
    """Return whether decoding may start at a key packet, by its number, other than the first."""
    return key == 0 or found.media.codec != "h264" or _OLD_X264_FORMAT not in found.media.pix_fmt


def _entry(found: Probe, frame: int) -> _Entry | None:
    """Return the last key packet at or before a frame, or None where decoding must start at the beginning."""
    keys = found.media.keyframes
    place = bisect_right(keys, frame) - 1
    if found.untimed or place < 0 or found.container not in _SEEKABLE:
        return None
    packet = int(found.packets.shown[keys[place]])
    pts, dts = int(found.packets.pts[packet]), int(found.packets.dts[packet])
    if packet == 0 or dts == NO_TIME or not starts_clean(found, packet):
        return None
    return _Entry(pts, dts)


def _seeks_well(source: Source, entry: _Entry, limits: Limits) -> bool:
    """Return whether the container's seek arrives at the key packet or before it."""
    with open_media(source, limits) as container:
        stream = video_stream(container, limits)
        try:
            container.seek(entry.dts, stream=stream)
            packet = next(container.demux(stream), None)
        except av.FFmpegError:
            return False
        return packet is not None and packet.dts is not None and packet.dts <= entry.dts


def _decoded(
    container: InputContainer,
    stream: VideoStream,
    entry: _Entry | None,
) -> Iterator[VideoFrame]:
    """Yield decoded frames; pictures that lead the key frame of the entry may lack what they refer to."""
    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except av.FFmpegError as error:
            if entry is not None and packet.pts is not None and packet.pts < entry.pts:
                continue
            raise MediaError(Reason.DAMAGED, f"the packet {_when(packet)} cannot be decoded") from error
        for frame in frames:
            if isinstance(frame, VideoFrame):
                yield frame


def _timed(frames: Iterator[VideoFrame], found: Probe, span: Span) -> Iterator[VideoFrame]:
    """Yield the frames whose times are those of the span."""
    number = span.first
    ticks = found.timeline.ticks
    for frame in frames:
        if frame.pts is None or frame.pts < ticks[number]:
            continue
        if frame.pts > ticks[number]:
            break
        yield frame
        number += 1
        if number == span.stop:
            return  # what comes behind may be damaged
    raise MediaError(Reason.DAMAGED, f"the decoder gives no frame for {float(found.timeline.at(number)):.3f} s")


def _counted(frames: Iterator[VideoFrame], found: Probe, span: Span) -> Iterator[VideoFrame]:
    """Yield the frames of the span by their number from the start."""
    number = -1
    for number, frame in enumerate(frames):
        if number >= span.first:
            yield frame
        if number + 1 == span.stop:
            return
    raise MediaError(Reason.DAMAGED, f"the decoder gives {number + 1} frames of {len(found.timeline)}")


def _when(packet: Packet[VideoStream]) -> str:
    if packet.pts is None or packet.time_base is None:
        return "at an unknown time"
    return f"at {float(packet.pts * packet.time_base):.3f} s"
