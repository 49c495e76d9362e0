"""Very many problems of a shard are kept on disk, all of them, and what is held in memory does not grow with them."""

from __future__ import annotations

import pytest

from shards.store import open_store
from shards.verify import verify_dataset
from shards.verify_problems import Kind, Problem, ShardFindings
from shards.verify_spool import ProblemSpool
from tests.support.datasets import build_dataset


def findings(stem: str, count: int) -> ShardFindings:
    clips = (
        Problem("a.tar", f'line\none "{number}"', Kind.UNDECODABLE, f"k{number}", "damaged") for number in range(count)
    )
    return ShardFindings(stem, (Problem("a.tar", "its hash is", Kind.HASH, repairable=True), *clips))


@pytest.mark.parametrize("count", [0, 4, 5, 300])
def test_all_problems_come_back(count):
    spool = ProblemSpool(most=5)
    for number in (3, 1):
        spool.put(number, findings(str(number), count))
    for number in (1, 3, 1):
        assert list(spool.problems(number)) == list(findings(str(number), count).problems)
    assert len(spool.findings[3].problems) == (1 if count > 4 else count + 1)
    assert spool.findings[3].problems[0].kind == Kind.HASH


def test_a_second_check_of_a_shard_replaces_the_first():
    spool = ProblemSpool(most=2)
    spool.put(0, findings("0", 9))
    spool.put(0, findings("0", 1))
    assert len(list(spool.problems(0))) == 2
    spool.put(0, findings("0", 12))
    assert len(list(spool.problems(0))) == 13


def test_a_report_counts_all_of_them(tmp_path, monkeypatch):
    store = open_store(tmp_path / "set")
    build_dataset(store, tmp_path / "scratch")
    tar = store.read("00000.tar")
    store.put("00000.tar", tar.replace(b"caption of row", b"caption of now"))
    before = verify_dataset(store)
    monkeypatch.setattr("shards.verify.ProblemSpool", lambda: ProblemSpool(most=1))
    assert verify_dataset(store) == before
    assert before.counts == {"caption": 3, "hash": 1, "record": 3}
