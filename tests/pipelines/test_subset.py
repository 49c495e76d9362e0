"""Subsets: counted once, kept for later runs, and found again row by row."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines import subset as module
from pipelines.plan import OrderConfig, SampleOrder
from pipelines.split import SplitConfig
from pipelines.subset import RowMap, Subset, SubsetConfig, open_subset
from shards.dataset import Dataset, open_dataset
from shards.expression import ExpressionError
from shards.layout import parquet_name
from shards.reader import open_shard
from shards.store import open_store
from tests.support.datasets import build_dataset

HALF = SplitConfig(0.5, "held_out")
LONG = SubsetConfig("duration >= 1.5")
LONG_BY_WORDS = SubsetConfig("duration >= 1.5 and short_side == 48 and caption_words == 7 and aspect > 1.3")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    store = open_store(tmp_path_factory.mktemp("dataset"))
    build_dataset(store, tmp_path_factory.mktemp("scratch"), counts=(4, 0, 4, 3), payload_bytes=20)
    return open_dataset(store)


def expected(config: SubsetConfig, dataset: Dataset) -> list[list[int]]:
    """Return the rows of each shard, worked out clip by clip."""
    found = []
    for entry in dataset.manifest.shards:
        with open_shard(dataset.store, entry) as shard:
            records = [shard.record(row) for row in range(len(shard))]
        taken = [
            (config.where is None or record.media.duration >= 1.5)
            and (config.split is None or config.split.is_held_out(record.source))
            for record in records
        ]
        found.append(np.flatnonzero(taken).tolist())
    return found


@pytest.mark.parametrize(
    "config", [LONG, LONG_BY_WORDS, SubsetConfig(split=HALF), SubsetConfig("duration >= 1.5", HALF)]
)
def test_rows_are_those_that_the_condition_and_the_split_take(config: SubsetConfig, dataset: Dataset, tmp_path: Path):
    wanted = expected(config, dataset)
    subset = open_subset(config, *dataset, tmp_path)
    assert subset.counts == tuple(map(len, wanted))
    assert 0 < subset.clips < sum(entry.clips for entry in dataset.manifest.shards)
    assert subset.rows is not None
    for number, entry in enumerate(dataset.manifest.shards):
        with open_shard(dataset.store, entry) as shard:
            found = [subset.rows.true_row(number, shard.table, kept) for kept in range(subset.counts[number])]
        assert found == wanted[number]


def test_two_parts_of_a_split_make_the_whole(dataset: Dataset, tmp_path: Path):
    sides = (HALF, replace(HALF, part="train"))
    parts = [open_subset(SubsetConfig(split=side), *dataset, tmp_path) for side in sides]
    whole = open_subset(SubsetConfig(), *dataset, tmp_path)
    assert whole == Subset(tuple(entry.clips for entry in dataset.manifest.shards), None)
    assert tuple(map(sum, zip(*(part.counts for part in parts), strict=True))) == whole.counts


def test_counts_are_kept_and_tables_not_read_again(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    first = open_subset(LONG, *dataset, tmp_path).counts

    def read(*_: object) -> int:
        raise AssertionError("looked again")

    monkeypatch.setattr(module, "_count", read)
    assert open_subset(LONG, *dataset, tmp_path).counts == first
    with pytest.raises(AssertionError, match="looked again"):
        open_subset(SubsetConfig("duration >= 1.50"), *dataset, tmp_path)


@pytest.mark.parametrize("damage", [b"", b"[]", b'{"counts": [1]}', b'{"counts": [1, 2, 99999, 0]}'])
def test_damaged_counts_are_made_again(
    damage: bytes, dataset: Dataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    good = open_subset(LONG, *dataset, tmp_path).counts
    (kept,) = (tmp_path / "subsets").glob("*.json")
    kept.write_bytes(damage)
    assert open_subset(LONG, *dataset, tmp_path).counts == good
    assert json.loads(kept.read_bytes())["counts"] == list(good)
    assert "made again" in caplog.text


def test_where_nothing_can_be_kept_the_counts_are_made_each_time(
    dataset: Dataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    (tmp_path / "file").write_text("no folder")
    wanted = open_subset(LONG, *dataset, tmp_path / "kept").counts
    assert open_subset(LONG, *dataset, tmp_path / "file" / "below").counts == wanted
    assert "cannot be written to" in caplog.text


def test_nothing_is_written_into_the_dataset(dataset: Dataset, tmp_path: Path):
    before = sorted(dataset.store.list())
    open_subset(LONG, *dataset, tmp_path)
    assert sorted(dataset.store.list()) == before


def test_what_cannot_be_meant_is_refused(dataset: Dataset, tmp_path: Path):
    with pytest.raises(ExpressionError, match="character"):
        SubsetConfig("duration >= (")
    with pytest.raises(ExpressionError, match=r"no column 'weather'.* short_side, .*00000\.parquet"):
        open_subset(SubsetConfig("weather > 1"), *dataset, tmp_path)
    with pytest.raises(
        ValueError, match=r"11 clips and none of them is in .*: clips of which 'duration > 1000' is true$"
    ):
        open_subset(SubsetConfig("duration > 1000"), *dataset, tmp_path)


def test_a_part_is_told_in_words():
    both = SubsetConfig("duration >= 2", SplitConfig(0.25, "train", "key", "x"))
    assert str(both) == "clips of which 'duration >= 2' is true, of all clips but the 0.25 that is held out (salt 'x')"
    assert str(SubsetConfig(split=SplitConfig(0.01, "held_out"))) == "the 0.01 of videos that is held out"
    assert str(SubsetConfig()) == "all clips"


def test_a_table_that_cannot_be_read_is_named(tmp_path: Path):
    store = open_store(tmp_path / "dataset")
    build_dataset(store, tmp_path / "scratch", counts=(1, 2), payload_bytes=20)
    (tmp_path / "dataset" / parquet_name("00001")).write_bytes(b"PAR1 no")
    with pytest.raises(ValueError, match=r"00001\.parquet is damaged"):
        open_subset(LONG, *open_dataset(store), tmp_path / "cache")


def test_a_table_that_changed_is_noticed_and_maps_are_let_go(dataset: Dataset):
    with open_shard(dataset.store, dataset.manifest.shards[0]) as shard:
        table = shard.table
    rows = RowMap(SubsetConfig("duration >= 1.25"), (3, 9))
    assert [rows.true_row(0, table, kept) for kept in range(3)] == [1, 2, 3]
    with pytest.raises(ValueError, match=r"3 clips .* 9 were counted"):
        rows.true_row(1, table, 0)
    rows.keep({1})
    assert rows.true_row(0, table, 0) == 1


def _is_on_the_side(split: SplitConfig | None, source: str) -> bool:
    return split is None or split.is_held_out(source) == (split.part == "held_out")


@given(
    st.lists(st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=12), min_size=1, max_size=40),
    st.integers(0, 9),
    st.sampled_from([None, HALF, replace(HALF, part="train")]),
    st.integers(1, 9),
)
@settings(max_examples=60, deadline=None)
def test_an_epoch_has_each_clip_of_a_subset_once_and_no_other(
    shards: list[list[tuple[int, bool]]], least: int, split: SplitConfig | None, lanes: int
):
    config = SubsetConfig(f"level >= {least}", split)
    tables = [
        pa.table({
            "level": pa.array([level if known else None for level, known in shard], pa.int64()),
            "source": pa.array([f"{number}/{row // 2}" for row in range(len(shard))], pa.string()),
        })
        for number, shard in enumerate(shards)
    ]  # fmt: skip
    wanted = [
        (number, row)
        for number, shard in enumerate(shards)
        for row, (level, known) in enumerate(shard)
        if known and level >= least and _is_on_the_side(split, f"{number}/{row // 2}")
    ]
    counts = tuple(len(config.rows(table)) for table in tables)
    assert sum(counts) == len(wanted)
    if not wanted:
        return
    rows, order = RowMap(config, counts), SampleOrder(counts, OrderConfig(1, 1, lanes))
    for epoch in range(2):
        slots = [order.slot(epoch * len(wanted) + place) for place in range(len(wanted))]
        found = [(slot.shard, rows.true_row(slot.shard, tables[slot.shard], slot.row)) for slot in slots]
        assert sorted(found) == wanted
