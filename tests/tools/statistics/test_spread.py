"""Spreads: exact where there are few values, close where there are many, and the same whatever pieces they come in."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.statistics.extremes import Extremes
from tools.statistics.facts import number_facts
from tools.statistics.spread import ERROR, MOST_SIZE, MOST_VALUES, Spread, with_buckets

FLOATS = st.floats(allow_nan=True, allow_infinity=True)


def exact_sum(values):
    return float(sum(map(Fraction, values)))


@settings(deadline=None, max_examples=80)
@given(st.lists(st.lists(FLOATS, max_size=30), max_size=6), st.booleans())
def test_parts_make_the_whole_to_the_last_bit(parts, coarse):
    arrays = [np.array(part, np.float64) for part in parts]
    whole = Spread.of(np.concatenate([np.empty(0), *arrays]), coarse=coarse)
    spreads = [Spread.of(array, coarse=coarse) for array in arrays]
    if coarse and not spreads:
        whole = Spread()
    assert Spread.merged(spreads).same(whole)
    assert Spread.merged(spreads[::-1]).same(whole)
    if len(spreads) > 2:
        assert Spread.merged([Spread.merged(spreads[:2]), *spreads[2:]]).same(whole)
    finite = [value for part in parts for value in part if abs(value) <= MOST_SIZE]
    assert whole.count == len(finite)
    assert whole.missing == sum(map(len, parts)) - len(finite)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(-1e12, 1e12, allow_subnormal=False), min_size=1, max_size=50), st.booleans())
def test_sums_are_rounded_once_and_values_come_back(values, coarse):
    found = Spread.of(np.array(values), coarse=coarse)
    assert found.total() == exact_sum(values)
    assert (found.least, found.most) == (min(values), max(values))
    near = found.values()
    assert np.all(np.diff(near) > 0)
    if not coarse:
        assert near.tolist() == sorted({value + 0.0 for value in values})
        assert found.error == 0


@pytest.mark.parametrize("scale", [1e-9, 1.0, -3.0, 1e12])
def test_many_values_are_counted_by_buckets_of_a_thousandth(scale):
    values = np.random.default_rng(0).lognormal(size=20_000) * scale
    found = Spread.of(values)
    assert found.coarse
    assert found.error == ERROR
    ordered, near = np.sort(values), np.repeat(found.values(), found.counts)
    assert np.allclose(near, ordered, rtol=ERROR, atol=0)
    assert found.total() == math.fsum(values)
    assert Spread.merged([Spread.of(part) for part in np.array_split(values, 9)]).same(found)


def test_a_bucket_of_one_value_gives_it_back():
    values = np.concatenate([np.full(1000, 29.97), np.arange(3 * MOST_VALUES) + 1000.5])
    found = Spread.of(values)
    assert found.coarse
    assert found.values()[0] == 29.97


def test_whole_numbers_take_the_quick_way_to_the_same():
    values = np.random.default_rng(1).integers(-50, 3000, 5000)
    assert Spread.of(values).same(Spread.of(values.astype(np.float64)))
    assert Spread.of(values.astype(np.int32), coarse=True).same(Spread.of(values.astype(np.float64), coarse=True))
    wide = values * 1_000_003
    assert Spread.of(wide).same(Spread.of(wide.astype(np.float64)))


def test_zeros_signs_and_nothing():
    found = Spread.of(np.array([0.0, -0.0, -1.0, 5e-324, math.nan]))
    assert found.values().tolist() == [-1.0, 0.0, 5e-324]
    assert (found.counts.tolist(), found.missing) == ([1, 2, 1], 1)
    assert Spread.of(np.array([])).count == 0
    assert Spread.of(np.array([-2.0]), coarse=True).values().tolist() == [-2.0]


def test_counts_of_values_and_buckets_of_them():
    values, counts = np.array([3.0, 1.0]), np.array([2, 5])
    found = Spread.of_counts(values, counts)
    assert found.same(Spread.of(np.repeat(values, counts)))
    assert with_buckets(found).same(Spread.of(np.repeat(values, counts), coarse=True))


def test_far_apart_numbers_fit_too():
    values = np.concatenate([np.geomspace(1e-300, 1e139, 9000), -np.geomspace(1e-300, 1e139, 9000)])
    found = Spread.of(values)
    assert found.coarse
    assert np.allclose(np.repeat(found.values(), found.counts), np.sort(values), rtol=ERROR, atol=0)


def test_numbers_whose_sums_overflow_are_missing():
    spread = Spread.of(np.array([1.0, 1e308, -1e308, np.inf, np.nan, 1e140]))
    assert (spread.count, spread.missing, spread.least, spread.most) == (2, 4, 1.0, 1e140)
    assert Extremes.of(np.array([2.0, 1.7e308]), np.arange(2, dtype=np.uint64)).high.tolist() == [2.0]
    facts = number_facts(Spread.of(np.array([-1e140, 1e140] * 1000)), 2000)
    assert (facts.sum, facts.std) == (0.0, pytest.approx(1e140))


@pytest.mark.parametrize("kind", ["int8", "int16", "int32", "int64", "uint8", "uint16"])
def test_whole_numbers_of_every_width_are_counted(kind):
    least, most = max(np.iinfo(kind).min, -30_000), min(np.iinfo(kind).max, 30_000)
    values = np.array([most, least, least, 7], kind)
    assert Spread.of(values).same(Spread.of(values.astype(np.float64)))
    assert Spread.of(values).total() == float(most + 2 * least + 7)


def test_zeros_of_both_signs_are_one_bucket():
    values = np.array([0.0, -0.0, 3.0, 3.0])
    found = Spread.of(values, coarse=True)
    assert found.counts.tolist() == [2, 2]
    assert found.same(with_buckets(Spread.of(np.abs(values))))


@pytest.mark.parametrize(
    ("kind", "number"), [("uint64", 2**64 - 50), ("uint64", 2**63 - 1), ("int64", 2**60), ("int64", -(2**63))]
)
def test_whole_numbers_too_large_for_doubles_are_counted_as_doubles(kind, number):
    values = np.arange(50, dtype=kind) + np.array(number, kind)
    found = Spread.of(values)
    assert found.same(Spread.of(values.astype(np.float64)))
    assert found.same(Spread.merged([Spread.of(values[:9]), Spread.of(values[9:])]))
    assert found.count == 50
