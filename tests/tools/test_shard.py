"""The shard command: every failed row named, the sums last, the exit status that follows from them."""

from __future__ import annotations

import json

import pytest

from tests.support.in_process import work_here
from tests.support.small_corpus import write_corpus
from tools import shard as module
from tools.corpus.request import ShardRequest
from tools.shard import run_shard
from tools.shard_watchers import Watchers

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
    assert lines[4] == "reasons: not_found 2, bad_segment 1"
    assert lines[5].startswith("4 clips of 6.0 s in all, ")
    assert lines[6] == "7 rows: 4 success, 3 failed"
    assert len(lines) == 7


def test_beyond_the_first_failures_the_ledger_is_named(sharded, capsys, monkeypatch):
    monkeypatch.setattr(module, "_NAMED_FAILURES", 1)
    run_shard(sharded)
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == f"and 2 more rows that failed; all are in {sharded.out}/_vidloom/ledger"


def test_json_is_one_object(sharded, capsys):
    assert run_shard(sharded, as_json=True) == 1
    summary = json.loads(capsys.readouterr().out)
    assert (summary["rows"], summary["clips"], summary["shards"], summary["seconds"]) == (7, 4, 1, 6.0)
    assert summary["status"] == {"failed": 3, "success": 4}
    assert summary["reasons"] == {"bad_segment": 1, "not_found": 2}
    assert [failure["row"] for failure in summary["failures"]] == [4, 5, 6]
    assert summary["elapsed"] > 0


def test_a_log_has_the_sums_of_the_run_that_made_the_dataset(tmp_path, capsys):
    table = write_corpus(tmp_path, videos=1, extra=BAD_LINES[:1])
    request = ShardRequest(input=str(table), out=str(tmp_path / "out"))
    assert run_shard(request, watchers=Watchers(log=str(tmp_path / "log"))) == 1
    events = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    kinds = [event["event"] for event in events]
    assert [kind for kind in kinds[:-2] if kind != "progress"] == ["start", "plan", "shard"]
    assert kinds[-2:] == ["progress", "end"]
    shard, progress, end = events[kinds.index("shard")], *events[-2:]
    assert (progress["rows"], progress["clips"], progress["shards"]) == (3, 2, 1)
    assert progress["reasons"] == {"failed": {"not_found": 1}}
    assert progress["bytes"] > 1000
    assert shard["reasons"] == end["reasons"] == {"not_found": 1}
    assert (end["exit"], end["rows"], end["clips"]) == (1, 3, 2)
    assert "Z" in events[0]["time"]


def test_a_log_that_cannot_be_written_stops_before_anything_is(tmp_path):
    table = write_corpus(tmp_path, videos=1)
    with pytest.raises(ValueError, match="--log"):
        run_shard(ShardRequest(input=str(table), out=str(tmp_path / "out")), watchers=Watchers(log=str(tmp_path)))
    assert not (tmp_path / "out").exists()


def test_rows_that_are_sorted_out_are_no_failures(tmp_path, capsys, monkeypatch):
    work_here(monkeypatch)
    table = write_corpus(tmp_path, videos=1)
    request = ShardRequest(input=str(table), out=str(tmp_path / "out"), max_seconds=1.5)
    assert run_shard(request) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "2 rows: 1 success, 0 failed, 1 filtered"
