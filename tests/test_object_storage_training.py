"""Real videos, all the way through a bucket: table and videos in it, shards into it, training out of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch

from shards.store import open_store
from tests.support.ranks import on_ranks
from tests.support.run_config import made
from train import build, loop
from train.__main__ import DONE, start

pytestmark = [pytest.mark.corpus, pytest.mark.slow]

ROWS = 16
STEPS = 24
SETTINGS = [
    *("stage=mvm", "model=vit_tiny", "model.width=96", "model.heads=3", "model.decoder_width=48", "data.batch_size=8"),
    *("data.frames=8", "data.stride=2", "data.size=64", "model.patch_size=8", "data.lanes=4", "optim.lr=2e-3"),
    *("optim.warmup_steps=2", "optim.weight_decay=0", f"train.max_steps={STEPS}", "train.checkpoint_every=4"),
    *("train.log_every=1", "train.device=cpu", "train.seed=3"),
]
FACTS = ("step", "keys_sha", "loss", "grad_norm", "lr", "drops")


def run(*arguments, expect=0):
    done = subprocess.run(  # noqa: PLW1510 - the status is compared below
        [sys.executable, "-m", *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == expect, done.stdout + done.stderr
    return done


def told(source, out, *more):
    return [*SETTINGS, f"data.train={source}", f"out={out}", *more]


def facts(out):
    lines = open_store(out).read("metrics.jsonl").splitlines()
    return [{name: json.loads(line)[name] for name in FACTS} for line in lines]


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Run on one thread here as elsewhere: sums over several differ in their last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def bucket(object_store, corpus_dir):
    """A bucket that holds the corpus's table and the videos of its first rows."""
    url = object_store.make_bucket("real-videos")
    store = open_store(url)
    table = (corpus_dir / "corpus.jsonl").read_bytes()
    rows = [json.loads(line) for line in table.splitlines()[:ROWS]]
    store.put("corpus.jsonl", table)
    for video in sorted({row["video"] for row in rows}):
        store.put_file(video, corpus_dir / video)
    return url


@pytest.fixture(scope="module")
def dataset(bucket):
    """The dataset that ``vidloom shard`` makes of it, in the same bucket."""
    shard = ["tools", "shard", f"{bucket}/corpus.jsonl", f"{bucket}/set", f"--limit={ROWS}", "--preset=train"]
    said = run(*shard, "--short-side=72", "--shard-size=200KiB", "--workers=2").stdout
    assert said.splitlines()[-1] == f"{ROWS} rows: {ROWS} success, 0 failed"
    return f"{bucket}/set"


@pytest.fixture(scope="module")
def whole(dataset, bucket):
    """A run in one piece that keeps its checkpoints in the bucket."""
    assert start(made(*told(dataset, f"{bucket}/whole"))) == DONE
    return facts(f"{bucket}/whole")


def test_statistics_and_verification_read_the_bucket(dataset):
    stats = json.loads(run("tools", "stats", dataset, "--json").stdout)
    assert stats["whole"]["clips"] == ROWS
    report = json.loads(run("tools", "verify", dataset, "--json").stdout)
    assert report["problems"] == []


def test_the_loss_falls(whole):
    losses = [line["loss"] for line in whole]
    assert len(losses) == STEPS
    assert sum(losses[-4:]) / 4 < 0.97 * sum(losses[:4]) / 4


def test_a_run_that_is_killed_and_goes_on_is_the_same_run(dataset, bucket, whole, tmp_path, caplog):
    out, stop = f"{bucket}/stopped", 5
    first = subprocess.Popen(
        [sys.executable, "-m", "train", *told(dataset, out, "train.checkpoint_every=1")],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    seen = ""
    for line in first.stdout:
        seen += line
        if f"checkpoint of step {stop} written" in line:
            first.kill()
            break
    first.wait(timeout=60)
    first.stdout.close()
    assert f"checkpoint of step {stop} written" in seen
    caplog.set_level("INFO")
    assert start(made(*told(dataset, out, f"data.cache_dir={tmp_path}/cache", "data.workers=3"))) == DONE
    assert "going on from" in caplog.text
    assert facts(out) == whole


def _train(ranks, settings, environment):
    os.environ.update(environment)
    with build.prepare(made(*settings), ranks) as run:
        return loop.train(run)


def test_two_ranks_see_the_same_global_batches(dataset, whole, tmp_path, object_store):
    settings = told(dataset, tmp_path / "two")
    assert on_ranks(2, _train, tmp_path, settings, object_store.environment()) == [True, True]
    two = facts(tmp_path / "two")
    assert [line["keys_sha"] for line in two] == [line["keys_sha"] for line in whole]
    assert [line["loss"] for line in two] == pytest.approx([line["loss"] for line in whole], rel=1e-4)
