"""Which frames of a segment a clip takes, and when each is shown: all at their own times, or fewer at an even rate."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Final

from tools.corpus.timeline import Span, Timeline

_RATE_SLACK: Final = Fraction(1001, 1000)
"""A source this little above the rate asked for keeps all its frames: 30 is near enough to 29.97."""


@dataclass(frozen=True, slots=True)
class Slot:
    """Frame ``frame`` of a segment, from 0, shown from ``tick`` on for ``duration`` ticks."""

    frame: int
    tick: int
    duration: int


@dataclass(frozen=True, slots=True)
class Pace:
    """The frames of a clip in order, in ticks of ``base`` seconds from its beginning."""

    base: Fraction
    slots: tuple[Slot, ...]


def pace(timeline: Timeline, span: Span, fps: float | None) -> Pace:
    """Return the frames that a clip takes of a span.

    Without ``fps``, or where the video's mean rate is no higher, they are all taken, at their own times. Otherwise the
    clip has round(seconds * fps) instants, 1 / fps seconds apart from 0 on, and each shows the frame that the video
    shows then; a frame that stands for several instants is stored once and shown for longer.
    """
    if fps is None or len(timeline) <= timeline.duration * Fraction(str(fps)) * _RATE_SLACK:
        bounds = [*timeline.ticks[span.first : span.stop + 1].tolist()]
        if span.stop == len(timeline):
            bounds.append(timeline.stop)
        slots = (Slot(n, a - bounds[0], b - a) for n, (a, b) in enumerate(pairwise(bounds)))
        return Pace(timeline.base, tuple(slots))
    rate = Fraction(str(fps))
    count = max(1, round((timeline.at(span.stop) - timeline.at(span.first)) * rate))
    begins = _shown(timeline, span, [Fraction(instant) / rate for instant in range(count)])
    changes = [instant for instant in range(count) if instant == 0 or begins[instant] != begins[instant - 1]]
    slots = (Slot(begins[at], at, until - at) for at, until in pairwise([*changes, count]))
    return Pace(1 / rate, tuple(slots))


def _shown(timeline: Timeline, span: Span, instants: list[Fraction]) -> list[int]:
    """Return which frame of the span is shown at each instant, in rising seconds from the span's first."""
    begin, frame = timeline.at(span.first), 0
    shown = []
    for instant in instants:
        while span.first + frame + 1 < span.stop and timeline.at(span.first + frame + 1) <= begin + instant:
            frame += 1
        shown.append(frame)
    return shown
