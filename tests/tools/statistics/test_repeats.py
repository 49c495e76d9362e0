"""Repetition: exact up to the limit, near the truth beyond it, the same in whatever pieces the rows come."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.statistics.hashing import mixed
from tools.statistics.repeats import Repetition, rising_order

ROWS = st.lists(st.integers(0, 40), max_size=120)


def repetition(numbers, first=0, **options):
    hashes = mixed(np.asarray(numbers, np.uint64) + np.uint64(1))
    return Repetition.of(hashes, np.arange(first, first + len(numbers), dtype=np.uint64), **options)


@settings(deadline=None, max_examples=100)
@given(ROWS, st.lists(st.integers(0, 120), max_size=4), st.integers(3, 50))
def test_parts_make_the_whole_whatever_is_known(numbers, cuts, limit):
    whole = repetition(numbers, limit=limit)
    edges = sorted({0, len(numbers), *(cut for cut in cuts if cut < len(numbers))})
    parts = [repetition(numbers[a:b], a, limit=limit) for a, b in itertools.pairwise(edges)]
    if not parts:
        return
    assert Repetition.merged(parts).same(whole)
    assert Repetition.merged(parts[::-1]).same(whole)
    known = parts[0]
    hinted = [known] + [
        repetition(numbers[a:b], a, limit=limit, bound=known.bound) for a, b in itertools.pairwise(edges[1:])
    ]
    assert Repetition.merged(hinted).same(whole)


@settings(deadline=None, max_examples=60)
@given(ROWS)
def test_below_the_limit_all_is_exact(numbers):
    found = repetition(numbers)
    assert (found.distinct().value, found.distinct().margin) == (len(set(numbers)), 0)
    assert (found.copies().value, found.copies().margin) == (len(numbers) - len(set(numbers)), 0)
    assert found.repeated().value == sum(numbers.count(number) > 1 for number in set(numbers))


@pytest.mark.parametrize("seed", range(4))
def test_beyond_the_limit_the_truth_lies_near(seed):
    random = np.random.default_rng(seed)
    numbers = random.integers(0, 60_000, 100_000)
    found = repetition(numbers + seed * 1_000_000, limit=4000)
    assert not found.is_complete
    assert len(found.hashes) == 4000
    values, counts = np.unique(numbers, return_counts=True)
    for told, truth in (
        (found.distinct(), len(values)),
        (found.copies(), len(numbers) - len(values)),
        (found.repeated(), int((counts > 1).sum())),
    ):
        assert 0 < told.margin < 0.1 * truth
        assert abs(told.value - truth) < 2.5 * told.margin  # 2.5 of 1.96 errors each: five standard errors


def test_no_copies_in_a_sample_still_have_a_margin():
    found = repetition(np.arange(10_000), limit=100)
    assert found.copies().value == 0
    assert 200 < found.copies().margin < 500


def test_nothing():
    assert Repetition.merged([]).same(Repetition())
    assert Repetition().distinct().value == 0


def test_hashes_that_differ_in_their_lower_bits_alone_are_sorted():
    hashes = np.array([5, 3, 4, 3, 1 << 60, 0, 5], np.uint64)
    assert hashes[rising_order(hashes)].tolist() == sorted(hashes.tolist())
    many = mixed(np.arange(1, 5000, dtype=np.uint64))
    assert np.array_equal(many[rising_order(many)], np.sort(many))
    assert rising_order(many[:1]).tolist() == [0]
    assert not len(rising_order(many[:0]))
