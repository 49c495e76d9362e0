"""How often values repeat, by their hashes: all of them up to a limit, beyond it those with the smallest hashes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from tools.statistics.hashing import Hashes
from tools.statistics.model import Estimate
from tools.statistics.rising import NONE, Values

LIMIT: Final = 1 << 18
"""Different values that are kept, 24 bytes each."""

NO_BOUND: Final = (1 << 64) - 1
CONFIDENT: Final = 1.96
"""Standard errors to each side of a 95 % interval."""

_NONE_SEEN: Final = 3.0
"""With 95 % confidence there are fewer than 3 / p of what a sample of share p has none of."""


_LOOSE: Final = 3
"""Times the limit that values wait to be sorted: more take memory, fewer are sorted more often."""

_LOOK: Final = 1 << 13
"""Values that a look at the smallest hashes is meant to see."""

_SURE: Final = 6.0
"""Standard deviations by which what such a look tells is made larger."""


@dataclass(frozen=True, eq=False)
class Repetition:
    """Hashes of some rows' values; that of parts, merged, is that of the whole, to the last bit.

    Of more than ``limit`` different hashes, the smallest are kept (bottom-k sampling: Cohen, Kaplan, PODC 2007), with
    all their rows: a sample of the values in which none is likelier than another.

    Attributes:
        hashes: The hashes [n] that are kept, rising.
        counts: Rows [n] of each.
        places: The place [n] of each one's first row.
        bound: The largest hash that would be kept.
        rows: All rows, those of other hashes too.
        limit: The most hashes that are kept.
        loose: Values that were not sorted and counted yet; nothing is told before ``settled``.
    """

    hashes: Hashes = field(default_factory=lambda: NONE.hashes)
    counts: NDArray[np.int64] = field(default_factory=lambda: NONE.counts)
    places: Hashes = field(default_factory=lambda: NONE.places)
    bound: int = NO_BOUND
    rows: int = 0
    limit: int = LIMIT
    loose: tuple[Values, ...] = ()

    @classmethod
    def of(cls, hashes: Hashes, places: Hashes, *, bound: int = NO_BOUND, limit: int = LIMIT) -> Self:
        """Return the repetition of some rows.

        Args:
            hashes: One a row.
            places: Where each row stands.
            bound: A hash that cannot be among those kept of the whole if it is larger.
            limit: The most hashes to keep.
        """
        return cls.later(hashes, places, bound=bound, limit=limit).settled()

    @classmethod
    def later(cls, hashes: Hashes, places: Hashes, *, bound: int = NO_BOUND, limit: int = LIMIT) -> Self:
        """Return what ``of`` does, with nothing sorted yet where there are not too many rows."""
        values = Values.of(hashes, places)
        if bound != NO_BOUND:
            values = values.below(bound)
        return cls(bound=bound, rows=len(hashes), limit=limit, loose=(values,)).held()

    @classmethod
    def merged(cls, parts: Sequence[Repetition]) -> Self:
        """Return the repetition of all parts' rows, settled if all of them are; all have the same limit."""
        bound = min((part.bound for part in parts), default=NO_BOUND)
        limit = min((part.limit for part in parts), default=LIMIT)
        loose = [one for part in parts for one in part.loose]
        kept = [Values(part.hashes, part.counts, part.places).up_to(bound) for part in parts if len(part.hashes)]
        first = kept[0] if len(kept) == 1 else NONE
        rest = (*kept[len(kept) == 1 :], *loose)
        found = cls(*first, bound=bound, rows=sum(part.rows for part in parts), limit=limit, loose=rest)
        return found.held() if loose else found.settled()

    def settled(self) -> Self:
        """Return the same with all that is loose sorted and counted.

        A look at the smallest hashes tells how far those that are kept will reach; larger ones are not sorted.
        """
        if not self.loose:
            return self
        found = self._up_to(self._guess())
        if len(found.hashes) <= self.limit:
            found = self._up_to(self.bound)
        bound = self.bound
        if len(found.hashes) > self.limit:
            bound = int(found.hashes[self.limit - 1])
            found = found.up_to(bound)
        return replace(self, **found._asdict(), bound=bound, loose=())

    def held(self) -> Self:
        """Return the same, settled where so many values are loose that they would take much memory."""
        most = max(_LOOSE * min(self.limit, LIMIT), len(self.hashes))
        return self.settled() if self.weight - len(self.hashes) > most else self

    @property
    def weight(self) -> int:
        """How many values are held, loose ones too."""
        return len(self.hashes) + sum(len(one.hashes) for one in self.loose)

    @property
    def is_complete(self) -> bool:
        """Whether every value was kept."""
        assert not self.loose, "nothing is told of values before they are settled"
        return self.bound == NO_BOUND

    @property
    def share(self) -> float:
        """The share of all values that is kept."""
        return 1.0 if self.is_complete else self.bound / 2.0**64

    def distinct(self) -> Estimate:
        """Return how many values there are."""
        if self.is_complete:
            return Estimate(len(self.hashes))
        kept = len(self.hashes)
        value = round((kept - 1) / self.share)
        return Estimate(value, math.ceil(CONFIDENT * value / math.sqrt(max(kept - 2, 1))))

    def copies(self) -> Estimate:
        """Return how many rows have a value that an earlier one has."""
        return self.estimate(self.counts - 1)

    def repeated(self) -> Estimate:
        """Return how many values have more than one row."""
        return self.estimate((self.counts > 1).astype(np.int64))

    def same(self, other: Repetition) -> bool:
        """Return whether both are alike to the last bit."""
        one, other = self.settled(), other.settled()
        arrays = ("hashes", "counts", "places")
        return (one.bound, one.rows, one.limit) == (other.bound, other.rows, other.limit) and all(
            np.array_equal(getattr(one, name), getattr(other, name)) for name in arrays
        )

    def estimate(self, of_each: NDArray[np.int64]) -> Estimate:
        """Return the sum over all values of what is known of those kept (Horvitz and Thompson's estimator)."""
        found = int(of_each.sum())
        if self.is_complete:
            return Estimate(found)
        if not found:
            return Estimate(0, math.ceil(_NONE_SEEN / self.share))
        deviation = math.sqrt((1 - self.share) * float((of_each.astype(np.float64) ** 2).sum()))
        return Estimate(round(found / self.share), math.ceil(CONFIDENT * deviation / self.share))

    def _guess(self) -> int:
        """Return a hash that is likely to be a little above the largest that will be kept."""
        if self.weight <= max(self.limit + self.limit // 2, 2 * _LOOK):
            return self.bound
        reach = int(self.bound / self.weight * _LOOK)
        found = len(self._up_to(reach).hashes)
        if found < _LOOK // 16:
            return self.bound
        return min(self.bound, int(reach * (self.limit / found) * (1 + _SURE / math.sqrt(found))))

    def _up_to(self, bound: int) -> Values:
        kept = Values(self.hashes, self.counts, self.places).up_to(bound)
        return Values.joined([kept, *(one.below(bound) for one in self.loose)]).grouped()
