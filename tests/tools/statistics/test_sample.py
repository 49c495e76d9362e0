"""The sample of captions: the same rows in whatever pieces they come, and every row as likely."""

from __future__ import annotations

import itertools

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.statistics.hashing import hash_texts
from tools.statistics.repeats import NO_BOUND
from tools.statistics.sample import LETTERS, Sample, likely_bound


def sample(rows, **options):
    captions = pa.array([f"caption {row}" for row in rows], pa.string())
    return Sample.of(captions, hash_texts(captions), np.array(rows, np.uint64), **options)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 80), st.lists(st.integers(1, 79), max_size=3), st.integers(0, 90))
def test_parts_make_the_whole(count, cuts, limit):
    rows = list(range(count))
    whole = sample(rows, limit=limit)
    edges = sorted({0, count, *(cut for cut in cuts if cut < count)})
    parts = [sample(rows[a:b], limit=limit) for a, b in itertools.pairwise(edges)]
    if not parts:
        return
    assert Sample.merged(parts).same(whole)
    hinted = parts[:1] + [
        sample(rows[a:b], limit=limit, bound=parts[0].bound) for a, b in itertools.pairwise(edges[1:])
    ]
    assert Sample.merged(hinted[::-1]).same(whole)
    assert len(whole.ranks) == min(count, limit)
    assert sorted(whole.captions.to_pylist()) == sorted(f"caption {place}" for place in whole.places.tolist())


def test_every_part_of_a_dataset_has_its_share():
    found = sample(range(20_000), limit=2000)
    assert found.share == pytest.approx(0.1)
    counts = np.bincount(found.places.astype(int) // 5000, minlength=4)
    assert abs(counts - 500).max() < 100


def test_of_long_captions_the_beginning_is_kept():
    captions = pa.array(["ä" * (LETTERS + 5)])
    found = Sample.of(captions, hash_texts(captions), np.array([7], np.uint64))
    assert found.captions.to_pylist() == ["ä" * LETTERS]


def test_of_a_column_in_parts_the_same_rows_are_taken():
    rows = np.arange(300, dtype=np.uint64)
    captions = pa.array([f"caption {row}" for row in rows])
    parts = pa.chunked_array([captions[:7], captions[7:7], captions[7:250], captions[250:]])
    one, other = (Sample.of(some, hash_texts(some), rows, limit=40) for some in (captions, parts))
    assert one.same(other)
    assert other.captions.to_pylist() == [f"caption {place}" for place in other.places]


@pytest.mark.parametrize(("rows", "limit"), [(5000, 100), (200_000, 20_000), (3000, 0)])
def test_the_rank_that_is_guessed_is_above_those_of_the_sample_but_not_far(rows, limit):
    guessed = likely_bound(rows, limit)
    whole = Sample.of(pa.array([""] * rows), np.zeros(rows, np.uint64), np.arange(rows, dtype=np.uint64), limit=limit)
    assert whole.bound < guessed < NO_BOUND * (limit + 10 * limit**0.5 + 50) / rows
    assert likely_bound(50, 100) == NO_BOUND
