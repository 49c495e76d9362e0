"""A run's story for programs: whole lines of JSON whatever happens, and metrics for Weights & Biases."""

from __future__ import annotations

import errno
import json
import os
import sys
from types import ModuleType, SimpleNamespace

import pytest

from shards.errors import NotFoundError, StoreOutageError
from tests.tools.test_run_state import FAILED, PLAN, Clock
from tools import shard_log as module
from tools.console import StoppedError
from tools.corpus.events import Note, Planned
from tools.corpus.tally import Progress
from tools.run_state import RunState
from tools.shard_log import JsonLines, RunLog, Wandb


def told(sinks, *, error=None):
    """Tell a short run to the sinks: its plan, progress over 25 s, a note, and its end or an error."""
    clock = Clock()
    state = RunState(clock)
    with RunLog(sinks, state) as log:
        log.begin({"out": "out"})
        for event in (Planned(PLAN, 10, 9, 1), Progress(3, 2, 100), Progress(2, 2, 100) + FAILED, Note("a word")):
            clock.now += 5.0
            state.take(event)
            log.take(event)
        if error is not None:
            raise error
        log.end(1, {"clips": 4, "status": {"failed": 8}})


def events(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_run_is_told_in_lines_of_json(tmp_path):
    told([JsonLines(str(tmp_path / "log"), pytest.fail)])
    seen = events(tmp_path / "log")
    kinds = [event["event"] for event in seen]
    assert kinds == ["start", "plan", "progress", "note", "progress", "progress", "end"]
    assert all(event["time"].endswith("Z") for event in seen)
    assert [event["elapsed"] for event in seen] == sorted(event["elapsed"] for event in seen)
    plan = next(event for event in seen if event["event"] == "plan")
    assert (plan["rows"], plan["rows_done"], plan["shards"], plan["shards_done"]) == (100, 10, 10, 1)
    last = [event for event in seen if event["event"] == "progress"][-1]
    assert (last["rows"], last["clips"], last["bytes"]) == (15, 4, 200)
    assert last["reasons"] == {"failed": {"damaged": 5, "not_found": 3}, "filtered": {"too_short": 1}}
    assert (seen[-1]["exit"], seen[-1]["clips"]) == (1, 4)


@pytest.mark.parametrize(
    ("error", "status", "word"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (ValueError("bad option"), 2, "bad option"),
        (StoppedError("no room"), 1, "no room"),
        (NotFoundError("no such table"), 2, "no such table"),
        (StoreOutageError("out of reach"), 1, "out of reach"),
    ],
)
def test_a_run_that_is_cut_off_ends_with_its_status(tmp_path, error, status, word):
    with pytest.raises(type(error)):
        told([JsonLines(str(tmp_path / "log"), pytest.fail)], error=error)
    end = events(tmp_path / "log")[-1]
    assert (end["event"], end["exit"], end["error"]) == ("end", status, word)


def test_a_second_run_adds_its_lines_after_one_that_broke_off(tmp_path):
    (tmp_path / "log").write_text('{"event": "start"}\n{"event": "pro')
    told([JsonLines(str(tmp_path / "log"), pytest.fail)])
    lines = (tmp_path / "log").read_text().splitlines()
    assert lines[:2] == ['{"event": "start"}', '{"event": "pro']
    assert all(json.loads(line) for line in lines[2:])


def test_a_place_that_cannot_be_written_is_wrong_usage(tmp_path):
    with pytest.raises(ValueError, match=r"--log .* cannot be written: No such file or directory"):
        JsonLines(str(tmp_path / "none" / "log"), pytest.fail)


def test_a_full_disk_ends_the_log_and_not_the_run(tmp_path, monkeypatch):
    warned, written = [], []
    lines = JsonLines(str(tmp_path / "log"), warned.append)

    def write(file, data):
        if written:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(data)
        return len(data)

    monkeypatch.setattr(module.os, "write", write)
    told([lines])
    assert len(written) == 1
    assert len(warned) == 1
    assert "No space left on device; the run goes on without it" in warned[0]


@pytest.fixture
def wandb(monkeypatch):
    fake = ModuleType("wandb")
    fake.Error = type("Error", (Exception,), {})
    fake.seen, fake.summary, fake.ended = [], {}, []
    run = SimpleNamespace(
        log=fake.seen.append, summary=fake.summary, finish=lambda *, exit_code: fake.ended.append(exit_code)
    )

    def init(**settings):
        fake.settings = settings
        if settings["project"] == "closed":
            raise fake.Error("no API key")
        return run

    fake.init = init
    monkeypatch.setitem(sys.modules, "wandb", fake)
    return fake


def test_wandb_hears_numbers_over_time_and_the_summary(wandb):
    told([Wandb("corpora", "out", {"preset": "copy"})])
    assert (wandb.settings["project"], wandb.settings["name"], wandb.settings["config"]) == (
        "corpora",
        "out",
        {"preset": "copy"},
    )
    assert wandb.seen[-1]["rows"] == 15
    assert wandb.seen[-1]["reasons/failed/damaged"] == 5
    assert all(isinstance(value, (int, float)) for seen in wandb.seen for value in seen.values())
    assert (wandb.summary["clips"], wandb.summary["status/failed"]) == (4, 8)
    assert wandb.ended == [0]


def test_wandb_hears_that_a_run_was_cut_off(wandb):
    with pytest.raises(KeyboardInterrupt):
        told([Wandb("corpora", "out", {})], error=KeyboardInterrupt())
    assert wandb.ended == [130]


def test_wandb_that_takes_no_run_or_is_missing_is_wrong_usage(wandb, monkeypatch):
    with pytest.raises(ValueError, match="--wandb closed: no API key; WANDB_MODE=offline"):
        Wandb("closed", "out", {})
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ValueError, match=r"pip install 'vidloom\[wandb\]'"):
        Wandb("corpora", "out", {})
