"""Process groups killed outright at random instants of a first run, a retry and an extension leave no trace in a byte.

By default a few are killed; ``VIDLOOM_KILLS=20`` kills so many, on disk and in a bucket, with 1, 2 and 4 workers.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from shards.store import Store, open_store
from shards.verify import verify_dataset
from tests.support.in_process import run_here, work_here
from tests.support.small_corpus import write_corpus

KILLS = int(os.environ.get("VIDLOOM_KILLS", "0"))
VIDEOS = 12 if KILLS else 3
ROWS = 2 * VIDEOS - 2
"""Rows of the corpus before it grows."""

SHARD_BYTES = 40_000
STAGES = {"shard": (), "retry": ("--retry", "failed"), "extend": ("--extend",)}
whole = pytest.mark.skipif(KILLS == 0, reason="takes minutes; VIDLOOM_KILLS=20 asks for it")


@dataclass
class Corpus:
    """A table that grows and a video that is missing for the first run."""

    folder: Path

    def prepare(self, stage: str) -> Path:
        video, away = self.folder / "videos" / "0.mp4", self.folder / "away"
        if stage == "shard" and video.exists():
            video.rename(away)
        elif stage != "shard" and away.exists():
            away.rename(video)
        lines = (self.folder / "corpus.csv").read_text().splitlines(keepends=True)
        table = self.folder / "table.csv"
        table.write_text("".join(lines if stage == "extend" else lines[: 1 + ROWS]))
        return table


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(folder, videos=VIDEOS)
    return Corpus(folder)


@pytest.fixture(scope="module")
def stages(corpus, tmp_path_factory):
    """What is there before each stage and after the last, and for how long each stage is at work."""
    out = tmp_path_factory.mktemp("stages") / "out"
    states, seconds = [{}], []
    for stage in STAGES:
        process = start(corpus, stage, str(out), 1)
        begun = wait_for_work(process, open_store(out))
        _, errors = process.communicate()
        assert process.returncode == (1 if stage == "shard" else 0), errors
        seconds.append(time.monotonic() - begun)
        states.append(content(open_store(out)))
        shutil.copytree(out, out.with_name(f"after-{stage}"))
    return out.parent, states, seconds


def start(corpus, stage, out, workers):
    command = [
        sys.executable,
        "-m",
        "tools",
        "shard",
        str(corpus.prepare(stage)),
        out,
        "--shard-size",
        str(SHARD_BYTES),
    ]
    command += ["--workers", str(workers), *STAGES[stage]]
    return subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def wait_for_work(process, out):
    """Wait until a run has taken hold of its output, and return when that was."""
    while process.poll() is None and not has_begun(out):
        time.sleep(0.002 if out.is_local else 0.05)
    return time.monotonic()


def has_begun(out: Store) -> bool:
    if out.is_local:
        return out.local_path("_vidloom/scratch").exists()
    return bool(out.list("_vidloom/lease/"))


def kill_at(process, out, delay):
    """Kill the process group some seconds after its work has begun; tell whether it was at work."""
    wait_for_work(process, out)
    time.sleep(delay)
    hit = process.poll() is None
    if hit:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    return hit


def content(store):
    return {name: hashlib.sha256(store.read(name)).hexdigest() for name in store.list()}


def finish(corpus, stage, out, workers):
    process = start(corpus, stage, str(out.url), workers)
    _, errors = process.communicate()
    assert process.returncode == (1 if stage == "shard" else 0), errors


def test_a_retry_that_is_killed_gives_the_same_bytes(corpus, tmp_path, monkeypatch):
    work_here(monkeypatch)
    asked = {"shard_bytes": SHARD_BYTES}
    run_here(corpus.prepare("shard"), tmp_path / "faulty", **asked)
    run_here(
        corpus.prepare("retry"), shutil.copytree(tmp_path / "faulty", tmp_path / "whole"), retry=("failed",), **asked
    )
    draw = random.Random(0)
    for trial in range(9):
        out = open_store(shutil.copytree(tmp_path / "faulty", tmp_path / f"out-{trial}"))
        if kill_at(start(corpus, "retry", out.url, 2), out, 0.2 * draw.random()):
            break
    else:
        raise AssertionError("every run was over before it could be killed")
    run_here(corpus.prepare("retry"), out.url, retry=("failed",), **asked)
    assert content(out) == content(open_store(tmp_path / "whole"))


@whole
@pytest.mark.slow
def test_twenty_kills_on_disk(corpus, stages, tmp_path):
    folder, states, seconds = stages
    draw, hits = random.Random(1), 0
    for number, stage in enumerate(STAGES):
        trial = 0
        while hits < KILLS * (number + 1) // len(STAGES):
            place = tmp_path / f"{stage}-{trial}"
            if stage != "shard":
                shutil.copytree(folder / f"after-{list(STAGES)[number - 1]}", place)
            hits += killed_and_finished(corpus, stage, open_store(place), seconds[number], draw)
            assert content(open_store(place)) == states[number + 1], f"{stage}, trial {trial}"
            assert verify_dataset(open_store(place)).problems == ()
            trial += 1
    assert hits >= KILLS


@whole
@pytest.mark.slow
def test_kills_in_a_bucket(corpus, stages, object_store):
    _, states, seconds = stages
    out = open_store(object_store.make_bucket("kills") + "/out")
    draw, hits = random.Random(2), 0
    for number, stage in enumerate(STAGES):
        hits += killed_and_finished(corpus, stage, out, 2 * seconds[number], draw)
        assert content(out) == states[number + 1], stage
    assert hits > 0


def killed_and_finished(corpus, stage, out, seconds, draw):
    """Kill a stage up to three times on its way, then let it finish; return how often it was hit."""
    hits = 0
    for _ in range(3):
        process = start(corpus, stage, out.url, draw.choice([1, 2, 4]))
        hits += kill_at(process, out, draw.random() * seconds)
    finish(corpus, stage, out, draw.choice([1, 2, 4]))
    return hits
