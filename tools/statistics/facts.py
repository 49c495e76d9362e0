"""From what was counted to what is told: quantiles, histograms, fences, the most frequent values and words."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tools.statistics.model import CaptionFacts, Estimate, Fences, Histogram, NumberFacts, Term, ValueFacts
from tools.statistics.partial import Partial
from tools.statistics.repeats import CONFIDENT
from tools.statistics.spread import Spread
from tools.statistics.tallies import MOST_VALUES, Tally
from tools.statistics.words import Grams, WordCounts

QUANTILES: Final = (1, 5, 25, 50, 75, 95, 99)
BINS: Final = 40

_FENCE: Final = 3.0
_WIDE: Final = 50.0
"""From such a ratio of the largest to the smallest number on, a histogram's bins rise by a factor."""


def number_facts(spread: Spread, rows: int, unit: str = "") -> NumberFacts | None:
    """Return how a number is spread over some rows; None where none of them has it."""
    count = spread.count
    if not count:
        return None
    values, counts = np.clip(spread.values(), spread.least, spread.most), spread.counts
    total = spread.total()
    mean = total / count
    histogram, other = _histograms(values, counts)
    quantiles = {f"p{share}": _quantile(values, counts, share / 100) for share in QUANTILES}
    return NumberFacts(
        unit=unit,
        count=count,
        missing=rows - count,
        sum=total,
        min=spread.least,
        max=spread.most,
        mean=mean,
        std=math.sqrt(max(float((counts * (values - mean) ** 2).sum()) / count, 0.0)),
        quantiles=quantiles,
        error=spread.error,
        histogram=histogram,
        other=other,
        fences=_fences(values, counts, quantiles["p25"], quantiles["p75"]),
    )


def value_facts(tally: Tally, rows: int, most: int) -> ValueFacts:
    """Return the most frequent values of a column, alike ones by the alphabet."""
    if tally.counts is None:
        return ValueFacts({}, rows, 0, Estimate(MOST_VALUES, max(rows - MOST_VALUES, 1)))
    ordered = sorted(tally.counts.items(), key=lambda pair: (-pair[1], pair[0]))
    shown = dict(ordered[:most])
    counted = sum(tally.counts.values())
    return ValueFacts(shown, counted - sum(shown.values()), rows - counted, Estimate(len(ordered)))


def caption_facts(partial: Partial, words: WordCounts, most: int) -> CaptionFacts:
    """Return what the captions say, scaled up where a sample of them was read."""
    grams = (words.singles, words.pairs, words.triples)
    singles, pairs, triples = (_terms(words, some, partial, most) for some in grams)
    return CaptionFacts(partial.rows, partial.empty, words.captions, singles, pairs, triples)


def scaled(count: int, sampled: int, rows: int) -> Estimate:
    """Return how many of all rows are of a kind that ``count`` of those sampled are of.

    The margin is the normal approximation's for a sample without replacement.
    """
    if sampled >= rows:
        return Estimate(count)
    share = count / sampled
    deviation = math.sqrt(share * (1 - share) / sampled * (rows - sampled) / max(rows - 1, 1))
    return Estimate(round(share * rows), max(math.ceil(CONFIDENT * deviation * rows), 1))


def _terms(words: WordCounts, grams: Grams, partial: Partial, most: int) -> tuple[Term, ...]:
    return tuple(Term(text, scaled(count, words.captions, partial.rows)) for text, count in words.top(grams, most))


def _quantile(values: NDArray[np.float64], counts: NDArray[np.int64], share: float) -> float:
    """Return the smallest value that at least a share of all rows does not pass."""
    ranks = np.cumsum(counts)
    return float(values[np.searchsorted(ranks, math.ceil(share * int(ranks[-1])))])


def _histograms(values: NDArray[np.float64], counts: NDArray[np.int64]) -> tuple[Histogram, Histogram | None]:
    """Return the histogram that suits the numbers, and that of the other kind, where all are above zero."""
    low, high = float(values[0]), float(values[-1])
    if low == high:
        return _histogram(values, counts, np.array([low - 0.5, high + 0.5]), log=False), None
    even = _histogram(values, counts, np.linspace(low, high, BINS + 1), log=False)
    if low <= 0:
        return even, None
    rising = _histogram(values, counts, np.geomspace(low, high, BINS + 1), log=True)
    return (rising, even) if high >= _WIDE * low else (even, rising)


def _histogram(
    values: NDArray[np.float64], counts: NDArray[np.int64], edges: NDArray[np.float64], *, log: bool
) -> Histogram:
    edges[0], edges[-1] = min(edges[0], values[0]), max(edges[-1], values[-1])  # powers may miss them by a rounding
    found = np.histogram(values, edges, weights=counts)[0]
    return Histogram(tuple(map(float, edges)), tuple(round(float(count)) for count in found), log)


def _fences(values: NDArray[np.float64], counts: NDArray[np.int64], first: float, third: float) -> Fences:
    low, high = first - _FENCE * (third - first), third + _FENCE * (third - first)
    return Fences(low, high, int(counts[values < low].sum()), int(counts[values > high].sum()))
