"""How many ranges of a large object to fetch at a time: as many as have brought most, tried out now and then."""

from __future__ import annotations

import statistics
from collections import deque
from typing import Final

LARGE_BYTES: Final = 32 << 20
"""Smaller transfers are over before it matters."""

_KEPT: Final = 3
_TRY_EVERY: Final = 12


class StreamChoice:
    """Chooses between all streams, half of them and a quarter, by the rates that each has reached.

    A distant store gives each connection little, and many of them add up; a near one is quicker with few, which wake
    each other less often. All are tried once, then the best is taken, and every twelfth transfer tries one of the
    others again, in turn. All calls come from one thread.
    """

    def __init__(self) -> None:
        self._rates: dict[int, deque[float]] = {}
        self._made = 0

    def choose(self, most: int) -> int:
        """Return how many streams the next transfer takes, ``most`` at most."""
        counts = sorted({most, max(1, most // 2), max(1, most // 4)}, reverse=True)
        untried = [count for count in counts if count not in self._rates]
        if untried:
            return untried[0]
        self._made += 1
        if self._made % _TRY_EVERY == 0:
            return counts[self._made // _TRY_EVERY % len(counts)]
        return max(counts, key=lambda count: statistics.median(self._rates[count]))

    def note(self, streams: int, rate: float) -> None:
        """Remember what a transfer reached with so many streams, in bytes a second."""
        self._rates.setdefault(streams, deque(maxlen=_KEPT)).append(rate)
