"""How far two datasets have drifted apart, column by column, in measures that have names."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from tools.statistics.model import Drift
from tools.statistics.partial import Partial
from tools.statistics.spread import Spread, with_buckets
from tools.statistics.words import WordCounts

Shares = NDArray[np.float64]

_BINS: Final = 10
_FREQUENT: Final = 50
_LEAST_SHARE: Final = 1e-4
"""What stands for the share of a bin that is empty, in the stability index alone, where none may be."""


def drifts(left: Partial, right: Partial, left_words: WordCounts, right_words: WordCounts) -> tuple[Drift, ...]:
    """Return the drift of every column that both sides have, the largest Jensen-Shannon distance first."""
    found = [*_number_drifts(left.numbers, right.numbers), *_value_drifts(left, right)]
    words = _word_drift(left_words, right_words)
    if words is not None:
        found.append(words)
    return tuple(sorted(found, key=lambda drift: (-drift.js, drift.column)))


def number_drift(column: str, left: Spread, right: Spread) -> Drift:
    """Return how far a number has moved.

    The stability index and the Jensen-Shannon distance are of ten bins that hold a tenth of the left side each; a
    value that a tenth of the left side has is a bin of its own. The Kolmogorov-Smirnov distance is of all values, or of
    all buckets of 0.1 % width.

    Args:
        column: Its name.
        left: Its spread on one side, of one number at least.
        right: Its spread on the other, of one at least.
    """
    if left.coarse or right.coarse:
        left, right = with_buckets(left), with_buckets(right)
    codes = np.union1d(left.codes, right.codes)
    one, other = (np.cumsum(_counts_at(codes, side)) / side.count for side in (left, right))
    edges = np.unique(np.searchsorted(one, np.arange(1, _BINS) / _BINS))
    alone = edges[(np.diff(one, prepend=0.0)[edges] >= 1 / _BINS) & (edges > 0)]
    edges = np.union1d(edges, alone - 1)
    bins = [np.diff(np.concatenate([[0.0], side[edges], [1.0]])) for side in (one, other)]
    return Drift(
        column=column,
        kind="number",
        psi=stability_index(*bins),
        js=jensen_shannon(*bins),
        ks=float(np.abs(one - other).max()),
        left_mean=left.total() / left.count,
        right_mean=right.total() / right.count,
    )


def stability_index(left: Shares, right: Shares) -> float:
    """Return the population stability index of two distributions over the same bins [n]; empty bins count as 0.01 %."""
    one, other = np.maximum(left, _LEAST_SHARE), np.maximum(right, _LEAST_SHARE)
    return float(((other - one) * np.log(other / one)).sum())


def jensen_shannon(left: Shares, right: Shares) -> float:
    """Return the Jensen-Shannon distance of two distributions over the same bins [n], 0 to 1 (Lin, 1991).

    It is the square root of the divergence in bits, and a metric.
    """
    middle = (left + right) / 2
    return math.sqrt(max((_entropy(middle) - (_entropy(left) + _entropy(right)) / 2), 0.0))


def _entropy(shares: Shares) -> float:
    some = shares[shares > 0]
    return float(-(some * np.log2(some)).sum())


def _counts_at(codes: NDArray[np.int64], spread: Spread) -> NDArray[np.int64]:
    found = np.zeros(len(codes), np.int64)
    found[np.searchsorted(codes, spread.codes)] = spread.counts
    return found


def _number_drifts(left: Mapping[str, Spread], right: Mapping[str, Spread]) -> Iterator[Drift]:
    for name, spread in left.items():
        if name in right and spread.count and right[name].count:
            yield number_drift(name, spread, right[name])


def _value_drifts(left: Partial, right: Partial) -> Iterator[Drift]:
    for name, tally in left.values.items():
        other = right.values.get(name)
        if other is not None and tally.counts and other.counts:
            yield _of_counts(name, "value", tally.counts, other.counts)


def _word_drift(left: WordCounts, right: WordCounts) -> Drift | None:
    one, other = (
        dict(
            zip((side.vocabulary[word] for word in side.singles.words[:, 0]), side.singles.counts.tolist(), strict=True)
        )
        for side in (left, right)
    )
    return _of_counts("words of captions", "words", one, other) if one and other else None


def _of_counts(
    column: str, kind: Literal["value", "words"], left: Mapping[str, int], right: Mapping[str, int]
) -> Drift:
    """Return how far the shares of values have moved; for the stability index, rare ones are one bin."""
    names = sorted(left.keys() | right.keys(), key=lambda name: (-left.get(name, 0) - right.get(name, 0), name))
    counts = [np.array([side.get(name, 0) for name in names], np.float64) for side in (left, right)]
    one, other = (side / side.sum() for side in counts)
    frequent = [np.append(side[:_FREQUENT], side[_FREQUENT:].sum()) for side in (one, other)]
    return Drift(column, kind, stability_index(*frequent), jensen_shannon(one, other))
