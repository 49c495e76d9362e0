"""The comparison of ranks: they deliver what one does, other work is told, and one core is too few."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import pytest

from benchmarks import scaling
from benchmarks.absent import ABSENT
from benchmarks.sides import scaling_rank
from tests.support.video_dataset import build_video_dataset

WHOLE = os.environ.get("VIDLOOM_WHOLE_CORPUS") == "1"


def loaded(work, rank, world, monkeypatch):
    """Return the answers of one rank in two rounds."""
    monkeypatch.setattr(scaling_rank.sys, "stdin", io.StringIO("\n\n"))
    out = io.StringIO()
    scaling_rank.load(work, rank, world, out)
    ready, *answers = [json.loads(line) for line in out.getvalue().splitlines()]
    assert ready == {}
    return answers


def test_two_ranks_deliver_what_one_does(tmp_path, monkeypatch):
    build_video_dataset(tmp_path / "set", tmp_path / "scratch", clips=8)
    work = {"dataset": str(tmp_path / "set"), "batches": 2}
    work["loader"] = {"batch_size": 4, "frames": 4, "stride": 1, "size": 32}
    alone, again = loaded(work, 0, 1, monkeypatch)
    first, second = (loaded(work, rank, 2, monkeypatch)[0] for rank in range(2))
    assert len(alone["clips"]) == 12
    assert sorted(first["clips"] + second["clips"]) == sorted(alone["clips"]) == sorted(again["clips"])
    assert all(each["wall"] > 0 and each["cpu"] > 0 for each in (alone, first))


def written(losses, keys="same"):
    """Return a stand-in for a run that writes the metrics of one; two ranks are told of by ``losses``."""

    def run(world, cores, out, work):
        assert f"out={out}" in work["overrides"]
        assert work["metrics"] == str(out / "metrics.jsonl")
        assert len(cores) == 2
        out.mkdir()
        lines = [
            {"loss": losses[world] / step, "keys_sha": keys if world > 1 else "same", "clips_per_s": 2.0 * world}
            for step in range(1, 7)
        ]
        (out / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return 2.0 * world

    return run


@pytest.mark.parametrize(
    "case",
    [({1: 2.0, 2: 2.001}, "same", True), ({1: 2.0, 2: 2.1}, "same", False), ({1: 2.0, 2: 2.0}, "others", False)],
)
def test_steps_are_compared(tmp_path, monkeypatch, capsys, case):
    losses, keys, same = case
    monkeypatch.setattr(scaling, "_write_shards", lambda folder, options: folder)
    monkeypatch.setattr(scaling, "_run", written(losses, keys))
    monkeypatch.setattr(scaling.os, "sched_getaffinity", lambda pid: {0, 1})
    out = tmp_path / "figures.json"
    given = ["--parts", "training", "--rounds", "2", "--batch", "4", "--steps", "6", "--json", str(out)]
    assert scaling.main(given) == (0 if same else 1)
    found = json.loads(out.read_text())["training"]
    assert found["same"] == same
    assert found["rounds"]["1"] == [{"wall": 4.0, "cpu": 2.0, "clips": 8.0}] * 2
    assert found["rounds"]["2"] == [{"wall": 2.0, "cpu": 4.0, "clips": 8.0}] * 2
    told = capsys.readouterr().out
    assert "two ranks over one: 2.00 times the clips a second, 2.00 times the CPU" in told
    assert ("the times mean nothing" in told) != same


def test_fewer_steps_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr(scaling, "_write_shards", lambda folder, options: folder)
    monkeypatch.setattr(scaling, "_run", written({1: 2.0, 2: 2.0}))
    monkeypatch.setattr(scaling.os, "sched_getaffinity", lambda pid: {0, 1})
    assert scaling.main(["--parts", "training", "--rounds", "1", "--batch", "4", "--steps", "7"]) == 1


def test_other_steps_in_the_first_round_are_told(tmp_path, monkeypatch):
    losses = {1: 2.0, 2: 2.1}
    run = written(losses)

    def last_one_right(world, cores, out, work):
        losses[2] = 2.1 if out.name.endswith("-0") else 2.0
        return run(world, cores, out, work)

    monkeypatch.setattr(scaling, "_write_shards", lambda folder, options: folder)
    monkeypatch.setattr(scaling, "_run", last_one_right)
    monkeypatch.setattr(scaling.os, "sched_getaffinity", lambda pid: {0, 1})
    assert scaling.main(["--parts", "training", "--rounds", "2", "--batch", "4", "--steps", "6"]) == 1


def test_cpu_time_is_taken_by_steps(tmp_path):
    metrics = tmp_path / "metrics.jsonl"
    with scaling_rank.Watch(metrics, [1, 2, 5]) as watch:
        for number in range(2):
            metrics.write_bytes(b"step\n" * (number + 1))
            while len(watch.used) <= number:
                sum(range(10**5))
    first, second, end = watch.used
    assert first < second < end  # the third never came, and is the end


def test_one_core_is_too_few(monkeypatch, capsys):
    monkeypatch.setattr(scaling.os, "sched_getaffinity", lambda pid: {0})
    assert scaling.main([]) == ABSENT
    assert "without a second core" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.skipif(not WHOLE or os.cpu_count() == 1, reason="half a minute; VIDLOOM_WHOLE_CORPUS=1 runs it")
def test_ranks_train_the_same(tmp_path):
    out = Path(tmp_path / "figures.json")
    tiny = ["--rounds", "1", "--clips", "4", "--seconds", "1.4", "--batch", "4", "--batches", "1", "--steps", "5"]
    assert scaling.main([*tiny, "--size", "32", "--json", str(out)]) == 0
    found = json.loads(out.read_text())
    assert found["loading"]["same"]
    assert found["training"]["difference of losses"] < scaling.MOST_DIFFERENCE
