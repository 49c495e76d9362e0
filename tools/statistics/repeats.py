"""How often values repeat, by their hashes: all of them up to a limit, beyond it those with the smallest hashes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from tools.statistics.hashing import Hashes
from tools.statistics.model import Estimate

LIMIT: Final = 1 << 18
"""Different values that are kept, 24 bytes each."""

NO_BOUND: Final = (1 << 64) - 1
CONFIDENT: Final = 1.96
"""Standard errors to each side of a 95 % interval."""

_NONE_SEEN: Final = 3.0
"""With 95 % confidence there are fewer than 3 / p of what a sample of share p has none of."""


def _empty() -> Hashes:
    return np.empty(0, np.uint64)


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
    """

    hashes: Hashes = field(default_factory=_empty)
    counts: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    places: Hashes = field(default_factory=_empty)
    bound: int = NO_BOUND
    rows: int = 0
    limit: int = LIMIT

    @classmethod
    def of(cls, hashes: Hashes, places: Hashes, *, bound: int = NO_BOUND, limit: int = LIMIT) -> Self:
        """Return the repetition of some rows.

        Args:
            hashes: One a row.
            places: Where each row stands.
            bound: A hash that cannot be among those kept of the whole if it is larger.
            limit: The most hashes to keep.
        """
        rows = len(hashes)
        if bound != NO_BOUND:
            small = np.flatnonzero(hashes <= np.uint64(bound))
            hashes, places = hashes[small], places[small]
        return cls._bounded(_grouped(hashes, places), bound=bound, rows=rows, limit=limit)

    @classmethod
    def merged(cls, parts: Sequence[Repetition]) -> Self:
        """Return the repetition of all parts' rows; all have the same limit."""
        bound = min((part.bound for part in parts), default=NO_BOUND)
        limit = min((part.limit for part in parts), default=LIMIT)
        kept = [_Kept(part.hashes, part.counts, part.places).up_to(bound) for part in parts]
        return cls._bounded(_joined(kept, limit + 1), bound=bound, rows=sum(part.rows for part in parts), limit=limit)

    @property
    def is_complete(self) -> bool:
        """Whether every value was kept."""
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
        arrays = ("hashes", "counts", "places")
        return (self.bound, self.rows, self.limit) == (other.bound, other.rows, other.limit) and all(
            np.array_equal(getattr(self, name), getattr(other, name)) for name in arrays
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

    @classmethod
    def _bounded(cls, found: _Kept, *, bound: int, rows: int, limit: int) -> Self:
        if len(found.hashes) > limit:
            bound = int(found.hashes[limit - 1])
            found = found.up_to(bound)
        return cls(*found, bound=bound, rows=rows, limit=limit)


class _Kept(NamedTuple):
    """Hashes, the rows of each, and the place of its first."""

    hashes: Hashes
    counts: NDArray[np.int64]
    places: Hashes

    def up_to(self, bound: int) -> _Kept:
        """Return those that are not above a bound, of rising hashes."""
        stop = int(np.searchsorted(self.hashes, np.uint64(bound), side="right"))
        if stop == len(self.hashes):
            return self
        return _Kept(self.hashes[:stop], self.counts[:stop], self.places[:stop])


def _grouped(hashes: Hashes, places: Hashes) -> _Kept:
    """Return each hash once, rising, with the number of its rows and its first place."""
    order = rising_order(hashes)
    hashes, places = hashes[order], places[order]
    starts = _starts(hashes)
    if len(starts) == len(hashes):
        return _Kept(hashes, np.ones(len(hashes), np.int64), places)
    return _Kept(hashes[starts], np.diff(starts, append=len(hashes)), np.minimum.reduceat(places, starts))


def rising_order(hashes: Hashes) -> NDArray[np.int64]:
    """Return the indices that sort some hashes.

    They are sorted by their upper bits with the index in the lower ones, in a third of the time of ``np.argsort``.
    """
    bits = np.uint64(max(len(hashes) - 1, 0).bit_length())
    index = (np.uint64(1) << bits) - np.uint64(1)
    packed = hashes & ~index
    packed |= np.arange(len(hashes), dtype=np.uint64)
    packed.sort()
    packed &= index
    order = packed.view(np.int64)
    found = hashes[order]
    return order if (found[1:] >= found[:-1]).all() else np.argsort(hashes)  # some are alike but for the lower bits


def _starts(hashes: Hashes) -> NDArray[np.int64]:
    """Return where each of some rising hashes comes first."""
    fresh = np.ones(len(hashes), bool)
    fresh[1:] = hashes[1:] != hashes[:-1]
    return np.flatnonzero(fresh)


def _joined(parts: Sequence[_Kept], most: int) -> _Kept:
    """Return each hash of some parts once, rising, with the sum of its counts and its first place; the first ``most``.

    Each part's hashes rise: numpy's stable sort takes little time for some rising runs.
    """
    hashes = np.concatenate([_empty(), *(part.hashes for part in parts)])
    order = np.argsort(hashes, kind="stable")
    hashes = hashes[order]
    starts = _starts(hashes)
    if len(starts) > most:
        order, hashes, starts = order[: starts[most]], hashes[: starts[most]], starts[:most]
    if not len(order):
        return _NOTHING
    counts = np.concatenate([part.counts for part in parts])[order]
    places = np.concatenate([part.places for part in parts])[order]
    if len(starts) == len(order):
        return _Kept(hashes, counts, places)
    return _Kept(hashes[starts], np.add.reduceat(counts, starts), np.minimum.reduceat(places, starts))


_NOTHING: Final = _Kept(_empty(), np.empty(0, np.int64), _empty())
