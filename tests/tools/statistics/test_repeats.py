"""Repetition: exact up to the limit, near the truth beyond it, the same in whatever pieces the rows come."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.statistics import repeats
from tools.statistics.hashing import mixed
from tools.statistics.repeats import NO_BOUND, Repetition

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


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.integers(1, 4000), st.integers(3, 900), st.sampled_from([1, 3, 50]))
def test_rows_that_are_sorted_later_tell_the_same(seed, rows, limit, copies):
    random = np.random.default_rng(seed)
    hashes = mixed(random.integers(0, max(rows // copies, 1), rows).astype(np.uint64) + np.uint64(1))
    hashes = np.sort(hashes) if seed % 3 == 0 else hashes
    places = np.arange(rows, dtype=np.uint64)
    edges = sorted({0, rows, *random.integers(0, rows, 4).tolist()})
    whole, bound = Repetition(limit=limit), NO_BOUND
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(repeats, "_LOOK", 256)
        for a, b in itertools.pairwise(edges):
            part = Repetition.later(hashes[a:b], places[a:b], bound=bound, limit=limit)
            whole = Repetition.merged([whole, part])
            bound = whole.bound
        found = whole.settled()
    values, first, counts = np.unique(hashes, return_index=True, return_counts=True)
    assert not found.loose
    assert found.rows == rows
    assert found.bound == (NO_BOUND if len(values) <= limit else int(values[limit - 1]))
    assert np.array_equal(found.hashes, values[:limit])
    assert np.array_equal(found.counts, counts[:limit])
    assert np.array_equal(found.places, first[:limit])


def test_few_rows_are_not_sorted_before_they_must_be():
    hashes = mixed(np.arange(1, 101, dtype=np.uint64))
    loose = Repetition.later(hashes, np.arange(100, dtype=np.uint64), limit=60)
    assert loose.loose
    assert loose.weight == 100
    twice = Repetition.merged([loose, loose])  # more than three limits
    assert not twice.loose
    assert len(twice.hashes) == 60
    with pytest.raises(AssertionError, match="settled"):
        loose.distinct()


def test_a_look_that_misleads_loses_nothing(monkeypatch):
    """Few of the smallest hashes are alike and most others are, so that the look expects too many values."""
    monkeypatch.setattr(repeats, "_LOOK", 64)
    small = np.arange(1, 65, dtype=np.uint64) << np.uint64(50)
    large = np.array([1 << 62, 1 << 63], np.uint64).repeat(1000)
    hashes = np.concatenate([small, large])
    found = Repetition.later(hashes, np.arange(len(hashes), dtype=np.uint64), limit=1100).settled()
    assert found.is_complete
    assert found.hashes.tolist() == [*small.tolist(), 1 << 62, 1 << 63]
    assert found.counts.tolist() == [1] * 64 + [1000, 1000]
    assert found.places.tolist() == [*range(65), 1064]
