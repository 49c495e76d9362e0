"""One clip on its way from decoded frames to an encoded file: deinterlaced, at its rate, converted, with its sound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from av.video.frame import VideoFrame

from shards.ledger import Reason
from tools.corpus.audio import Sound
from tools.corpus.cut_settings import DEFAULT_SHORT_SIDE, CutSettings
from tools.corpus.deinterlace import Deinterlacer
from tools.corpus.encode import RECIPES, Encoder, Form, Recipe
from tools.corpus.geometry import Geometry, counted_aspect, fit
from tools.corpus.media_file import Limits, MediaError, Source
from tools.corpus.pace import Pace, pace
from tools.corpus.piece import Piece
from tools.corpus.probe import Probe, probe
from tools.corpus.timeline import Span


@dataclass(frozen=True, slots=True)
class ClipPlan:
    """What a clip is made of and to: frames ``span`` of the source; ``notes`` say why it is encoded and how."""

    span: Span
    pace: Pace
    recipe: Recipe
    geometry: Geometry
    aspect: Fraction
    notes: tuple[str, ...]
    limits: Limits


def plan_clip(found: Probe, span: Span, settings: CutSettings, why: str) -> ClipPlan:
    """Return how a span is encoded; ``why`` is the first of its notes.

    Preset copy keeps size, pixel aspect and frames; the others make pixels square, bound the shorter side, and take
    fewer frames where a rate is set.

    Raises:
        MediaError: the pictures would be too large.
    """
    media, keeps = found.media, settings.preset == "copy"
    side = None if keeps else settings.short_side or DEFAULT_SHORT_SIDE
    aspect = counted_aspect(found.aspect)
    geometry = fit(media.width, media.height, media.rotation, side, Fraction(1) if keeps else aspect)
    geometry = replace(geometry, mirrored=found.mirrored)
    settings.limits.check_picture(*geometry.shown)
    taken = pace(found.timeline, span, settings.fps)
    notes = [why]
    if not keeps and aspect != 1:
        notes.append(f"pixels of {aspect.numerator}:{aspect.denominator} made square")
    if len(taken) < span.count:
        notes.append(f"{len(taken)} of {span.count} frames taken for {settings.fps:g} a second")
    stored = aspect if keeps else Fraction(1)
    return ClipPlan(
        span=span,
        pace=taken,
        recipe=RECIPES[settings.preset],
        geometry=geometry,
        aspect=1 / stored if media.rotation in {90, 270} else stored,
        notes=tuple(notes),
        limits=settings.limits,
    )


class ClipEncoder:
    """Makes one clip of the decoded frames of its span, given one after the other; end with ``finish`` or ``close``.

    The clip's bytes depend on these frames and the plan alone, not on what else is made of the same source.
    """

    def __init__(self, source: Source, found: Probe, plan: ClipPlan, *, audio: bool = False) -> None:
        self.span = plan.span
        self._found, self._plan = found, plan
        self._slots = plan.pace.slots
        self._slot = next(self._slots, None)
        self._seen = 0
        self._deinterlacer = Deinterlacer()
        sound = sound_of(source, found, plan.span, plan.recipe.ext, plan.limits) if audio else None
        self._encoder = Encoder(Form(plan.recipe, plan.geometry, plan.pace.base, plan.aspect), sound)

    def push(self, frame: VideoFrame) -> None:
        """Take the next frame of the span.

        Raises:
            MediaError: the encoder fails, or the sound cannot be had.
        """
        self._write(self._deinterlacer.push(frame))

    def finish(self) -> Piece:
        """Return the clip, after all frames of the span were given.

        Raises:
            MediaError: the encoder or its output is not what it should be.
        """
        self._write(self._deinterlacer.finish())
        payload = self._encoder.finish()
        made = probe(payload, limits=self._plan.limits).media
        wanted = len(self._plan.pace)
        if made.num_frames != wanted:
            codec = self._plan.recipe.codec
            raise MediaError(Reason.ENCODE_ERROR, f"{codec} made {made.num_frames} frames of {wanted}")
        line, span = self._found.timeline, self.span
        return Piece(
            payload=payload,
            ext=self._plan.recipe.ext,
            media=made,
            pts_start=float(line.at(span.first)),
            pts_end=float(line.at(span.stop)),
            cut="encoded",
            cut_reason="; ".join(self._notes()),
        )

    def close(self) -> None:
        """Give the clip up."""
        self._encoder.close()

    def _write(self, frames: Sequence[VideoFrame]) -> None:
        for frame in frames:
            slot = self._slot
            if slot is not None and slot.frame == self._seen:
                self._encoder.write(frame, slot.tick, slot.duration)
                self._slot = next(self._slots, None)
            self._seen += 1

    def _notes(self) -> list[str]:
        notes = [*self._plan.notes, *self._encoder.notes]
        if self._deinterlacer.is_used:
            notes.append("deinterlaced")
        return notes if self.span.note is None else [*notes, self.span.note]


def sound_of(source: Source, found: Probe, span: Span, ext: str, limits: Limits) -> Sound | None:
    """Return the sound of a span for a clip's container, or None where the source has none."""
    if not found.media.has_audio:
        return None
    line = found.timeline
    begin = int(line.ticks[0]) * line.base + line.at(span.first)
    return Sound(source, begin, line.at(span.stop) - line.at(span.first), ext, limits)
