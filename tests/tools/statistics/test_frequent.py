"""The most frequent values are found, few or many as there are, and copies are counted near the truth."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.statistics.frequent import repeating
from tools.statistics.hashing import mixed
from tools.statistics.repeats import Repetition
from tools.statistics.sample import Sample


def known_of(numbers, limit, rows):
    hashes, places = mixed(np.asarray(numbers, np.uint64) + np.uint64(1)), np.arange(len(numbers), dtype=np.uint64)
    captions = pa.array([""] * len(numbers), pa.string())
    return Repetition.of(hashes, places, limit=limit), Sample.of(captions, hashes, places, limit=rows)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 12), max_size=60))
def test_of_few_values_all_is_exact(numbers):
    found = repeating(*known_of(numbers, 100, 10)[:1], most=3)
    order = sorted(set(numbers), key=lambda number: (-numbers.count(number), numbers.index(number)))
    most = [number for number in order if numbers.count(number) > 1][:3]
    assert [(one.place, one.count) for one in found.largest] == [
        (numbers.index(number), numbers.count(number)) for number in most
    ]
    assert found.copies.value == len(numbers) - len(set(numbers))
    assert repeating(*reversed_arguments(numbers)) == found


def reversed_arguments(numbers):
    repetition, sample = known_of(numbers, 100, 10)
    return repetition, 3, sample


@pytest.mark.parametrize("seed", range(4))
def test_values_that_very_many_rows_have_are_not_missed(seed):
    random = np.random.default_rng(seed)
    often = np.repeat(np.arange(5), [20_000, 10_000, 5000, 3000, 2000])
    numbers = random.permutation(np.concatenate([often, random.integers(100, 50_000, 60_000)])) + seed * 10**6
    repetition, sample = known_of(numbers, 500, 4000)
    found = repeating(repetition, 5, sample)
    values, counts = np.unique(numbers, return_counts=True)
    truth = len(numbers) - len(values)
    assert 0 < found.copies.margin < 0.25 * truth
    assert abs(found.copies.value - truth) < 2.5 * found.copies.margin
    for one, value, count in zip(
        found.largest, seed * 10**6 + np.arange(5), (20_000, 10_000, 5000, 3000, 2000), strict=True
    ):
        assert numbers[one.place] == value
        assert abs(one.count - count) < 6 * np.sqrt(count * 25)
    assert abs(found.repeated.value - (counts > 1).sum()) < 2.5 * found.repeated.margin


def test_without_a_sample_of_rows_that_of_values_tells_alone():
    repetition, sample = known_of([1, 1, 2, 2, 3, 4, 5], 3, 0)
    assert not repetition.is_complete
    assert repeating(repetition, 3, sample) == repeating(repetition, 3)
