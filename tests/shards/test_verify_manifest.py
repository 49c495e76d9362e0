"""A lost manifest is made again as it was, where the shards say enough; else the reason is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from shards.canonical import canonical_json
from shards.layout import JOURNAL_NAME, MANIFEST_NAME, PLAN_NAME
from shards.plan import read_plan, write_plan
from shards.store import Store, open_store
from shards.verify_manifest import rebuild_manifest
from shards.verify_rebuild import NotRebuiltError
from tests.support.datasets import build_dataset

LEDGER = "_vidloom/ledger/00002.parquet"


@pytest.fixture
def dataset(tmp_path) -> Store:
    store = open_store(tmp_path / "set")
    build_dataset(store, tmp_path / "scratch")
    return store


def rebuilt(dataset: Store, tmp_path: Path) -> tuple[bytes, list[str]]:
    """Return the manifest's bytes, and which files were put back on the way."""
    put: list[str] = []
    return rebuild_manifest(dataset, tmp_path / "again", put.append).to_bytes(), put


def test_it_is_as_it_was(dataset, tmp_path):
    before = dataset.read(MANIFEST_NAME)
    dataset.delete(MANIFEST_NAME)
    assert rebuilt(dataset, tmp_path) == (before, [])
    assert not dataset.exists(MANIFEST_NAME), "writing it is the caller's"


@pytest.mark.parametrize("stem", ["00000", "00001", "00002"])
def test_a_block_without_its_summary_is_known_by_tar_and_ledger(dataset, tmp_path, stem):
    before = {name: dataset.read(name) for name in dataset.list()}
    for name in (f"{stem}_stats.json", f"{stem}.idx", f"{stem}.parquet"):
        dataset.delete(name)
    manifest, put = rebuilt(dataset, tmp_path)
    assert manifest == before[MANIFEST_NAME]
    assert sorted(put) == sorted([f"{stem}_stats.json", f"{stem}.idx", f"{stem}.parquet"])
    assert {name: dataset.read(name) for name in dataset.list()} == before


def test_a_table_that_says_what_the_tar_does_stays(dataset, tmp_path):
    dataset.delete("00000_stats.json")
    assert rebuilt(dataset, tmp_path)[1] == ["00000_stats.json"]


def test_a_table_that_says_something_else_is_replaced(dataset, tmp_path):
    before = dataset.read("00000.parquet")
    dataset.delete("00000_stats.json")
    dataset.put("00000.parquet", dataset.read("00002.parquet"))
    assert rebuilt(dataset, tmp_path)[1] == ["00000.parquet", "00000_stats.json"]
    assert dataset.read("00000.parquet") == before


@pytest.mark.parametrize("change", [{"stem": "00001"}, {"rows": 3}, {"status": {"success": 1}}])
def test_a_summary_that_cannot_be_is_made_again(dataset, tmp_path, change):
    before = dataset.read("00002_stats.json")
    dataset.put("00002_stats.json", canonical_json(json.loads(before) | change))
    assert rebuilt(dataset, tmp_path)[1] == ["00002_stats.json"]
    assert dataset.read("00002_stats.json") == before


def test_an_unfinished_dataset_is_not_finished_so(dataset, tmp_path):
    for name in (LEDGER, "00002_stats.json"):
        dataset.delete(name)
    with pytest.raises(NotRebuiltError, match="run the same 'vidloom shard' command again"):
        rebuilt(dataset, tmp_path)


def test_a_tar_of_other_samples_is_not_believed(tmp_path):
    dataset = open_store(tmp_path / "alike")
    build_dataset(dataset, tmp_path / "scratch", counts=(2, 2))
    before = dataset.read("00000.parquet")
    dataset.put("00000.tar", dataset.read("00001.tar"))
    dataset.delete("00000_stats.json")
    with pytest.raises(NotRebuiltError, match=r"the tar has sample .*, which is none of the ledger's successes"):
        rebuilt(dataset, tmp_path)
    assert dataset.read("00000.parquet") == before


def test_a_damaged_ledger_is_not_believed(dataset, tmp_path):
    dataset.put(LEDGER, dataset.read(LEDGER)[:-9])
    with pytest.raises(NotRebuiltError, match="is no readable ledger"):
        rebuilt(dataset, tmp_path)


def test_a_ledger_of_another_block_is_not_believed(dataset, tmp_path):
    dataset.delete("00002_stats.json")
    dataset.put(LEDGER, dataset.read("_vidloom/ledger/00000.parquet"))
    with pytest.raises(NotRebuiltError, match="shard 00002: the tar has 2 samples, the ledger 3 successes"):
        rebuilt(dataset, tmp_path)


def test_a_tar_that_is_not_whole_tells_nothing(dataset, tmp_path):
    dataset.delete("00002_stats.json")
    dataset.put("00002.tar", dataset.read("00002.tar")[:-512])
    with pytest.raises(NotRebuiltError, match=r"00002\.tar is damaged"):
        rebuilt(dataset, tmp_path)


def test_a_retry_that_was_cut_off_comes_first(dataset, tmp_path):
    dataset.put(JOURNAL_NAME, b"{}")
    with pytest.raises(NotRebuiltError, match="a retry did not come to its end"):
        rebuilt(dataset, tmp_path)


def test_without_a_plan_there_is_none(dataset, tmp_path):
    plan = dataset.read(PLAN_NAME)
    dataset.put(PLAN_NAME, plan[:-5])
    with pytest.raises(NotRebuiltError, match="a manifest cannot be made without it"):
        rebuilt(dataset, tmp_path)
    dataset.delete(PLAN_NAME)
    with pytest.raises(NotRebuiltError, match="without which no manifest can be made"):
        rebuilt(dataset, tmp_path)


def test_that_of_a_dataset_made_of_others_is_not_made(dataset, tmp_path):
    plan = read_plan(dataset)
    assert plan is not None
    settings = {**plan.settings, "made_by": "merge"}
    write_plan(dataset, type(plan)(**{**plan.to_json(), "rows_per_block": 0, "settings": settings}))
    with pytest.raises(NotRebuiltError, match="run the same 'vidloom merge' command again"):
        rebuilt(dataset, tmp_path)
