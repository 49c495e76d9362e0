"""Facts are those that a sort and plain arithmetic give."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest

from tools.statistics.facts import BINS, QUANTILES, number_facts, scaled, value_facts
from tools.statistics.spread import Spread
from tools.statistics.tallies import Tally


@pytest.mark.parametrize("size", [1, 2, 7, 100, 4096])
def test_few_values_are_told_exactly(size):
    values = np.random.default_rng(size).lognormal(size=size)
    facts = number_facts(Spread.of(values), size + 3, "s")
    ordered = sorted(values.tolist())
    assert facts is not None
    assert (facts.unit, facts.count, facts.missing, facts.error) == ("s", size, 3, 0)
    assert (facts.min, facts.max, facts.sum) == (ordered[0], ordered[-1], math.fsum(ordered))
    assert facts.mean == pytest.approx(statistics.fmean(ordered))
    assert facts.std == pytest.approx(statistics.pstdev(ordered), abs=1e-12)
    for share in QUANTILES:
        assert facts.quantiles[f"p{share}"] == ordered[math.ceil(share / 100 * size) - 1]


def test_many_values_are_told_within_the_stated_error():
    values = np.random.default_rng(0).lognormal(2, 1, 50_000)
    facts = number_facts(Spread.of(values), 50_000)
    ordered = np.sort(values)
    assert facts is not None
    assert facts.error == 2**-10
    for share in QUANTILES:
        truth = ordered[math.ceil(share / 100 * 50_000) - 1]
        assert abs(facts.quantiles[f"p{share}"] - truth) <= facts.error * truth
    assert abs(facts.std - values.std()) <= facts.error * values.max()
    assert (facts.min, facts.max) == (values.min(), values.max())


def test_histograms_hold_every_value():
    values = np.array([1.0, 2.0, 2.0, 1000.0])
    facts = number_facts(Spread.of(values), 4)
    assert facts is not None
    assert facts.histogram.log
    assert facts.other is not None
    assert not facts.other.log
    for histogram in (facts.histogram, facts.other):
        assert (len(histogram.edges), sum(histogram.counts)) == (BINS + 1, 4)
        assert (histogram.edges[0], histogram.edges[-1]) == (1.0, 1000.0)
    assert facts.histogram.counts[0] == 1
    assert facts.other.counts[0] == 3


def test_one_value_and_values_below_zero_have_one_histogram():
    single, below = number_facts(Spread.of(np.array([3.0, 3.0])), 2), number_facts(Spread.of(np.array([-1.0, 2.0])), 2)
    assert single is not None
    assert below is not None
    assert (single.histogram.edges, single.histogram.counts, single.other) == ((2.5, 3.5), (2,), None)
    assert below.other is None
    assert number_facts(Spread(), 5) is None


def test_fences_and_what_lies_beyond():
    values = np.array([*range(10, 20), 100.0, -90.0])
    facts = number_facts(Spread.of(values), 12)
    assert facts is not None
    low, high = facts.quantiles["p25"], facts.quantiles["p75"]
    assert (facts.fences.low, facts.fences.high) == (low - 3 * (high - low), high + 3 * (high - low))
    assert (facts.fences.below, facts.fences.above) == (1, 1)


def test_values_of_a_column():
    tally = Tally({"b": 3, "a": 3, "c": 5, "d": 1}, 2)
    facts = value_facts(tally, 14, 3)
    assert (facts.counts, list(facts.counts)) == ({"c": 5, "a": 3, "b": 3}, ["c", "a", "b"])
    assert (facts.other, facts.missing, facts.distinct.value, facts.distinct.margin) == (1, 2, 4, 0)
    many = value_facts(Tally(None), 10_000, 3)
    assert (many.counts, many.other, many.distinct.value, many.distinct.margin) == ({}, 10_000, 4096, 5904)


def test_counts_of_a_sample_are_scaled_up():
    assert (scaled(7, 100, 100).value, scaled(7, 100, 100).margin) == (7, 0)
    found = scaled(100, 1000, 100_000)
    assert found.value == 10_000
    assert found.margin == pytest.approx(1.96 * math.sqrt(0.09 / 1000 * 0.99) * 100_000, rel=0.01)
    assert scaled(0, 10, 1000).margin > 0
