"""How a number is spread over any count of rows: counts by value, or by narrow buckets, that add up exactly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Counts = NDArray[np.int64]

MOST_VALUES: Final = 4096
"""Different values that are counted one by one; of more, buckets are."""

MOST_SIZE: Final = 1e140
"""Size of a number beyond which it counts as missing: sums of squares of larger ones overflow."""

ERROR: Final = 2.0**-10
"""Relative width of a bucket, and so the error of a quantile where buckets are counted."""

_REST_BITS: Final = 42
"""Bits of a double's 52 that buckets leave out; their sums are kept, in halves that no count of rows overflows."""

_HALF: Final = 21
_LOW: Final = (1 << _HALF) - 1
_SMALL_RANGE: Final = 1 << 16
_EXACT: Final = 1 << 53
"""Size up to which every whole number is a double of its own."""

_DENSE: Final = 1 << 18


def _empty() -> Counts:
    return np.empty(0, np.int64)


@dataclass(frozen=True, eq=False)
class Spread:
    """The numbers of some rows; that of parts, merged, is that of the whole, to the last bit.

    A double's bits, taken as a whole number, rise with its size. Up to 4096 different values, each value's bits are its
    code; beyond, the bits less the last 42 are, so a code stands for a bucket of 0.1 % width. (As in HdrHistogram.)

    Attributes:
        codes: The codes [n] that occur, negative numbers' below zero, rising.
        counts: Rows [n] of each.
        high: Sums [n] of the upper halves of the bits that buckets leave out; ``low``: of the lower halves.
        coarse: Whether codes are of buckets.
        missing: Rows whose number is null, not finite or larger than 1e140.
        least: The smallest number; ``most``: the largest.
    """

    codes: Counts = field(default_factory=_empty)
    counts: Counts = field(default_factory=_empty)
    high: Counts = field(default_factory=_empty)
    low: Counts = field(default_factory=_empty)
    coarse: bool = False
    missing: int = 0
    least: float = math.inf
    most: float = -math.inf

    @classmethod
    def of(cls, values: NDArray[Any], *, coarse: bool = False) -> Self:
        """Return the spread of some numbers.

        Args:
            values: Numbers [rows]; what is not finite, or larger than 1e140, is missing.
            coarse: Count buckets, however few values there are: for parts of a whole that is known to have many.
        """
        if values.dtype.kind in "iu" and values.size:
            least, most = int(values.min()), int(values.max())
            if most - least < _SMALL_RANGE and least >= -_EXACT and most <= _EXACT:
                whole, of_each = _small_range(values, least, most)
                return cls._of_values(whole.astype(np.float64), of_each, coarse=coarse)
        numbers = values.astype(np.float64, copy=False)
        missing = 0
        if not all_countable(numbers):
            some = countable(numbers)
            missing = len(numbers) - int(np.count_nonzero(some))
            numbers = numbers[some]
        if coarse or _has_many(numbers):
            return cls._of_buckets(numbers, missing)
        single, counts = np.unique(numbers, return_counts=True)
        return cls._of_values(single, counts.astype(np.int64), missing=missing)

    @classmethod
    def of_counts(cls, values: Numbers, counts: Counts) -> Self:
        """Return the spread of finite numbers [n], no two alike, of which each stands in some rows [n]."""
        order = np.argsort(values)
        return cls._of_values(values[order], counts[order])

    @classmethod
    def merged(cls, parts: Sequence[Spread]) -> Self:
        """Return the spread of all parts' rows."""
        coarse = any(part.coarse for part in parts)
        missing = sum(part.missing for part in parts)
        least, most = (
            min((part.least for part in parts), default=math.inf),
            max((part.most for part in parts), default=-math.inf),
        )
        some = [_coarsened(part) if coarse else part for part in parts if part.codes.size]
        if not some:
            return cls(coarse=coarse, missing=missing)
        whole = cls(*_summed(some), coarse=coarse, missing=missing, least=least, most=most)
        if coarse or len(whole.codes) <= MOST_VALUES:
            return whole
        return cls.merged([_coarsened(whole)])

    @property
    def count(self) -> int:
        """Rows that have a number."""
        return int(self.counts.sum())

    @property
    def error(self) -> float:
        """Relative error of ``values``; 0 where they are exact."""
        return ERROR if self.coarse else 0.0

    def values(self) -> Numbers:
        """Return the number [n] of each code, of a bucket its rows' mean; a bucket of one value gives that value."""
        base, unit = self._bases()
        rest = (self.high / self.counts) * (1 << _HALF) + self.low / self.counts
        return np.asarray(base + rest * unit)

    def total(self) -> float:
        """Return the sum of all numbers, rounded once."""
        base, unit = self._bases()
        parts = [self.counts * base, self.high * unit * float(1 << _HALF), self.low * unit]
        return math.fsum(np.concatenate(parts))

    def same(self, other: Spread) -> bool:
        """Return whether both are alike to the last bit."""
        arrays = ("codes", "counts", "high", "low")
        plain = ("coarse", "missing", "least", "most")
        return all(getattr(self, name) == getattr(other, name) for name in plain) and all(
            np.array_equal(getattr(self, name), getattr(other, name)) for name in arrays
        )

    @classmethod
    def _of_values(cls, values: Numbers, counts: Counts, *, missing: int = 0, coarse: bool = False) -> Self:
        bits = _magnitude(values)
        codes = np.where(values < 0, ~bits, bits)
        order = np.argsort(codes)
        high, low = (bits >> _HALF) & _LOW, bits & _LOW
        least, most = (float(values[order[0]]), float(values[order[-1]])) if len(order) else (math.inf, -math.inf)
        sums = ((high * counts)[order], (low * counts)[order])
        exact = cls(codes[order], counts[order], *sums, missing=missing, least=least, most=most)
        many = coarse or len(codes) > MOST_VALUES
        return cls.merged([_coarsened(exact)]) if many else exact

    @classmethod
    def _of_buckets(cls, numbers: Numbers, missing: int) -> Self:
        if not numbers.size:
            return cls(coarse=True, missing=missing)
        least, most = float(numbers.min()), float(numbers.max())
        if least > 0:
            plain = _bucket_sums(np.ascontiguousarray(numbers).view(np.int64))
        elif least == 0:
            plain = _bucket_sums(_magnitude(numbers))  # the sign of zero is left out
        else:
            negative = numbers < 0
            codes, counts, high, low = _bucket_sums(_magnitude(numbers[negative]))
            above = cls(*_bucket_sums(_magnitude(numbers[~negative])))
            plain = _summed([cls(~codes, counts, high, low), above])
        return cls(*plain, coarse=True, missing=missing, least=least, most=most)

    def _bases(self) -> tuple[Numbers, Numbers]:
        """Return where each code's bucket begins, and what a unit in that number's last place is worth, both signed."""
        negative = self.codes < 0
        code = np.where(negative, ~self.codes, self.codes)
        bucket = code if self.coarse else code >> _REST_BITS
        base = (bucket << _REST_BITS).view(np.float64)
        unit = np.spacing(base)
        return np.where(negative, -base, base), np.where(negative, -unit, unit)


def all_countable(numbers: Numbers) -> bool:
    """Tell whether all numbers are finite and none is too large to be counted."""
    return not len(numbers) or bool(numbers.min() >= -MOST_SIZE and numbers.max() <= MOST_SIZE)


def countable(numbers: Numbers) -> NDArray[np.bool_]:
    """Return which numbers [rows] are finite and not too large to be counted."""
    return np.asarray((numbers >= -MOST_SIZE) & (numbers <= MOST_SIZE))


def _coarsened(part: Spread) -> Spread:
    """Return a part with buckets' codes, of which several may be alike until they are merged."""
    if part.coarse:
        return part
    return replace(part, codes=part.codes >> _REST_BITS, coarse=True)


def with_buckets(spread: Spread) -> Spread:
    """Return the same rows, counted by buckets."""
    return Spread.merged([_coarsened(spread)])


def _magnitude(values: Numbers) -> Counts:
    """Return the bits of numbers' sizes, signs left out."""
    return np.asarray(np.abs(values).view(np.int64))


def _has_many(numbers: Numbers) -> bool:
    """Tell by a look at a few rows whether buckets alone are too many; False says nothing."""
    few = np.sort(numbers[: 4 * MOST_VALUES])
    return int((few[1:] != few[:-1]).sum()) >= MOST_VALUES


def _small_range(values: NDArray[Any], least: int, most: int) -> tuple[Counts, Counts]:
    base = 0 if least >= 0 and most < _SMALL_RANGE else least
    whole = values.astype(np.int64, copy=False)
    counts = np.bincount(whole - base if base else whole)
    found = np.flatnonzero(counts)
    return found + base, counts[found].astype(np.int64)


def _bucket_sums(bits: Counts) -> tuple[Counts, Counts, Counts, Counts]:
    """Return codes, counts, and both sums of the rest, of numbers given by their bits."""
    if not bits.size:
        return _empty(), _empty(), _empty(), _empty()
    codes = bits >> _REST_BITS
    least = int(codes.min())
    spread = int(codes.max()) - least
    if spread < _DENSE:
        codes -= least
        found, place = _empty(), codes
    else:
        found, place = np.unique(codes, return_inverse=True)
    counts = np.bincount(place)
    upper = bits >> _HALF
    upper &= _LOW
    high = np.bincount(place, upper).astype(np.int64)
    low = np.bincount(place, np.bitwise_and(bits, _LOW, out=upper)).astype(np.int64)
    if spread >= _DENSE:
        return found, counts, high, low
    some = np.flatnonzero(counts)
    return some + least, counts[some], high[some], low[some]


def _summed(parts: Sequence[Spread]) -> tuple[Counts, Counts, Counts, Counts]:
    codes = np.concatenate([part.codes for part in parts])
    order = np.argsort(codes)
    codes = codes[order]
    starts = np.flatnonzero(np.concatenate([[True], codes[1:] != codes[:-1]]))
    counts, high, low = (
        np.add.reduceat(np.concatenate([getattr(part, name) for part in parts])[order], starts)
        for name in ("counts", "high", "low")
    )
    return codes[starts], counts, high, low
