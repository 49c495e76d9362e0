"""The mix of sources: every place has one, each is near its share, and any place is worked out without the others."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.mix import Mixture, Turn

BOUND = Fraction(168, 100)

weights_of = st.lists(
    st.one_of(st.integers(1, 9), st.integers(1, 10**9), st.fractions(Fraction(1, 90), Fraction(5), max_denominator=97)),
    min_size=1,
    max_size=9,
)


def walk(mixture: Mixture, turns: int) -> list[Turn]:
    return [mixture.turn(n) for n in range(turns)]


@settings(deadline=None, max_examples=60)
@given(weights=weights_of, first=st.integers(0, 10**12))
def test_counts_go_up_by_one_turn_at_a_time(weights: list[Fraction], first: int):
    mixture = Mixture(weights, [None] * len(weights))
    for n in range(first, first + 30):
        before, turn = mixture.counts(n), mixture.turn(n)
        assert sum(before) == n
        assert turn.index == before[turn.source]
        after = [count + (source == turn.source) for source, count in enumerate(before)]
        assert mixture.counts(n + 1) == tuple(after)


@settings(deadline=None, max_examples=100)
@given(weights=weights_of, n=st.integers(0, 10**15))
def test_no_source_is_two_turns_from_its_share(weights: list[Fraction], n: int):
    counts = Mixture(weights, [None] * len(weights)).counts(n)
    whole = sum(map(Fraction, weights))
    assert all(abs(count - n * Fraction(weight) / whole) < BOUND for count, weight in zip(counts, weights, strict=True))


def test_weights_like_the_fibonacci_numbers_do_not_add_up_their_rounding():
    weights = [1, 1]
    while len(weights) < 25:
        weights.append(weights[-1] + weights[-2])
    mixture = Mixture(weights, [None] * 25)
    errors = (
        abs(count - Fraction(n * weight, sum(weights)))
        for n in range(0, 4 * sum(weights), 997)
        for count, weight in zip(mixture.counts(n), weights, strict=True)
    )
    assert max(errors) < BOUND


@settings(deadline=None, max_examples=60)
@given(weights=weights_of, data=st.data())
def test_sources_leave_after_their_limit_and_the_rest_share_what_is_left(weights: list[Fraction], data: st.DataObject):
    limits = data.draw(st.lists(st.one_of(st.none(), st.integers(1, 25)), min_size=len(weights), max_size=len(weights)))
    mixture = Mixture(weights, limits)
    assert (mixture.total is None) == (None in limits)
    turns = walk(mixture, 120 if mixture.total is None else mixture.total)
    had = [0] * len(weights)
    for n, turn in enumerate(turns):
        assert mixture.counts(n) == tuple(had)
        assert turn.index == had[turn.source]
        had[turn.source] += 1
    if mixture.total is not None:
        assert had == limits
        assert mixture.counts(mixture.total + 5) == tuple(limits)


def test_weights_are_renormalised_where_a_source_left():
    mixture = Mixture([6, 3, 1], [12, None, None])
    end = next(n for n in range(99) if mixture.counts(n)[0] == 12)
    assert end in range(19, 22)
    before, after = mixture.counts(end), mixture.counts(end + 4000)
    assert [late - early for early, late in zip(before, after, strict=True)] == [0, 3000, 1000]


def test_the_heavier_source_begins_and_equal_ones_take_turns():
    assert [turn.source for turn in walk(Mixture([1, 3], [None, None]), 4)] == [1, 1, 0, 1]
    assert [turn.source for turn in walk(Mixture([2, 2], [None, None]), 4)] == [0, 1, 0, 1]
    assert [turn.source for turn in walk(Mixture([1, 1, 1], [None] * 3), 6)].count(2) == 2


def test_a_mixture_that_cannot_be_is_refused():
    for weights in ([], [0], [1, -1]):
        with pytest.raises(ValueError, match="weight above 0"):
            Mixture(weights, [None] * len(weights))
    with pytest.raises(ValueError, match="1 turn at least"):
        Mixture([1], [0])
    with pytest.raises(IndexError, match="turn 3 of a mixture of 3"):
        Mixture([1], [3]).turn(3)
    with pytest.raises(IndexError, match="turn -1"):
        Mixture([1], [None]).turn(-1)
