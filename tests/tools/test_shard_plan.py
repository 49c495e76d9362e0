"""A dry run tells what the real one then does, and writes nothing."""

from __future__ import annotations

import json

import pytest

from shards.manifest import open_manifest
from shards.store import open_store
from tests.support.in_process import work_here
from tests.support.small_corpus import write_corpus
from tools.corpus.request import ShardRequest
from tools.shard import run_shard
from tools.shard_plan import _lines, run_dry

BAD_LINES = ["videos/none.mp4,missing,,,1", "videos/0.mp4,x,5,2,1"]


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    table = write_corpus(folder, videos=3, extra=BAD_LINES)
    return ShardRequest(input=str(table), out=str(folder / "out"), shard_bytes=60_000, max_seconds=1.5)


def everything(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_what_is_foretold_comes_true_and_nothing_is_written_before(asked, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = open_store(asked.out).local_path("x").parent.parent
    before = everything(folder)
    assert run_dry(asked, as_json=True) == 1
    told = json.loads(capsys.readouterr().out)
    assert everything(folder) == before
    assert not list(tmp_path.iterdir())
    lines = _lines(told)
    assert lines[0].startswith("8 rows in ")
    assert lines[-1] == "8 rows would give: 3 success, 2 failed, 3 filtered; nothing was written"
    assert "  too_long: 3" in lines
    work_here(monkeypatch)
    run_shard(asked)
    capsys.readouterr()
    totals = open_manifest(open_store(asked.out)).totals
    for name in ("rows", "clips", "seconds", "frames", "status", "reasons"):
        assert told[name] == getattr(totals, name), name
    assert told["shards"] == len(open_manifest(open_store(asked.out)).shards)
    written = sum(entry.tar.bytes for entry in open_manifest(open_store(asked.out)).shards)
    assert 0.5 < told["bytes"] / written < 1.5
    assert told["smallest_shard"] <= told["largest_shard"] <= told["bytes"]
    assert run_dry(asked) == 0
    assert capsys.readouterr().out == "all 8 rows in 1 shard are done already; nothing was written\n"
