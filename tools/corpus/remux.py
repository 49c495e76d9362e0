"""Cut a segment without loss by copying its packets into a new container, where the packets allow it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream

from shards.ledger import Reason
from tools.corpus.audio import Sound
from tools.corpus.frames import starts_clean
from tools.corpus.media_file import Limits, MediaError, Source, open_media, video_stream
from tools.corpus.probe import NO_TIME, Probe, probe
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

_TIME_SLACK: Final = 0.002
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
    if codec not in _CONTAINERS:
        raise NotCopyableError(f"{codec} is cut by encoding only")
    _require_key(found, span.first)
    packets = found.packets
    wanted = packets.shown[span.first : span.stop]
    first, last = int(wanted[0]), int(wanted.max())
    inside = slice(first, last + 1)
    others = int(packets.is_shown[inside].sum()) - span.count
    if int(wanted.min()) < first or others:
        raise NotCopyableError("frames of the segment are stored among others")
    if codec != _HIDDEN and not packets.is_shown[inside].all():
        raise NotCopyableError("the container leaves out some of its frames")
    if (packets.dts[inside] == NO_TIME).any() and (np.diff(packets.pts[inside]) < 0).any():
        raise NotCopyableError("packets have no decode times")
    if not starts_clean(found, first):
        raise NotCopyableError("H.264 4:4:4 may need its first packet to decode")
    return Run(first, last, int(packets.pts[first]), _CONTAINERS[codec])


def copy_packets(source: Source, found: Probe, run: Run, limits: Limits, sound: Sound | None = None) -> bytes:
    """Return a file that holds a run of packets, its times from 0 on, with the sound that is given.

    Raises:
        NotCopyableError: the container refuses the packets.
        MediaError: the source cannot be read.
    """
    file = io.BytesIO()
    with open_media(source, limits) as container:
        stream = video_stream(container, limits)
        chosen = list(_find(container, stream, found, run))
        try:
            with av.open(file, "w", format=run.ext, options={"fflags": "+bitexact"}) as output:
                copy = output.add_stream_from_template(stream, opaque=True)
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
    if late > _TIME_SLACK:
        raise NotCopyableError(f"a copy of the packets is off by up to {late:.3f} s")
    return made


def _require_key(found: Probe, frame: int) -> None:
    """Raise where a frame is no key frame, naming the one before."""
    keys = [key for key in found.media.keyframes if key <= frame]
    if not keys:
        raise NotCopyableError("there is no key frame before the segment")
    if keys[-1] != frame:
        gap = float(found.timeline.at(frame) - found.timeline.at(keys[-1]))
        raise NotCopyableError(f"starts {gap:.3f} s after a key frame")


def _find(container: InputContainer, stream: Stream, found: Probe, run: Run) -> Iterator[Packet[Stream]]:
    """Yield the run's packets, seeking to them where that is exact and reading from the start where it is not."""
    dts = int(found.packets.dts[run.first])
    number = 0
    if run.first and dts != NO_TIME:
        container.seek(dts, stream=stream)
        number = -1
    for packet in container.demux(stream):
        if not packet.size:
            continue
        if number < 0:
            number = _number(found, packet, run.first)
        if number > run.last:
            return
        if number >= run.first:
            yield packet
        number += 1
    if number <= run.last:
        raise MediaError(Reason.DAMAGED, f"reading again gives {number} packets of {len(found.packets)}")


def _number(found: Probe, packet: Packet[Stream], most: int) -> int:
    """Return which packet this is, by its decode time, among the first ``most`` and the next."""
    if packet.dts is None:
        raise NotCopyableError("packets have no decode times to find them by")
    places = np.flatnonzero(found.packets.dts[: most + 1] == packet.dts)
    if len(places) != 1 or found.packets.size[places[0]] != packet.size:
        raise NotCopyableError("the container cannot seek to the segment")
    return int(places[0])
