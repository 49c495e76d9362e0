"""Which values repeat most, and how many rows are copies, where only a sample of the values could be kept."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tools.statistics.hashing import Hashes
from tools.statistics.model import Estimate
from tools.statistics.repeats import CONFIDENT, Repetition
from tools.statistics.sample import Sample

OFTEN: Final = 8
"""Rows of a sample that have one value from which on the value's count is reckoned from that sample."""


@dataclass(frozen=True, slots=True)
class Frequent:
    """A value's first row that is known of, and how many rows have it."""

    place: int
    count: int


@dataclass(frozen=True, slots=True)
class Repeating:
    """How often values repeat; ``largest`` by falling count."""

    distinct: Estimate
    copies: Estimate
    repeated: Estimate
    largest: tuple[Frequent, ...]


def repeating(repetition: Repetition, most: int, sample: Sample | None = None) -> Repeating:
    """Return how often values repeat.

    A sample of values misses most of those that very many rows have; a sample of rows has them. Where both are there,
    values that stand in 8 rows of the sample or more are reckoned from it, and all others from the sample of values.

    Args:
        repetition: The values.
        most: How many of the most frequent are told.
        sample: Some of the same rows, with the same hashes.
    """
    largest = _largest(repetition.counts, repetition.places, most)
    if repetition.is_complete or sample is None or not len(sample.hashes):
        return Repeating(repetition.distinct(), repetition.copies(), repetition.repeated(), largest)
    often = _often(sample)
    at = np.searchsorted(repetition.hashes, often.hashes)
    new = repetition.hashes.take(at, mode="clip") != often.hashes
    known = np.zeros(len(repetition.hashes), bool)
    known[at[~new]] = True
    scale = 1 / sample.share
    exact, scaled = repetition.counts[known], np.round(often.counts[new] * scale).astype(np.int64)
    deviation = math.sqrt(float(often.counts[new].sum()) * (1 - sample.share)) * scale
    rare = np.where(known, 0, repetition.counts - 1)
    copies, repeated = repetition.estimate(rare), repetition.estimate((rare > 0).astype(np.int64))
    counts = np.concatenate([repetition.counts, scaled])
    return Repeating(
        distinct=repetition.distinct(),
        copies=Estimate(
            copies.value + int((exact - 1).sum() + (scaled - 1).sum()),
            math.ceil(math.hypot(CONFIDENT * deviation, copies.margin)),
        ),
        repeated=Estimate(repeated.value + len(exact) + len(scaled), repeated.margin),
        largest=_largest(counts, np.concatenate([repetition.places, often.places[new]]), most),
    )


class _Often(NamedTuple):
    """Hashes of values that stand in many rows of a sample, in how many, and the first of them."""

    hashes: Hashes
    counts: NDArray[np.int64]
    places: Hashes


def _often(sample: Sample) -> _Often:
    order = np.argsort(sample.hashes)
    hashes = sample.hashes[order]
    fresh = np.ones(len(hashes), bool)
    fresh[1:] = hashes[1:] != hashes[:-1]
    starts = np.flatnonzero(fresh)
    counts = np.diff(starts, append=len(hashes))
    places = np.minimum.reduceat(sample.places[order], starts) if len(starts) else sample.places
    often = counts >= OFTEN
    return _Often(hashes[starts][often], counts[often].astype(np.int64), places[often])


def _largest(counts: NDArray[np.int64], places: Hashes, most: int) -> tuple[Frequent, ...]:
    some = np.flatnonzero(counts > 1)
    if len(some) > most:
        least = np.partition(counts[some], -most)[-most]
        more, equal = some[counts[some] > least], some[counts[some] == least]
        missing = most - len(more)
        last = np.partition(places[equal], missing - 1)[missing - 1]  # most values may have the same count
        some = np.concatenate([more, equal[places[equal] <= last]])
    order = some[np.lexsort((places[some], -counts[some]))][:most]
    return tuple(Frequent(int(places[index]), int(counts[index])) for index in order)
