"""How a number is spread over any count of rows, in memory that does not grow: extremes, mean and quantiles."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

_WIDTH: Final = 1e-3
"""Relative width of a bucket: two values nearer than this may be told by their mean."""

_SMALLEST: Final = 1e-6
_BUCKETS: Final = 50_000
"""Buckets from 1e-6 up to about 5e15 (their ratio is e to the width)."""


@dataclass(frozen=True, slots=True)
class Spread:
    """A distribution in six numbers; the quantiles are within 0.1 % of a value that stands at their rank."""

    count: int
    min: float
    p50: float
    mean: float
    p95: float
    max: float


class Distribution:
    """Collects numbers from 0 on; equal numbers come out of it unchanged.

    Values are counted in buckets of equal ratio, each with its sum, so a bucket that holds one value only gives that
    value back. (A histogram with logarithmic buckets, as in Masson et al., "DDSketch", VLDB 2019.)
    """

    def __init__(self) -> None:
        self._counts = np.zeros(_BUCKETS, np.int64)
        self._sums = np.zeros(_BUCKETS, np.float64)
        self._min, self._max = math.inf, -math.inf

    def add(self, values: NDArray[np.float64]) -> None:
        """Take some values; those that are not finite are left out."""
        values = values[np.isfinite(values)]
        if not values.size:
            return
        buckets = (np.log(np.maximum(values, _SMALLEST) / _SMALLEST) / _WIDTH).astype(np.int64)
        np.clip(buckets, 0, _BUCKETS - 1, out=buckets)
        top = int(buckets.max()) + 1
        self._counts[:top] += np.bincount(buckets, minlength=top)
        self._sums[:top] += np.bincount(buckets, values, minlength=top)
        self._min = min(self._min, float(values.min()))
        self._max = max(self._max, float(values.max()))

    def spread(self) -> Spread | None:
        """Return what was collected; None where that is nothing."""
        count = int(self._counts.sum())
        if not count:
            return None
        mean = math.fsum(self._sums) / count
        return Spread(count, self._min, self._quantile(0.5), mean, self._quantile(0.95), self._max)

    def _quantile(self, share: float) -> float:
        ranks = np.cumsum(self._counts)
        bucket = int(np.searchsorted(ranks, math.ceil(share * int(ranks[-1]))))
        value = float(self._sums[bucket] / self._counts[bucket])
        return min(max(value, self._min), self._max)
