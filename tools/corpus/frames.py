"""Decode exactly the frames of one or several segments, in order and once each, from the key frames before them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import av
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from shards.ledger import Reason
from tools.corpus.held_media import SEEKABLE, HeldMedia
from tools.corpus.image import read_rgb
from tools.corpus.media_file import Limits, MediaError, Source
from tools.corpus.probe import NO_TIME, Probe
from tools.corpus.timeline import Span

_OLD_X264_FORMAT: Final = "444"
"""FFmpeg decodes 4:4:4 H.264 of old x264 versions rightly only after it has seen the first packet, which names them."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """Where decoding may start: the key frame's number, and its packet's times in ticks."""

    frame: int
    pts: int
    dts: int


@dataclass(frozen=True, slots=True)
class NumberedFrame:
    """A decoded frame and its number in the video, counted from 0 in presentation order."""

    number: int
    frame: VideoFrame


@dataclass(frozen=True, slots=True)
class Lost:
    """Why frame ``number`` cannot be had; with it are lost all spans that begin at or before it and end after it."""

    number: int
    error: MediaError


def decode_span(source: Source, found: Probe, span: Span, limits: Limits) -> Iterator[VideoFrame]:
    """Yield frames ``span.first`` to ``span.stop - 1`` of a probed source, in presentation order, none missing.

    Raises:
        MediaError: a frame is damaged or missing.
    """
    for item in decode_spans(source, found, [span], limits):
        if isinstance(item, Lost):
            raise item.error
        yield item.frame


def decode_spans(
    source: Source | HeldMedia, found: Probe, spans: Sequence[Span], limits: Limits
) -> Iterator[NumberedFrame | Lost]:
    """Decode a probed source once for several spans: yield each frame that any of them holds, by rising number.

    Overlapping spans share their frames. Between spans, decoding goes on or begins anew at a later key frame, whichever
    comes first. Where a frame cannot be had, one ``Lost`` says so, and the spans that begin behind it follow: each span
    has the same fate and the same frames as if it were decoded alone. A source that is held open stays so; ``limits``
    are then its own.
    """
    if found.picture is not None:
        file = source.source if isinstance(source, HeldMedia) else source
        yield NumberedFrame(0, VideoFrame.from_ndarray(read_rgb(file, limits), format="rgb24"))
        return
    if isinstance(source, HeldMedia):
        yield from _decode_held(source, found, spans)
        return
    with HeldMedia(source, limits) as media:
        yield from _decode_held(media, found, spans)


def _decode_held(media: HeldMedia, found: Probe, spans: Sequence[Span]) -> Iterator[NumberedFrame | Lost]:
    media.prepare_to_decode()
    left = list(spans)
    while left:
        wanted = _numbers(_merged(left))
        due = next(wanted, None)
        try:
            for item in _read(media, found, _merged(left)):
                yield item
                due = next(wanted, None)
        except MediaError as error:
            assert due is not None, "all frames came before the error"
            yield Lost(due, error)
            media.close()  # nothing of what went wrong stays in a decoder
            left = [span for span in left if span.first > due]
        else:
            return


def _merged(spans: Sequence[Span]) -> list[Span]:
    """Return the union of spans as spans that do not touch, in order."""
    union: list[Span] = []
    for span in sorted(spans, key=lambda one: one.first):
        if union and span.first <= union[-1].stop:
            union[-1] = Span(union[-1].first, max(union[-1].stop, span.stop))
        else:
            union.append(span)
    return union


def _numbers(spans: Sequence[Span]) -> Iterator[int]:
    for span in spans:
        yield from range(span.first, span.stop)


def _read(media: HeldMedia, found: Probe, spans: Sequence[Span]) -> Iterator[NumberedFrame]:
    """Yield the frames of spans that do not touch, each run of spans decoded from where it is best entered."""
    for run in _runs(found, spans):
        yield from _read_run(media, found, run)


def _runs(found: Probe, spans: Sequence[Span]) -> list[list[Span]]:
    """Group spans: a new run begins where decoding can be entered behind the last frame of the span before."""
    runs: list[list[Span]] = []
    for span in spans:
        entry = _entry(found, span.first)
        if runs and (entry is None or entry.frame < runs[-1][-1].stop):
            runs[-1].append(span)
        else:
            runs.append([span])
    return runs


def _read_run(media: HeldMedia, found: Probe, run: Sequence[Span]) -> Iterator[NumberedFrame]:
    entry = _entry(found, run[0].first)
    packets = None if entry is None else media.from_key(entry.pts, entry.dts)
    if packets is not None:
        frames = _picked(_decoded(packets, entry), found, run)
        try:
            first = next(frames)
        except MediaError:  # a decoder may take several pictures to find in, or the container may lie about key frames
            frames.close()
        else:
            yield first
            yield from frames
            return
    yield from _picked(_decoded(media.from_start(), None), found, run)


def _picked(frames: Iterator[VideoFrame], found: Probe, run: Sequence[Span]) -> Generator[NumberedFrame]:
    """Yield those of the decoded frames that a run of spans holds."""
    picked = _counted(frames, found, run) if found.untimed else _timed(frames, found, run)
    for number in _numbers(run):
        yield NumberedFrame(number, next(picked))


def starts_clean(found: Probe, key: int) -> bool:
    """Return whether decoding may start at a key packet, by its number, other than the first."""
    return key == 0 or found.media.codec != "h264" or _OLD_X264_FORMAT not in found.media.pix_fmt


def _entry(found: Probe, frame: int) -> _Entry | None:
    """Return the last key packet at or before a frame, or None where decoding must start at the beginning."""
    keys = found.media.keyframes
    place = bisect_right(keys, frame) - 1
    if found.untimed or place < 0 or found.container not in SEEKABLE:
        return None
    packet = int(found.packets.shown[keys[place]])
    pts, dts = int(found.packets.pts[packet]), int(found.packets.dts[packet])
    if packet == 0 or dts == NO_TIME or not starts_clean(found, packet):
        return None
    return _Entry(keys[place], pts, dts)


def _decoded(packets: Iterator[Packet[VideoStream]], entry: _Entry | None) -> Iterator[VideoFrame]:
    """Yield decoded frames; pictures that lead the key frame of the entry may lack what they refer to."""
    for packet in packets:
        try:
            frames = packet.decode()
        except av.FFmpegError as error:
            if entry is not None and packet.pts is not None and packet.pts < entry.pts:
                continue
            raise MediaError(Reason.DAMAGED, f"the packet {_when(packet)} cannot be decoded") from error
        for frame in frames:
            if isinstance(frame, VideoFrame):
                yield frame


def _timed(frames: Iterator[VideoFrame], found: Probe, run: Sequence[Span]) -> Iterator[VideoFrame]:
    """Yield the frames whose times are those of the run's; what comes behind the last may be damaged."""
    ticks = found.timeline.ticks
    for number in _numbers(run):
        frame = next((frame for frame in frames if frame.pts is not None and frame.pts >= ticks[number]), None)
        if frame is None or frame.pts != ticks[number]:
            raise MediaError(Reason.DAMAGED, f"the decoder gives no frame for {float(found.timeline.at(number)):.3f} s")
        yield frame


def _counted(frames: Iterator[VideoFrame], found: Probe, run: Sequence[Span]) -> Iterator[VideoFrame]:
    """Yield the frames of the run by their number from the start."""
    seen = 0
    for number in _numbers(run):
        for frame in frames:
            seen += 1
            if seen > number:
                yield frame
                break
        else:
            raise MediaError(Reason.DAMAGED, f"the decoder gives {seen} frames of {len(found.timeline)}")


def _when(packet: Packet[VideoStream]) -> str:
    if packet.pts is None or packet.time_base is None:
        return "at an unknown time"
    return f"at {float(packet.pts * packet.time_base):.3f} s"
