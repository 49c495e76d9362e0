"""The rows with the smallest and largest numbers of a column, a few of each, whatever the rows come in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from tools.statistics.hashing import Hashes
from tools.statistics.spread import Spread, all_countable, countable

KEPT: Final = 24
"""Rows of each side."""

Numbers = NDArray[np.float64]


def _none() -> Numbers:
    return np.empty(0, np.float64)


def _nowhere() -> Hashes:
    return np.empty(0, np.uint64)


@dataclass(frozen=True, eq=False)
class Extremes:
    """Numbers and places of a column's extreme rows, the most extreme first; of equal numbers, those of lower places.

    That of parts, merged, is that of the whole.
    """

    low: Numbers = field(default_factory=_none)
    low_places: Hashes = field(default_factory=_nowhere)
    high: Numbers = field(default_factory=_none)
    high_places: Hashes = field(default_factory=_nowhere)

    @classmethod
    def of(
        cls, values: NDArray[Any], places: Hashes, known: Extremes | None = None, spread: Spread | None = None
    ) -> Self:
        """Return the extremes of some rows.

        Args:
            values: Numbers [rows]; those that a spread counts as missing are passed over.
            places: Where each row stands, rising.
            known: Extremes of other rows of the same whole; what cannot be among its own beside them is left out.
            spread: How the numbers are spread: where none can be among the whole's, they are not looked at.
        """
        if known and spread and not known.may_have(spread, places):
            return cls()
        numbers = values.astype(np.float64, copy=False)
        if (spread is None or spread.missing) and not all_countable(numbers):
            some = countable(numbers)
            numbers, places = numbers[some], places[some]
        low = _smallest(numbers, _last(known.low if known else _none()))
        high = _smallest(-numbers, _last(-known.high if known else _none()))
        return cls(numbers[low], places[low], numbers[high], places[high])

    def may_have(self, spread: Spread, places: Hashes) -> bool:
        """Tell whether rows, given by their numbers' spread and their places, may be among these beside other rows."""
        if not spread.count:
            return False
        first = places[0]
        return _may_have(self.low, self.low_places, spread.least, first) or _may_have(
            -self.high, self.high_places, -spread.most, first
        )

    @classmethod
    def merged(cls, parts: Sequence[Extremes]) -> Self:
        """Return the extremes of all parts' rows."""
        low, high = (np.concatenate([getattr(part, side) for part in parts]) for side in ("low", "high"))
        low_places, high_places = (
            np.concatenate([getattr(part, side) for part in parts]) for side in ("low_places", "high_places")
        )
        first, last = np.lexsort((low_places, low))[:KEPT], np.lexsort((high_places, -high))[:KEPT]
        return cls(low[first], low_places[first], high[last], high_places[last])

    def same(self, other: Extremes) -> bool:
        """Return whether both are alike."""
        names = ("low", "low_places", "high", "high_places")
        return all(np.array_equal(getattr(self, name), getattr(other, name)) for name in names)


def _may_have(kept: Numbers, places: Hashes, least: float, first: np.uint64) -> bool:
    """Tell whether rows from a place on, with no number below the least, may be among those kept, the smallest."""
    return len(kept) < KEPT or bool((least, first) < (kept[-1], places[-1]))


def _last(known: Numbers) -> float | None:
    return float(known[-1]) if len(known) >= KEPT else None


def _smallest(numbers: Numbers, limit: float | None) -> NDArray[np.int64]:
    """Return the indices of the smallest numbers, none above the limit, in their order; earlier ones among equals."""
    if limit is None:
        if len(numbers) <= KEPT:
            return np.argsort(numbers, kind="stable")
        limit = float(np.partition(numbers, KEPT - 1)[KEPT - 1])
    below = np.flatnonzero(numbers < limit)
    if len(below) > KEPT:  # the limit was another part's
        below = below[np.argsort(numbers[below], kind="stable")[:KEPT]]
    equal = np.flatnonzero(numbers == limit)[: KEPT - len(below)]
    found = np.concatenate([below, equal])
    return np.asarray(found[np.argsort(numbers[found], kind="stable")])
