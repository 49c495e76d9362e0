"""Cut a video into the segments that a table asks for: by copying where that is exact, by encoding where it is not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from shards.ledger import Reason
from shards.record import Cut, Media
from tools.corpus.encode import RECIPES, RecipeName, encode_frames, fit
from tools.corpus.frames import decode_span
from tools.corpus.media_file import Limits, MediaError, Source, source_bytes
from tools.corpus.probe import Probe, probe
from tools.corpus.remux import NotCopyableError, copy_packets, packet_run, require_same
from tools.corpus.timeline import Span

__all__ = ["CutSettings", "MediaError", "Piece", "cut_segment", "cut_video"]

Segment = tuple[float | None, float | None]
"""Start and end in seconds from the video's first frame; None: the video's own."""

DEFAULT_SHORT_SIDE: Final = 256
_LEAST_SIDE: Final = 16


@dataclass(frozen=True, slots=True)
class CutSettings:
    """How clips are made.

    ``preset`` copy keeps the source's bytes or packets wherever they hold exactly the segment; the others encode every
    clip: train (H.264, a key frame every 16 frames, quick to decode), intra (H.264, key frames only), vp9, mjpeg.
    ``short_side`` is the encoded picture's shorter side in pixels (None: 256); pictures are never enlarged.

    Raises:
        ValueError: the preset is unknown, or the short side does not suit.
    """

    preset: RecipeName = "copy"
    short_side: int | None = None
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if self.preset not in RECIPES:
            raise ValueError(f"preset {self.preset!r} is unknown; taken are {', '.join(RECIPES)}")
        if self.short_side is None:
            return
        if self.preset == "copy":
            raise ValueError("preset copy keeps the pictures as they are; a short side needs a preset that encodes")
        if self.short_side < _LEAST_SIDE or self.short_side % 2:
            raise ValueError(f"short side {self.short_side} pixels; take an even number from {_LEAST_SIDE} on")


@dataclass(frozen=True, slots=True)
class Piece:
    """One clip: its file, the container's extension, what a probe says of it, and where it lies in the source.

    ``pts_start`` and ``pts_end`` are seconds from the source's first frame; ``cut_reason`` says why the clip is no
    plain copy or where its times differ from the request.
    """

    payload: bytes
    ext: str
    media: Media
    pts_start: float
    pts_end: float
    cut: Cut
    cut_reason: str | None


def cut_video(
    source: Source,
    segments: Sequence[Segment],
    settings: CutSettings | None = None,
) -> list[Piece | MediaError]:
    """Cut a source into clips, one for each segment in their order; a segment that cannot be had gives its error.

    The source is probed once. All clips are held in memory; where they may be many, call ``cut_segment`` for each.

    Raises:
        MediaError: the whole source cannot be used.
    """
    taken = settings or CutSettings()
    found = probe(source, limits=taken.limits)

    def cut(segment: Segment) -> Piece | MediaError:
        try:
            return cut_segment(source, found, segment, taken)
        except MediaError as error:
            return error

    return [cut(segment) for segment in segments]


def cut_segment(source: Source, found: Probe, segment: Segment, settings: CutSettings) -> Piece:
    """Cut one segment out of a source, of which ``found`` is the probe.

    Frames are whole: a segment starts at the frame nearest to its start and ends at the frame boundary nearest to its
    end. A whole video in preset copy keeps its own bytes, audio too; every other clip has no audio. The same source,
    segment and settings give the same bytes.

    Raises:
        MediaError: the segment cannot be had.
    """
    span = found.timeline.span(*segment)
    if settings.preset != "copy":
        side = settings.short_side or DEFAULT_SHORT_SIDE
        return _encode(
            source, found, span, _Encoding(settings.preset, side, f"preset {settings.preset}", settings.limits)
        )
    if span.count == len(found.timeline) and found.container and not (found.untimed or found.header_fault):
        return _piece(found, span, _Made(source_bytes(source), found.container, found.media, "verbatim", None))
    try:
        return _copy(source, found, span, settings.limits)
    except NotCopyableError as error:
        return _encode(source, found, span, _Encoding("copy", None, str(error), settings.limits))


@dataclass(frozen=True, slots=True)
class _Made:
    """A finished clip before its place in the source is added."""

    payload: bytes
    ext: str
    media: Media
    cut: Cut
    reason: str | None


@dataclass(frozen=True, slots=True)
class _Encoding:
    """How and why to encode a clip; ``short_side`` None keeps the source's size."""

    preset: RecipeName
    short_side: int | None
    reason: str
    limits: Limits


def _copy(source: Source, found: Probe, span: Span, limits: Limits) -> Piece:
    run = packet_run(found, span)
    payload = copy_packets(source, found, run, limits)
    media = require_same(payload, found, span, limits).media
    reason = None
    if span.count == len(found.timeline):
        reason = found.header_fault or "the source's container is not one that shards hold"
    return _piece(found, span, _Made(payload, run.ext, media, "packets", reason))


def _encode(source: Source, found: Probe, span: Span, how: _Encoding) -> Piece:
    recipe = RECIPES[how.preset]
    media = found.media
    geometry = fit(media.width, media.height, media.rotation, how.short_side)
    frames = decode_span(source, found, span, how.limits)
    payload = encode_frames(frames, found.timeline, span, geometry, recipe)
    made = probe(payload, limits=how.limits).media
    if made.num_frames != span.count:
        raise MediaError(Reason.ENCODE_ERROR, f"{recipe.codec} made {made.num_frames} frames of {span.count}")
    return _piece(found, span, _Made(payload, recipe.ext, made, "encoded", how.reason))


def _piece(found: Probe, span: Span, made: _Made) -> Piece:
    notes = [note for note in (made.reason, span.note) if note]
    return Piece(
        payload=made.payload,
        ext=made.ext,
        media=made.media,
        pts_start=float(found.timeline.at(span.first)),
        pts_end=float(found.timeline.at(span.stop)),
        cut=made.cut,
        cut_reason="; ".join(notes) or None,
    )
