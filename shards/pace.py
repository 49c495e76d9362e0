"""How long a store usually takes to answer, and from that when an answer is late and when it is given up."""

from __future__ import annotations

import statistics
from collections import deque
from typing import Final

_REMEMBERED: Final = 64
_ENOUGH: Final = 8
"""So many times are needed before they say anything."""

_UNKNOWN_SECONDS: Final = 3.0
_SHORTEST_SECONDS: Final = 0.2
"""Less than this is the jitter of busy machines, not a straggler."""

_TIMES_MEDIAN: Final = 6.0
_TIMES_LATE: Final = 10.0
_LEAST_PATIENCE: Final = 5.0
_HEDGE_SHARE: Final = 0.05
_MOST_HEDGES_SAVED: Final = 8.0


class Pace:
    """Learns from the answers of one store; all calls come from one thread.

    An answer is late after six times the median of the last ones, and a second request may then be sent for it (Dean
    and Barroso, "The Tail at Scale", CACM 56(2), 2013). Second requests are at most 5 % of all, with a few saved up, so
    that a store that is slow as a whole is not asked twice for everything. A silent transfer is given up after ten
    times as long, at least 5 s, and twice as long after each failure.

    Args:
        most_seconds: upper bound of all times.
    """

    def __init__(self, most_seconds: float) -> None:
        self._most = most_seconds
        self._first: deque[float] = deque(maxlen=_REMEMBERED)
        self._next: deque[float] = deque(maxlen=_REMEMBERED)
        self._medians: dict[bool, float] = {}
        self._saved = _MOST_HEDGES_SAVED

    def note(self, seconds: float, *, first: bool) -> None:
        """Remember how long a piece took; the ``first`` piece of an answer has the request before it."""
        (self._first if first else self._next).append(seconds)
        self._medians.pop(first, None)
        if first:
            self._saved = min(self._saved + _HEDGE_SHARE, _MOST_HEDGES_SAVED)

    def late_after(self, *, first: bool) -> float:
        """Return after how many seconds a piece is late."""
        times = self._first if first else self._next
        if first not in self._medians and len(times) >= _ENOUGH:
            self._medians[first] = statistics.median(times)
        usual = _TIMES_MEDIAN * self._medians[first] if first in self._medians else _UNKNOWN_SECONDS
        return min(max(usual, _SHORTEST_SECONDS), self._most / 2)

    def silent_after(self, failures: int, *, first: bool) -> float:
        """Return after how many seconds a transfer is given up that has failed so often without a byte between."""
        patience = max(_TIMES_LATE * self.late_after(first=first), _LEAST_PATIENCE) * 2.0**failures
        return min(patience, self._most)

    def take_hedge(self) -> bool:
        """Tell whether a second request may be sent now, and count it."""
        if self._saved < 1:
            return False
        self._saved -= 1
        return True
