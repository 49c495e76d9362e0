"""What a video file holds, found without decoding it: streams, frame times, key frames, and whether it is whole."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from shards.ledger import Reason
from shards.record import Media
from tools.corpus.container import MP4_KIN, IsoFile, stated_bytes, stated_sizes, true_extension
from tools.corpus.display import turn_of
from tools.corpus.held_media import HeldMedia
from tools.corpus.image import SECONDS, Picture, is_picture, look_at
from tools.corpus.media_facts import Facts, media_record
from tools.corpus.media_file import Limits, MediaError, Source, check_size, named_errors
from tools.corpus.packet_table import NO_TIME, Packets
from tools.corpus.timeline import Timeline
from tools.corpus.walk import Walk, promised_seconds, start_second, walk_packets

__all__ = ["NO_TIME", "Limits", "MediaError", "Packets", "Probe", "probe"]

_MOST_STEP_BACK: Final = 0.5
"""Seconds by which decode times may go back; a little is a careless writer, more are two recordings in one file."""


@dataclass(frozen=True)
class Probe:
    """What a probe found: the media facts, the container's true extension (None: not one that we store), the packets.

    ``untimed`` says in words why a frame's time cannot be told from its packet, so that frames must be counted from
    the start instead; ``header_fault`` says what the container's header states falsely. None: all is well.
    ``first_pts`` is the time in ticks that the decoder gives its first frame, where it gives one. ``aspect`` is
    a pixel's width by its height; ``mirrored`` says that players show the stored pictures mirrored left to right and
    then turned. ``changes_size`` says that not all pictures have one size. ``picture`` is there for a still picture.
    ``config`` is the decoder's configuration record of H.264, where no parameter sets stand elsewhere.
    """

    media: Media
    container: str | None
    packets: Packets
    timeline: Timeline
    untimed: str | None
    header_fault: str | None
    first_pts: int | None
    aspect: Fraction = Fraction(1)
    mirrored: bool = False
    changes_size: bool = False
    picture: Picture | None = None
    config: bytes | None = None


def probe(source: Source | HeldMedia, *, limits: Limits | None = None) -> Probe:
    """Read every packet of a source once, look into them, and decode the first frame only.

    A source that is held open stays so, for others to read on.

    Raises:
        MediaError: the source is no sound video within the limits; its ``reason`` says why.
    """
    bounds = limits or Limits()
    if isinstance(source, HeldMedia):
        return _probe_held(source, bounds)
    with HeldMedia(source, bounds) as media:
        return _probe_held(media, bounds)


def _probe_held(media: HeldMedia, bounds: Limits) -> Probe:
    source = media.source
    check_size(source, bounds)
    file = media.file
    if is_picture(source if file is None else file.data):
        return _probe_picture(source, bounds)
    with named_errors():
        walk = walk_packets(media, bounds)
        container, stream = walk.opened.container, walk.opened.stream
        extension = true_extension(container.format.name, media.kept.file or source)
        _require_whole(container, stream, walk, extension)
        _require_bytes(container, extension, walk.opened.file or source)  # the file, which spares reading it again
        timeline, untimed = _timeline(stream, walk, extension)
        frame = walk.first.get()
        has_audio = bool(container.streams.audio)
        codec = stream.codec_context.codec.canonical_name
        profile = stream.codec_context.profile
        shape = stream.codec_context.sample_aspect_ratio if walk.opened.unseen else None
        aspect = stream.sample_aspect_ratio or shape or Fraction(1)
    if timeline.duration > bounds.max_seconds:
        raise MediaError(
            Reason.TOO_LARGE,
            f"the video lasts {float(timeline.duration):.0f} s; taken are at most {bounds.max_seconds:g}",
        )
    if untimed is None:
        media.begins_with(walk.packets.first, extension)
    turn = turn_of(frame)
    facts = media_record(Facts(walk.packets, timeline, frame, turn, codec, profile, extension, has_audio))
    header_fault = _header_fault(walk.opened.file or source, extension, frame)
    return Probe(
        media=facts,
        container=extension,
        packets=walk.packets,
        timeline=timeline,
        untimed=untimed,
        header_fault=header_fault,
        first_pts=frame.pts,
        aspect=aspect,
        mirrored=turn.mirrored,
        changes_size=walk.changes_size,
        config=walk.config,
    )


def _probe_picture(source: Source, limits: Limits) -> Probe:
    picture = look_at(source, limits)
    zero, yes = np.zeros(1, np.int64), np.ones(1, np.bool_)
    packets = Packets(pts=zero, dts=zero, size=zero, is_key=yes, is_shown=yes)
    timeline = Timeline(zero, 1, SECONDS)
    return Probe(picture.media, picture.ext, packets, timeline, None, None, 0, picture=picture)


def _require_whole(container: InputContainer, stream: VideoStream, walk: Walk, extension: str | None) -> None:
    """Raise where there are no frames, or fewer than the header promises."""
    count = len(walk.packets)
    indexed = len(stream.index_entries) if extension in MP4_KIN else 0
    if not walk.packets.is_shown.any():
        promised = f", the index lists {indexed}" if indexed else ""
        raise MediaError(Reason.NO_FRAMES, f"the file holds no video frame{promised}")
    if count < indexed:
        raise MediaError(Reason.TRUNCATED, f"the index lists {indexed} video packets, the file holds {count}")
    # Matroska's duration counts from time 0 (RFC 9559, 5.1.2.10), the others' from the first packet.
    begin = 0.0 if extension in {"mkv", "webm"} else start_second(container)
    held = walk.end - begin
    said = promised_seconds(container, held)
    if said is not None:
        raise MediaError(Reason.TRUNCATED, f"the header says {said:.3f} s, the packets end after {held:.3f} s")


def _require_bytes(container: InputContainer, extension: str | None, source: Source | IsoFile) -> None:
    """Raise where the file is shorter than its container says."""
    stated = stated_bytes(extension, source)
    if stated is not None and stated > container.size > 0:
        raise MediaError(
            Reason.TRUNCATED, f"the container says it has {stated} bytes or more, the file has {container.size}"
        )


def _timeline(stream: VideoStream, walk: Walk, extension: str | None) -> tuple[Timeline, str | None]:
    """Return the frame times, and why they cannot be told from the packets, or None."""
    packets = walk.packets
    pts = packets.pts_shown
    base = stream.time_base or Fraction(1, 1_000_000)
    if walk.is_plain:
        return Timeline(pts, int(pts[-1]) + walk.last_duration, base), None
    if pts[0] == NO_TIME:
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        count = int(packets.is_shown.sum())
        return Timeline(np.arange(count, dtype=np.int64), count, 1 / rate), "it has no time stamps"
    _require_one_recording(packets, base)
    last = walk.last_duration
    if last <= 0:
        mean = (int(pts[-1]) - int(pts[0])) / max(1, len(pts) - 1)
        rate = stream.average_rate or Fraction(25)
        last = max(1, round(mean if len(pts) > 1 else 1 / (rate * base)))
    untimed = None
    if (np.diff(pts) == 0).any():
        untimed = "several frames have the same time"
    elif extension == "avi" and (np.diff(packets.pts[packets.is_shown]) < 0).any():
        untimed = "AVI keeps no times for frames that are stored out of order"
    return Timeline(_strictly_rising(pts), max(int(pts[-1]) + last, int(pts[-1]) + 1), base), untimed


def _require_one_recording(packets: Packets, base: Fraction) -> None:
    """Raise where the clock is set back within the file: a time would then name two frames."""
    dts = packets.dts[packets.dts != NO_TIME]
    back = np.maximum.accumulate(dts) - dts
    most = float(back.max(initial=0) * base)
    if most > _MOST_STEP_BACK:
        raise MediaError(Reason.UNSUPPORTED, f"its time stamps go back by {most:.3f} s; cut the file in two there")


def _strictly_rising(ticks: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the ticks with equal neighbours moved on by one tick each."""
    steps = np.arange(len(ticks), dtype=np.int64)
    return np.maximum.accumulate(ticks - steps) + steps


def _header_fault(source: Source | IsoFile, extension: str | None, frame: VideoFrame) -> str | None:
    """Return in words how the container's header contradicts the first picture, or None.

    A coded picture may be larger than the shown one by what its blocks add, so only grossly different sizes count.
    """
    if extension not in MP4_KIN:
        return None
    sizes = [size for size in stated_sizes(source) if all(size)]
    for width, height in sizes:
        if width < 2 * frame.width and height < 2 * frame.height:
            return None
    if not sizes:
        return None
    width, height = sizes[0]
    return f"the header says {width}x{height}, the pictures are {frame.width}x{frame.height}"
