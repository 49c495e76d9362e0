"""Frame times of a video in exact arithmetic, and which frames a segment of seconds takes."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shards.ledger import Reason
from tools.corpus.media_file import MediaError

END_SLACK: Final = Fraction(1, 2)
"""Seconds by which a segment may end after its video; more is an error in the table."""

_VFR_SHARE: Final = 0.1
_VFR_SECONDS: Final = 0.0025


@dataclass(frozen=True, slots=True)
class Span:
    """Frames ``first`` to ``stop - 1`` of a video; ``note`` says where this differs from what was asked for."""

    first: int
    stop: int
    note: str | None = None

    @property
    def count(self) -> int:
        """Return the number of frames."""
        return self.stop - self.first


@dataclass(frozen=True)
class Timeline:
    """When each frame of a video is shown: ``ticks`` of ``base`` seconds in order, and the tick at which it ends.

    Seconds count from the first frame. Frame i lasts until frame i + 1 begins, the last one until ``stop``.
    """

    ticks: NDArray[np.int64]
    stop: int
    base: Fraction

    def __len__(self) -> int:
        return len(self.ticks)

    def at(self, frame: int) -> Fraction:
        """Return the second at which a frame begins, or for ``frame == len(self)`` the video's end."""
        tick = self.stop if frame == len(self.ticks) else int(self.ticks[frame])
        return (tick - int(self.ticks[0])) * self.base

    def second_at(self, frame: int) -> float:
        """Return the second of ``at``, rounded to the nearest float."""
        tick = self.stop if frame == len(self.ticks) else int(self.ticks[frame])
        return (tick - int(self.ticks[0])) * self.base.numerator / self.base.denominator

    @cached_property
    def duration(self) -> Fraction:
        """Return the length in seconds."""
        return self.at(len(self))

    @cached_property
    def is_even(self) -> bool:
        """Return whether each frame begins as much after the one before as all others."""
        steps = np.diff(self.ticks)
        return not len(steps) or bool(steps.min() == steps.max())

    @property
    def is_vfr(self) -> bool:
        """Return whether frames are unevenly spaced, by more than a tenth and more than a container's rounding."""
        steps = np.diff(self.ticks)
        if len(steps) < 2:  # noqa: PLR2004  # one step cannot vary
            return False
        if steps.min() == steps.max():
            return False
        in_order, middle = np.sort(steps), len(steps) // 2
        median = (int(in_order[middle]) + int(in_order[-1 - middle])) / 2
        slack = max(_VFR_SHARE * median, _VFR_SECONDS / float(self.base))
        return bool(in_order[-1] - in_order[0] > slack)

    def span(self, start: float | None, end: float | None) -> Span:
        """Return the frames of the segment from ``start`` (None: 0) to ``end`` (None: the video's end) in seconds.

        The first frame is the one that begins nearest to ``start``, the stop the frame boundary nearest to ``end``;
        there is at least one frame.

        Raises:
            MediaError: a time is negative, the segment is empty, or it lies beyond the video's end; an end that is
                late by at most half a second is taken as the video's end.
        """
        begin = start or 0.0
        is_beyond = not self._ends_after(begin)
        finish, note = self._clipped(end)
        if begin < 0:
            raise MediaError(Reason.BAD_TIME, f"start {start:g} s is negative")
        if end is not None and end <= (start or 0):
            raise MediaError(Reason.BAD_SEGMENT, f"end {end:g} s is not after start {start or 0:g} s")
        if is_beyond:
            raise MediaError(
                Reason.OUT_OF_RANGE,
                f"start {begin:g} s lies beyond the video's {float(self.duration):.3f} s",
            )
        first = min(self._nearest(begin), len(self) - 1)
        return Span(first, max(first + 1, self._nearest(finish)), note)

    def _ends_after(self, seconds: float) -> bool:
        """Return whether the video's end is behind a time."""
        numerator, denominator = seconds.as_integer_ratio()
        return numerator * self.duration.denominator < self.duration.numerator * denominator

    def _clipped(self, end: float | None) -> tuple[float | Fraction, str | None]:
        """Return where the segment ends in this video, with a note where that is earlier than asked for."""
        if end is None or self._ends_after(end):
            return self.duration if end is None else end, None
        late = Fraction(end) - self.duration
        if late == 0:
            return end, None
        if late > END_SLACK:
            raise MediaError(
                Reason.OUT_OF_RANGE,
                f"end {end:g} s lies {float(late):.3f} s beyond the video's {float(self.duration):.3f} s",
            )
        return self.duration, f"end {end:g} s clipped to the video's {float(self.duration):.3f} s"

    def _nearest(self, seconds: float | Fraction) -> int:
        """Return the frame boundary (a frame's number, or the count for the video's end) nearest to a time."""
        numerator, denominator = seconds.as_integer_ratio()
        parts = denominator * self.base.numerator  # of a tick, in which the time is a whole number
        wanted = int(self.ticks[0]) * parts + numerator * self.base.denominator
        right = int(np.searchsorted(self.ticks, -(-wanted // parts)))
        if right == 0:
            return 0
        before, behind = int(self.ticks[right - 1]), self.stop if right == len(self) else int(self.ticks[right])
        return right - 1 if 2 * wanted <= (before + behind) * parts else right
