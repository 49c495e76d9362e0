"""Cut a segment without loss by copying its packets into a new container, where the packets allow it."""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

import av
import numpy as np
from av.packet import Packet
from av.video.stream import VideoStream

from shards.ledger import Reason
from tools.corpus.audio import Sound
from tools.corpus.frames import starts_clean
from tools.corpus.held_media import HeldMedia
from tools.corpus.media_file import Limits, MediaError, Source
from tools.corpus.plain_copies import BITEXACT, PlainCopies
from tools.corpus.probe import NO_TIME, Probe, probe
from tools.corpus.sample_index import IndexedSamples
from tools.corpus.timeline import Span

_CONTAINERS: Final = {
    "h264": "mp4",
    "hevc": "mp4",
    "av1": "mp4",
    "mpeg4": "mp4",
    "mjpeg": "mp4",
    "vp8": "webm",
    "vp9": "webm",
}
_HIDDEN: Final = "vp8"
"""The codec whose packets may hold pictures that are never shown, only referred to."""

TIME_SLACK: Final = 0.002
"""Seconds by which a copied frame's time may differ: WebM keeps whole milliseconds."""


@dataclass(frozen=True, slots=True)
class Run:
    """Packets ``first`` to ``last`` in decode order, for a container ``ext``; ``origin`` is the first frame's pts."""

    first: int
    last: int
    origin: int
    ext: str


class NotCopyableError(ValueError):
    """The packets of a segment cannot stand alone; the message says why, to follow the word "encoded:"."""


def packet_run(found: Probe, span: Span) -> Run:
    """Return the packets that hold exactly the frames of a span.

    They must begin with a key frame and be one run in decode order that holds no other frame: no pictures that lead an
    open group, none that belong behind the end.

    Raises:
        NotCopyableError: there is no such run, or no container of ours takes the codec.
    """
    codec = found.media.codec
    if found.untimed:
        raise NotCopyableError(found.untimed)
    if found.changes_size:
        raise NotCopyableError("its pictures change their size, which most readers do not take")
    if found.mirrored:
        raise NotCopyableError("its display matrix mirrors the pictures, which most readers do not")
    if codec not in _CONTAINERS:
        raise NotCopyableError(f"{codec} is cut by encoding only")
    _require_key(found, span.first)
    packets = found.packets
    wanted = packets.shown[span.first : span.stop]
    first, last = int(wanted[0]), int(wanted.max())
    inside = slice(first, last + 1)
    held = last + 1 - first if packets.all_shown else int(packets.is_shown[inside].sum())
    if int(wanted.min()) < first or held != span.count:
        raise NotCopyableError("frames of the segment are stored among others")
    if codec != _HIDDEN and held != last + 1 - first:
        raise NotCopyableError("the container leaves out some of its frames")
    if not packets.all_timed and (packets.dts[inside] == NO_TIME).any() and (np.diff(packets.pts[inside]) < 0).any():
        raise NotCopyableError("packets have no decode times")
    if not starts_clean(found, first):
        raise NotCopyableError("H.264 4:4:4 may need its first packet to decode")
    return Run(first, last, int(packets.pts[first]), _CONTAINERS[codec])


def copy_packets(
    source: Source | HeldMedia, found: Probe, run: Run, limits: Limits, sound: Sound | None = None
) -> bytes:
    """Return a file that holds a run of packets, its times from 0 on, with the sound that is given.

    Where several runs are wanted, the source is given held open; ``limits`` are then its own.

    Raises:
        NotCopyableError: the container refuses the packets.
        MediaError: the source cannot be read.
    """
    if not isinstance(source, HeldMedia):
        with HeldMedia(source, limits) as media:
            return copy_packets(media, found, run, limits, sound)
    if sound is None and run.ext == "mp4" and found.config is not None and source.kept.packets:
        return _plain_copies(source, found).write(
            run.first, run.last, lambda: _muxed(source, _packets(source, found, run), found, run, None)
        )
    return _muxed(source, _packets(source, found, run), found, run, sound)


def _packets(source: HeldMedia, found: Probe, run: Run) -> Sequence[Packet[Any]]:
    """Return a run of packets: kept ones where they say all that FFmpeg's demuxer says of them."""
    kept, inside = source.kept.packets, slice(run.first, run.last + 1)
    if isinstance(kept, IndexedSamples) and kept.is_marked[inside].any():
        return list(_find(source, found, run))
    return kept[inside] or list(_find(source, found, run))


def _plain_copies(source: HeldMedia, found: Probe) -> PlainCopies:
    """Return what writes copies of the source's kept packets."""
    kept, table = source.kept, found.packets
    if kept.copies is None:
        kept.copies = PlainCopies(
            source.begin_copy, source.stream.time_base, kept.packets, pts=table.pts, dts=table.dts, is_key=table.is_key
        )
    return kept.copies


def _muxed(source: HeldMedia, chosen: Sequence[Packet[Any]], found: Probe, run: Run, sound: Sound | None) -> bytes:
    """Return the file that FFmpeg's muxer makes of packets, which may be kept where they are not made of an index."""
    file = io.BytesIO()
    try:
        with (
            nullcontext() if isinstance(source.kept.packets, IndexedSamples) else _as_they_were(chosen, source.stream),
            av.open(file, "w", format=run.ext, options=BITEXACT) as output,
        ):
            copy = source.begin_copy(output)
            if sound is not None:
                sound.begin(output)
            for packet in chosen:
                pts = packet.pts if packet.pts is not None else run.origin
                packet.dts = (pts if packet.dts is None else packet.dts) - run.origin
                packet.pts = pts - run.origin
                if sound is not None:
                    sound.write_until(packet.pts * found.timeline.base)
                packet.stream = copy
                output.mux(packet)
            if sound is not None:
                sound.finish()
    except (av.FFmpegError, ValueError) as error:
        raise NotCopyableError(f"{run.ext} does not take the packets") from error
    return file.getvalue()


@contextmanager
def _as_they_were(packets: Sequence[Packet[Any]], stream: VideoStream) -> Iterator[None]:
    """Put back what writing changes in packets of a stream, for they may be kept for other copies."""
    before = [(packet.pts, packet.dts, packet.duration) for packet in packets]
    base = stream.time_base
    try:
        yield
    finally:
        for packet, (pts, dts, duration) in zip(packets, before, strict=True):
            packet.pts, packet.dts, packet.duration, packet.stream = pts, dts, duration, stream
            if base is not None:
                packet.time_base = base


def require_same(payload: bytes, found: Probe, span: Span, limits: Limits) -> Probe:
    """Return the probe of a copy after comparing it with the span that it was made of.

    Raises:
        NotCopyableError: frames, their times, or how they are to be shown differ.
    """
    try:
        made = probe(payload, limits=limits)
    except MediaError as error:
        raise NotCopyableError(f"a copy of the packets is no sound video: {error}") from error
    old, new = found.media, made.media
    if new.num_frames != span.count or (new.width, new.height, new.rotation) != (old.width, old.height, old.rotation):
        raise NotCopyableError(f"a copy of the packets gives {new.num_frames} frames of {span.count}, or other ones")
    if made.first_pts != made.timeline.ticks[0]:
        raise NotCopyableError("a copy of the packets does not show its first frames")
    before = found.timeline.ticks[span.first : span.stop]
    wanted = (before - before[0]) * float(found.timeline.base)
    late = np.abs(made.timeline.ticks * float(made.timeline.base) - wanted).max()
    if late > TIME_SLACK:
        raise NotCopyableError(f"a copy of the packets is off by up to {late:.3f} s")
    return made


def _require_key(found: Probe, frame: int) -> None:
    """Raise where a frame is no key frame, naming the one before."""
    keys = found.media.keyframes
    place = bisect_right(keys, frame) - 1
    if place < 0:
        raise NotCopyableError("there is no key frame before the segment")
    if keys[place] != frame:
        gap = float(found.timeline.at(frame) - found.timeline.at(keys[place]))
        raise NotCopyableError(f"starts {gap:.3f} s after a key frame")


def _find(media: HeldMedia, found: Probe, run: Run) -> Iterator[Packet[VideoStream]]:
    """Yield the run's packets, seeking to them where that is exact and reading from the start where it is not."""
    number = -1
    for number, packet in _numbered(media, found, run.first):
        if number > run.last:
            return
        if number >= run.first:
            yield packet
    if number < run.last:
        raise MediaError(Reason.DAMAGED, f"reading again gives {number + 1} packets of {len(found.packets)}")


def _numbered(media: HeldMedia, found: Probe, wanted: int) -> Iterator[tuple[int, Packet[VideoStream]]]:
    """Yield packets with their numbers, from the one wanted or from an earlier one."""
    pts, dts = int(found.packets.pts[wanted]), int(found.packets.dts[wanted])
    sought = media.from_key(pts, dts) if wanted and NO_TIME not in {pts, dts} else None
    first = None if sought is None else next(sought, None)
    place = None if first is None else _number(found, first, wanted)
    if sought is None or first is None or place is None:
        yield from enumerate(packet for packet in media.from_start() if packet.size)
    else:
        yield from enumerate((packet for packet in chain([first], sought) if packet.size), place)


def _number(found: Probe, packet: Packet[VideoStream], most: int) -> int | None:
    """Return which packet this is, by its decode time, among the first ``most`` and the next; None: it is not clear."""
    if packet.dts is None:
        return None
    places = np.flatnonzero(found.packets.dts[: most + 1] == packet.dts)
    if len(places) != 1 or found.packets.size[places[0]] != packet.size:
        return None
    return int(places[0])
