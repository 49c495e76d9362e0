"""What a call asks for, and which shards a list of numbers names."""

from __future__ import annotations

import pytest

from shards.manifest import open_manifest
from shards.store import open_store
from tests.support.datasets import build_dataset
from tools.corpus.executor import ExecutorChoice
from tools.verify import verify_request
from tools.verify_options import DecodeRunOptions, VerifyOptions
from tools.verifying.request import VerifyRequest, chosen_shards


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("request")
    return build_dataset(open_store(folder / "set"), folder / "scratch", counts=(1, 0, 1, 1)).shards


@pytest.mark.parametrize(
    ("text", "places"),
    [
        (None, [0, 1, 2, 3]),
        ("2", [2]),
        ("3,0-1", [0, 1, 3]),
        (" 1 , 1-2", [1, 2]),
        ("00002", [2]),
        ("0-3", [0, 1, 2, 3]),
    ],
)
def test_lists_of_shards(shards, text, places):
    assert chosen_shards(text, shards) == places


def test_numbers_are_those_of_the_shards_not_their_places(shards):
    assert chosen_shards("2-3", shards[1:]) == [1, 2]


@pytest.mark.parametrize("text", ["", "a", "1-", "-1", "1,,2", "1-b", "1.5"])
def test_what_is_no_list_is_refused(shards, text):
    with pytest.raises(ValueError, match="it takes numbers and ranges of them, such as 3,7-9"):
        chosen_shards(text, shards)


def test_shards_that_there_are_not_are_named(shards):
    with pytest.raises(ValueError, match="--shards names shard 4; the dataset has 0 to 3"):
        chosen_shards("2-4", shards)


def test_a_range_that_ends_before_it_begins_is_refused(shards):
    with pytest.raises(ValueError, match="of which 3-1 ends before it begins"):
        chosen_shards("0,3-1", shards)


def test_endless_ranges_are_refused_at_once(shards):
    with pytest.raises(ValueError, match="names shard 4;"):
        chosen_shards(f"0-{10**15}", shards)


def test_there_are_no_shards_where_there_is_no_manifest():
    assert chosen_shards("3", []) == []


def test_options_become_a_request():
    what = VerifyOptions(decode=True, sample=5, seed=2, shards="1", repair=True)
    run = DecodeRunOptions(workers=3, clip_timeout=9.0, worker_memory="1GiB", log="log.jsonl")
    assert verify_request("set", what, run) == VerifyRequest(
        dataset="set",
        decode=True,
        sample=5,
        seed=2,
        shards="1",
        repair=True,
        choice=ExecutorChoice(workers=3, row_seconds=9.0, memory=1 << 30),
        log="log.jsonl",
    )
    assert verify_request("set", VerifyOptions(), DecodeRunOptions()).choice.row_seconds == 300.0


def test_a_dataset_without_shards_is_looked_at(tmp_path):
    build_dataset(open_store(tmp_path / "set"), tmp_path / "scratch", counts=(1,))
    assert chosen_shards(None, ()) == []
    assert len(open_manifest(tmp_path / "set").shards) == 1
