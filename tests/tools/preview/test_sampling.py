"""Clips are chosen alike by chance: the same for a seed, each as often as the others, only those of a condition."""

from __future__ import annotations

from collections import Counter

import pytest

from shards.dataset import open_dataset
from shards.expression import ExpressionError, parse
from shards.layout import parquet_name
from shards.store import open_store
from tests.support.datasets import build_dataset
from tools.preview.sampling import sample_rows

COUNTS = (3, 0, 2, 4, 1)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sampling")
    build_dataset(open_store(folder / "set"), folder / "scratch", counts=COUNTS)
    return open_dataset(folder / "set")


def _places(sample):
    return [(place.shard, place.stem, place.row) for place in sample.places]


ALL = [(shard, f"{shard:05d}", row) for shard, count in enumerate(COUNTS) for row in range(count)]


@pytest.mark.parametrize("where", [None, parse("num_frames > 0")])
def test_more_than_there_are_gives_all_in_order(dataset, where):
    sample = sample_rows(*dataset, 99, seed=5, where=where)
    assert _places(sample) == ALL
    assert sample.among == 10


@pytest.mark.parametrize("where", [None, parse("num_frames > 0")])
def test_each_clip_is_as_likely_and_a_seed_decides(dataset, where):
    seen = Counter()
    draws = 150
    for seed in range(draws):
        sample = sample_rows(*dataset, 3, seed=seed, where=where)
        assert len(set(sample.places)) == 3
        assert _places(sample) == sorted(_places(sample))
        seen.update(_places(sample))
    assert set(seen) == set(ALL)
    assert all(20 <= count <= 70 for count in seen.values()), "45 are expected, with a deviation of 6"
    assert sample_rows(*dataset, 3, seed=7, where=where) == sample_rows(*dataset, 3, seed=7, where=where)


def test_a_condition_chooses_among_what_meets_it(dataset):
    # rows 0-2, 8-9, 12-15 and 16; the record of row r has 25 + r frames
    sample = sample_rows(*dataset, 4, where=parse("num_frames >= 34 and caption_words = 7"))
    assert sample.among == 6
    assert set(_places(sample)) < {(2, "00002", 1), *((3, "00003", row) for row in range(4)), (4, "00004", 0)}
    none = sample_rows(*dataset, 4, where=parse("width > 64"))
    assert (none.places, none.among) == ((), 0)
    every = sample_rows(*dataset, 99, where=parse("1 = 1"))
    assert every.among == 10


def test_only_columns_of_the_condition_are_read_and_none_without_one(dataset, tmp_path):
    store, manifest = dataset
    empty = open_store(tmp_path)
    assert sample_rows(empty, manifest, 2, seed=1) == sample_rows(store, manifest, 2, seed=1)
    with pytest.raises(OSError, match=r"00000\.parquet"):
        sample_rows(empty, manifest, 2, where=parse("width > 0"))


def test_what_cannot_be_done_is_refused(dataset, tmp_path):
    store, manifest = dataset
    for n, seed in ((0, 0), (1, -1), (1, 1 << 64)):
        with pytest.raises(ValueError, match="n must be at least 1, and seed"):
            sample_rows(store, manifest, n, seed)
    with pytest.raises(ExpressionError, match="widht"):
        sample_rows(store, manifest, 1, where=parse("widht > 3"))
    broken = open_store(tmp_path)
    for entry in manifest.shards:
        broken.put(parquet_name(entry.stem), b"PAR1 no table PAR1")
    with pytest.raises(ValueError, match=r"0000.\.parquet is damaged"):
        sample_rows(broken, manifest, 1, where=parse("width > 3"))
