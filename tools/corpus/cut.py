"""Cut a video into the segments that a table asks for: by copying where that is exact, by encoding where it is not."""

from __future__ import annotations

from collections.abc import Sequence

from tools.corpus.clip_encoder import ClipEncoder, plan_clip, sound_of
from tools.corpus.copy_proof import proven_media
from tools.corpus.cut_settings import CutSettings
from tools.corpus.frames import decode_span
from tools.corpus.held_media import HeldMedia
from tools.corpus.image_clip import cut_picture
from tools.corpus.media_file import MediaError, Source, source_bytes
from tools.corpus.piece import Piece
from tools.corpus.probe import Probe, probe
from tools.corpus.remux import NotCopyableError, copy_packets, packet_run, require_same
from tools.corpus.timeline import Span

__all__ = ["ClipEncoder", "CutSettings", "MediaError", "Piece", "begin_clip", "cut_segment", "cut_video"]

Segment = tuple[float | None, float | None]
"""Start and end in seconds from the video's first frame; None: the video's own."""


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
    end. A whole video in preset copy keeps its own bytes, audio too; other clips have audio where the settings say so.
    The same source, segment and settings give the same bytes.

    Raises:
        MediaError: the segment cannot be had.
    """
    begun = begin_clip(source, found, found.timeline.span(*segment), settings)
    if isinstance(begun, Piece):
        return begun
    try:
        for frame in decode_span(source, found, begun.span, settings.limits):
            begun.push(frame)
        return begun.finish()
    finally:
        begun.close()


def begin_clip(source: Source, found: Probe, span: Span, settings: CutSettings) -> Piece | ClipEncoder:
    """Return the clip of a span where no frame need be decoded for it, else an encoder that waits for its frames.

    ``decode_spans`` gives the frames of several such encoders in one pass over the source.

    Raises:
        MediaError: the span cannot be had.
    """
    kept = clip_as_it_is(source, found, span, settings)
    return kept if isinstance(kept, Piece) else encoder(source, found, span, settings, kept)


def clip_as_it_is(source: Source | HeldMedia, found: Probe, span: Span, settings: CutSettings) -> Piece | str:
    """Return the clip of a span made of the source's own bytes or packets; else why it has to be encoded.

    Where several spans are wanted, the source is given held open.

    Raises:
        MediaError: the span cannot be had.
    """
    file = source.source if isinstance(source, HeldMedia) else source
    if found.picture is not None:
        return cut_picture(file, found.picture, settings)
    if settings.preset != "copy":
        return f"preset {settings.preset}"
    if stays_as_it_is(found, span, settings):
        return _verbatim(file, found, span)
    try:
        return _copy(source, found, span, settings)
    except NotCopyableError as error:
        return str(error)


def stays_as_it_is(found: Probe, span: Span, settings: CutSettings) -> bool:
    """Tell whether the clip of a span is its whole file, byte for byte."""
    is_whole = span.count == len(found.timeline)
    is_odd = found.untimed or found.header_fault or found.mirrored or found.changes_size
    return settings.preset == "copy" and is_whole and found.container is not None and not is_odd


def encoder(source: Source, found: Probe, span: Span, settings: CutSettings, why: str) -> ClipEncoder:
    """Return an encoder that waits for the frames of a span; ``why`` says in the record why the clip is encoded.

    Raises:
        MediaError: the pictures would be too large.
    """
    return ClipEncoder(source, found, plan_clip(found, span, settings, why), audio=settings.audio)


def _verbatim(source: Source, found: Probe, span: Span) -> Piece:
    assert found.container is not None, "only containers that shards hold"
    return Piece(
        payload=source_bytes(source),
        ext=found.container,
        media=found.media,
        pts_start=float(found.timeline.at(span.first)),
        pts_end=float(found.timeline.at(span.stop)),
        cut="verbatim",
        cut_reason=span.note,
    )


def _copy(source: Source | HeldMedia, found: Probe, span: Span, settings: CutSettings) -> Piece:
    run = packet_run(found, span)
    file = source.source if isinstance(source, HeldMedia) else source
    sound = sound_of(file, found, span, run.ext, settings.limits) if settings.audio else None
    payload = copy_packets(source, found, run, settings.limits, sound)
    proven = None if sound else proven_media(payload, found, run, span)
    media = proven or require_same(payload, found, span, settings.limits).media
    notes = [span.note]
    if span.count == len(found.timeline):
        notes.insert(0, found.header_fault or "the source's container is not one that shards hold")
    return Piece(
        payload=payload,
        ext=run.ext,
        media=media,
        pts_start=found.timeline.second_at(span.first),
        pts_end=found.timeline.second_at(span.stop),
        cut="packets",
        cut_reason="; ".join(note for note in notes if note) or None,
    )
