"""Extremes: the same rows as a sort would find, in whatever pieces they come."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.statistics.extremes import KEPT, Extremes
from tools.statistics.spread import MOST_SIZE

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
    hinted = parts[:1] + [Extremes.of(values[piece], places[piece], known) for piece in pieces[1:]]
    finite = [index for index in range(len(numbers)) if abs(values[index]) <= MOST_SIZE]
    assert whole.low_places.tolist() == sorted(finite, key=lambda index: values[index])[:KEPT]
    assert whole.high_places.tolist() == sorted(finite, key=lambda index: -values[index])[:KEPT]
    assert whole.high.tolist() == [values[int(place)] for place in whole.high_places]
    if parts:
        assert Extremes.merged(parts).same(whole)
        assert Extremes.merged(parts[::-1]).same(whole)
        assert Extremes.merged(hinted).same(whole)
