"""The packets of one source as a track's tables tell them, so that the tables of any run of them are soon cut out."""

from __future__ import annotations

import struct
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

_PAIR: Final = struct.Struct(">II")


@dataclass(frozen=True, eq=False)
class Samples:
    """All packets of a source, in decode order: times in ticks of ``base`` seconds, sizes in bytes."""

    base: Fraction
    pts: NDArray[np.int64]
    dts: NDArray[np.int64]
    durations: NDArray[np.int64]
    sizes: NDArray[np.int64]
    is_key: NDArray[np.bool_]
    _runs: dict[int, RunsOfTimes] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def steps(self) -> NDArray[np.int64]:
        """Return the ticks from each packet's turn to the next one's, of the last packet its duration."""
        return np.append(np.diff(self.dts), self.durations[-1:])

    @cached_property
    def late(self) -> NDArray[np.int64]:
        """Return for how many ticks each packet waits to be shown."""
        return self.pts - self.dts

    @cached_property
    def in_order(self) -> bool:
        """Return whether each packet lasts, has its turn behind the one before, and is not shown before its turn."""
        return bool(self.durations.min() > 0 and self.late.min() >= 0 and self.steps.min() > 0)

    @cached_property
    def longest(self) -> int:
        """Return for how many ticks a packet lasts, or waits to be shown, at most."""
        return int(max(self.steps.max(), self.late.max(), self.durations.max()))

    def runs(self, ticks: int) -> RunsOfTimes:
        """Return steps and delays as runs, where a tick of the source is so many of the track."""
        if ticks not in self._runs:
            self._runs[ticks] = RunsOfTimes(Runs.of(self.steps * ticks), Runs.of(self.late * ticks))
        return self._runs[ticks]

    @cached_property
    def lists(self) -> Lists:
        """Return columns as lists, of which single numbers are soon taken."""
        return Lists(
            dts=self.dts.tolist(),
            durations=self.durations.tolist(),
            late=self.late.tolist(),
            before=[0, *np.cumsum(self.sizes).tolist()],
            keys=np.flatnonzero(self.is_key).tolist(),
        )

    @cached_property
    def sizes_told(self) -> bytes:
        """Return the sizes in 4 bytes each."""
        return self.sizes.astype(">u4").tobytes()

    @cached_property
    def ends(self) -> NDArray[np.int64]:
        """Return the tick at which each packet was shown for its duration."""
        return self.pts + self.durations


@dataclass(frozen=True, slots=True)
class Lists:
    """Columns of ``Samples``; ``before`` are the bytes before each packet and in all, ``keys`` the key packets."""

    dts: list[int]
    durations: list[int]
    late: list[int]
    before: list[int]
    keys: list[int]


@dataclass(frozen=True, slots=True)
class Runs:
    """A column as runs of equal values: where each begins, its value, and length and value in 4 bytes each."""

    starts: list[int]
    values: list[int]
    told: bytes

    @classmethod
    def of(cls, column: NDArray[np.int64]) -> Self:
        """Return the runs of a column."""
        starts = np.flatnonzero(np.append(True, column[1:] != column[:-1]))
        values = column[starts]
        lengths = np.diff(np.append(starts, len(column)))
        return cls(starts.tolist(), values.tolist(), np.stack([lengths, values], 1).astype(">u4").tobytes())

    def between(self, first: int, last: int) -> bytes:
        """Return length and value of each run of the values ``first`` to ``last``."""
        begin, end = bisect_right(self.starts, first) - 1, bisect_right(self.starts, last) - 1
        if begin == end:
            return _PAIR.pack(last + 1 - first, self.values[end])
        return b"".join(
            [
                _PAIR.pack(self.starts[begin + 1] - first, self.values[begin]),
                self.told[_PAIR.size * (begin + 1) : _PAIR.size * end],
                _PAIR.pack(last + 1 - self.starts[end], self.values[end]),
            ]
        )


@dataclass(frozen=True, slots=True)
class RunsOfTimes:
    """How long packets last until the next one's turn, and how long they wait to be shown."""

    steps: Runs
    late: Runs


def with_one_more(runs: bytes, value: int) -> bytes:
    """Return runs, of which there may be none, with one more value behind them."""
    if runs:
        length, same = _PAIR.unpack(runs[-_PAIR.size :])
        if same == value:
            return runs[: -_PAIR.size] + _PAIR.pack(length + 1, value)
    return runs + _PAIR.pack(1, value)


def chunks_of(before: list[int], first: int, last: int, most: int) -> list[int]:
    """Return the first packet of each chunk of packets ``first`` to ``last``, which stay below ``most`` bytes.

    A packet of more has a chunk for itself.
    """
    firsts = [first]
    while True:
        full = bisect_left(before, before[firsts[-1]] + most, first + 1, last + 2) - 1
        following = max(firsts[-1] + 1, full)
        if following > last:
            return firsts
        firsts.append(following)
