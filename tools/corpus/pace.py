"""Which frames of a segment a clip takes, and when each is shown: all at their own times, or fewer at an even rate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tools.corpus.timeline import Span, Timeline

_RATE_SLACK: Final = Fraction(1001, 1000)
"""A source this little above the rate asked for keeps all its frames: 30 is near enough to 29.97."""


@dataclass(frozen=True, slots=True)
class Slot:
    """Frame ``frame`` of a segment, from 0, shown from ``tick`` on for ``duration`` ticks."""

    frame: int
    tick: int
    duration: int


@dataclass(frozen=True, eq=False)
class Pace:
    """The frames of a clip in order, one array entry each, in ticks of ``base`` seconds from its beginning.

    ``frames`` counts from the segment's first; ``bounds`` has one entry more: when each frame begins, and the end.
    """

    base: Fraction
    frames: NDArray[np.int64]
    bounds: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def slots(self) -> Iterator[Slot]:
        """Yield the frames one after the other."""
        for frame, (tick, after) in zip(self.frames, pairwise(self.bounds), strict=True):
            yield Slot(int(frame), int(tick), int(after - tick))


def pace(timeline: Timeline, span: Span, fps: float | None) -> Pace:
    """Return the frames that a clip takes of a span.

    Without ``fps``, or where the video's mean rate is no higher, they are all taken, at their own times. Otherwise the
    clip has round(seconds * fps) instants, 1 / fps seconds apart from 0 on, and each shows the frame that the video
    shows then; a frame that stands for several instants is stored once and shown for longer.
    """
    bounds = timeline.ticks[span.first : span.stop + 1]
    if span.stop == len(timeline):
        bounds = np.append(bounds, timeline.stop)
    bounds = bounds - bounds[0]
    if fps is None or len(timeline) <= timeline.duration * Fraction(str(fps)) * _RATE_SLACK:
        return Pace(timeline.base, np.arange(span.count), bounds)
    rate = Fraction(str(fps))
    step = 1 / rate / timeline.base
    count = max(1, round(int(bounds[-1]) / step))
    instants = np.array([instant * step.numerator // step.denominator for instant in range(count)], np.int64)
    shown = np.searchsorted(bounds[:-1], instants, side="right") - 1
    changes = np.flatnonzero(np.diff(shown, prepend=-1))
    return Pace(1 / rate, shown[changes], np.append(changes, count))
