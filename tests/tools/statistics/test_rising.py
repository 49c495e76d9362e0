"""Rising hashes: sorted whatever bits they differ in, each once with the rows that have it."""

from __future__ import annotations

import numpy as np
import pytest

from tools.statistics.hashing import mixed
from tools.statistics.rising import NONE, Values, rising_order


def test_hashes_that_differ_in_their_lower_bits_alone_are_sorted():
    hashes = np.array([5, 3, 4, 3, 1 << 60, 0, 5], np.uint64)
    assert hashes[rising_order(hashes)].tolist() == sorted(hashes.tolist())
    many = mixed(np.arange(1, 5000, dtype=np.uint64))
    assert np.array_equal(many[rising_order(many)], np.sort(many))
    assert rising_order(many[:1]).tolist() == [0]
    assert not len(rising_order(many[:0]))


@pytest.mark.parametrize("bits", [1, 20, 40, 63])
def test_small_hashes_are_sorted(bits):
    hashes = mixed(np.arange(1, 3000, dtype=np.uint64)) >> np.uint64(64 - bits)
    assert np.array_equal(hashes[rising_order(hashes)], np.sort(hashes))


def values(hashes):
    return Values.of(np.asarray(hashes, np.uint64), np.arange(10, 10 + len(hashes), dtype=np.uint64))


def test_neighbours_that_are_alike_are_put_together_where_many_are():
    few = values([7, 7, 7, 3, 3, 7])
    assert [one.tolist() for one in few] == [[7, 3, 7], [3, 2, 1], [10, 13, 15]]
    assert len(values([7, 7, 3, 4, 5]).hashes) == 5
    assert not len(values([]).hashes)


def test_values_are_grouped_with_the_sums_of_their_rows():
    joined = Values.joined([values([7, 7, 7, 3, 3, 7]), NONE, values([9, 3])])
    assert [one.tolist() for one in joined.grouped()] == [[3, 7, 9], [3, 4, 1], [11, 10, 10]]
    assert [one.tolist() for one in joined.below(7)] == [[7, 3, 7, 3], [3, 2, 1, 1], [10, 13, 15, 11]]
    assert joined.below(9) is joined
    assert joined.grouped().up_to(8).hashes.tolist() == [3, 7]
    assert Values.joined([]).grouped().hashes.dtype == np.uint64
