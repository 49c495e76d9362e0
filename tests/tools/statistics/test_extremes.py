"""Extremes: the same rows as a sort would find, in whatever pieces they come."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.statistics.extremes import KEPT, Extremes
from tools.statistics.spread import MOST_SIZE, Spread

NUMBERS = st.lists(st.one_of(st.integers(-3, 3).map(float), st.floats()), max_size=150)


@settings(deadline=None, max_examples=100)
@given(NUMBERS, st.lists(st.integers(0, 150), max_size=4))
def test_parts_make_the_whole_and_the_whole_is_what_a_sort_gives(numbers, cuts):
    values, places = np.array(numbers, np.float64), np.arange(len(numbers), dtype=np.uint64)
    whole = Extremes.of(values, places)
    edges = sorted({0, len(numbers), *(cut for cut in cuts if cut < len(numbers))})
    pieces = [slice(a, b) for a, b in itertools.pairwise(edges)]
    parts = [Extremes.of(values[piece], places[piece]) for piece in pieces]
    known = parts[0] if parts else None
    hinted = parts[:1] + [
        Extremes.of(values[piece], places[piece], known, Spread.of(values[piece])) for piece in pieces[1:]
    ]
    finite = [index for index in range(len(numbers)) if abs(values[index]) <= MOST_SIZE]
    assert whole.low_places.tolist() == sorted(finite, key=lambda index: values[index])[:KEPT]
    assert whole.high_places.tolist() == sorted(finite, key=lambda index: -values[index])[:KEPT]
    assert whole.high.tolist() == [values[int(place)] for place in whole.high_places]
    if parts:
        assert Extremes.merged(parts).same(whole)
        assert Extremes.merged(parts[::-1]).same(whole)
        assert Extremes.merged(hinted).same(whole)


def test_rows_that_cannot_be_among_the_extremes_are_not_looked_at():
    values, places = np.arange(100.0), np.arange(100, dtype=np.uint64)
    known = Extremes.of(values, places)
    later, between = places + np.uint64(100), np.full(100, 50.0)
    assert not known.may_have(Spread.of(between), later)
    assert not len(Extremes.of(between, later, known, Spread.of(between)).low)
    assert not known.may_have(Spread.of(np.full(100, np.nan)), places)
    for value, first in ((KEPT - 1.5, 100), (KEPT - 1.0, 0), (100.0 - KEPT + 0.5, 100)):
        assert known.may_have(Spread.of(np.array([value, 50.0])), places + np.uint64(first))
    alike = np.full(100, KEPT - 1.0)  # as large as the last one kept, and of higher places
    assert not known.may_have(Spread.of(alike), later)


@pytest.mark.parametrize("odd", [[], [np.nan], [1e200, -np.inf]])
def test_what_counts_as_missing_is_no_extreme_whether_a_spread_is_known_or_not(odd):
    numbers = np.array([3.0, *odd, 1.0, 2.0])
    places = np.arange(len(numbers), dtype=np.uint64)
    found = Extremes.of(numbers, places, spread=Spread.of(numbers))
    assert found.same(Extremes.of(numbers, places))
    assert found.low.tolist() == found.high[::-1].tolist() == [1.0, 2.0, 3.0]
