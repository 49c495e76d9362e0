"""Drift measures have the values of their definitions, are nothing between like sides, and grow with a shift."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.statistics.drift import drifts, jensen_shannon, number_drift, stability_index
from tools.statistics.partial import Partial
from tools.statistics.spread import Spread
from tools.statistics.tallies import Tally
from tools.statistics.words import count_words

COUNTS = st.lists(st.integers(0, 100), min_size=2, max_size=8).filter(any)


def shares(counts):
    return np.array(counts, np.float64) / sum(counts)


@given(COUNTS)
def test_like_sides_have_no_drift(counts):
    assert jensen_shannon(shares(counts), shares(counts)) == 0
    assert stability_index(shares(counts), shares(counts)) == 0


def test_measures_by_their_definitions():
    one, other = np.array([0.5, 0.5, 0.0]), np.array([0.25, 0.25, 0.5])
    assert stability_index(one[:2], other[:2] * 2) == 0
    expected = 2 * (0.25 - 0.5) * math.log(0.5) + (0.5 - 1e-4) * math.log(0.5 / 1e-4)
    assert stability_index(one, other) == pytest.approx(expected)
    assert jensen_shannon(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == pytest.approx(1.0)
    kl = sum(p * math.log2(p / m) for p, m in ((0.5, 0.375), (0.5, 0.375)))
    back = sum(p * math.log2(p / m) for p, m in ((0.25, 0.375), (0.25, 0.375), (0.5, 0.25)))
    assert jensen_shannon(one, other) == pytest.approx(math.sqrt((kl + back) / 2))


def test_numbers_that_move():
    random = np.random.default_rng(0)
    left = Spread.of(random.normal(10, 1, 5000))
    found = [number_drift("x", left, Spread.of(random.normal(10 + shift, 1, 5000))) for shift in (0, 0.5, 2)]
    assert found[0].psi < 0.02 < found[1].psi < found[2].psi
    assert [drift.ks for drift in found] == sorted(drift.ks for drift in found)
    assert found[1].ks == pytest.approx(0.197, abs=0.03)  # twice the normal distribution at a quarter, less one
    assert found[2].left_mean == pytest.approx(10, abs=0.1)
    assert found[2].right_mean == pytest.approx(12, abs=0.1)


def test_distances_are_those_of_the_values():
    left, right = Spread.of(np.array([1.0, 2.0, 3.0, 4.0])), Spread.of(np.array([3.0, 4.0, 5.0, 6.0]))
    assert number_drift("x", left, right).ks == pytest.approx(0.5)
    apart = number_drift("x", left, Spread.of(np.array([9.0])))
    assert (apart.ks, apart.js) == (1.0, pytest.approx(1.0, abs=0.2))


def test_all_columns_that_both_have_the_largest_drift_first():
    words = [count_words(pa.array(texts, pa.large_string())) for texts in (["a dog", "a cat"], ["a horse", "a cow"])]
    left = Partial(2, numbers={"x": Spread.of(np.array([1.0])), "y": Spread()}, values={"codec": Tally({"h264": 2})})
    right = Partial(2, numbers={"x": Spread.of(np.array([1.0])), "z": Spread()}, values={"codec": Tally({"vp9": 2})})
    found = drifts(left, right, *words)
    assert [(drift.column, drift.kind) for drift in found] == [
        ("codec", "value"),
        ("words of captions", "words"),
        ("x", "number"),
    ]
    assert found[0].js == pytest.approx(1.0)
    assert 0.6 < found[1].js < 1
    assert (found[2].js, found[2].psi, found[2].ks) == (0, 0, 0)


@pytest.mark.parametrize(("left", "right"), [(30.0, 25.0), (25.0, 30.0)])
def test_a_value_that_all_have_moves_either_way(left, right):
    found = number_drift("fps", *(Spread.of(np.full(9, value)) for value in (left, right)))
    assert found.psi > 1
    assert (found.ks, found.js) == (1.0, pytest.approx(1.0))


def test_what_lies_below_a_frequent_value_is_a_bin_of_its_own():
    left = Spread.of(np.array([24.0] + [30.0] * 18 + [60.0]))
    right = Spread.of(np.array([24.0] * 10 + [30.0] * 9 + [60.0]))
    bins = [np.array(counts) / 20 for counts in ([1, 18, 1], [10, 9, 1])]
    found = number_drift("fps", left, right)
    assert found.psi == pytest.approx(stability_index(*bins))
    assert found.js == pytest.approx(jensen_shannon(*bins))
