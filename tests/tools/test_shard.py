"""The shard command: every failed row named, the sums last, the exit status that follows from them."""

from __future__ import annotations

import json

import pytest

from tests.support.small_corpus import write_corpus
from tools import shard as module
from tools.corpus.planning import ShardRequest
from tools.shard import run_shard

BAD_LINES = ["videos/none.mp4,missing,,,1", '"videos/\x1b[2Jnone.mp4",escape,,,1', "videos/0.mp4,x,5,2,1"]


@pytest.fixture(scope="module")
def sharded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    table = write_corpus(folder, videos=2, extra=BAD_LINES)
    request = ShardRequest(input=str(table), out=str(folder / "out"))
    assert run_shard(request) == 1
    return request


def test_every_failed_row_is_named_and_the_sums_come_last(sharded, capsys):
    assert run_shard(sharded) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "rows that failed (the first row after the header is row 0):"
    assert lines[1] == "row 4 (videos/none.mp4): not_found: there is no file videos/none.mp4"
    assert lines[2].startswith("row 5 (videos/\\x1b[2Jnone.mp4): not_found")
    assert lines[3].startswith("row 6 (videos/0.mp4): bad_segment: the end (2 s) is not after the start (5 s)")
    assert lines[4].startswith("4 clips of 6.0 s in all, ")
    assert lines[5] == "7 rows: 4 success, 3 failed"
    assert len(lines) == 6


def test_beyond_the_first_failures_the_ledger_is_named(sharded, capsys, monkeypatch):
    monkeypatch.setattr(module, "_NAMED_FAILURES", 1)
    run_shard(sharded)
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == f"and 2 more rows that failed; all are in {sharded.out}/_vidloom/ledger"


def test_json_is_one_object(sharded, capsys):
    assert run_shard(sharded, as_json=True) == 1
    summary = json.loads(capsys.readouterr().out)
    assert (summary["rows"], summary["clips"], summary["shards"]) == (7, 4, 1)
    assert summary["status"] == {"failed": 3, "success": 4}
    assert summary["reasons"] == {"bad_segment": 1, "not_found": 2}
    assert [failure["row"] for failure in summary["failures"]] == [4, 5, 6]


def test_rows_that_are_sorted_out_are_no_failures(tmp_path, capsys):
    table = write_corpus(tmp_path, videos=1)
    request = ShardRequest(input=str(table), out=str(tmp_path / "out"), max_seconds=1.5)
    assert run_shard(request) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "2 rows: 1 success, 0 failed, 1 filtered"
