"""Each stage on real videos out of a bucket, into a bucket: stopped, killed and resumed, on other numbers of ranks."""

from __future__ import annotations

import csv
import io
import os
import signal
import subprocess
import sys
from contextlib import suppress

import pytest
from hydra import compose, initialize_config_module

from shards.store import open_store
from train.__main__ import DONE, INTERRUPTED, start
from train.metrics import read_metrics
from train.schema import register, to_run_config
from train.step import TrainStep

pytestmark = pytest.mark.corpus

STEPS = 12
QUICK_STEPS = 2
LABEL = "input_codec"
FACTS = ("step", "keys_sha", "loss", "grad_norm", "lr", "drops")
LOSS, NORM = 1e-4, 1e-3
"""Relative tolerances of losses and gradient norms where sums of float32 run over other parts of a batch."""

SHARED = [
    *("data.batch_size=8", "data.frames=4", "data.stride=2", "data.size=32", "data.lanes=4", "data.workers=1"),
    *("optim.lr=1e-3", "optim.warmup_steps=2", "train.epochs=100", "train.checkpoint_every=1", "train.keep=2"),
    *("train.log_every=1", "train.device=cpu", "train.seed=3"),
]
VIT = ["model.width=48", "model.depth=2", "model.heads=2"]
UNIFORMER = ["width=48", "depth=2", "heads=3", "global_blocks=[0,1]"]
TEXT = ["text.width=48", "text.depth=2", "text.embed_width=32", "captioner.width=48", "captioner.visual_width=48"]
WORDS = [f"model.video.{one}" for one in (*UNIFORMER, "embed_width=32")] + [f"model.{one}" for one in TEXT]
LANGUAGE = ["stage=vlc", "model=video_text_tiny", *WORDS, "model.captioner.depth=1", "model.captioner.queries=8"]
SPARSE = ["data=labelled_sparse", "optim=adamw_uniformer", "objective.mixup=0", "objective.cutmix=0"]
ANSWERS = ["model.captioner.depth=1", "model.captioner.queries=8", "optim.lr_scales={vqa_classifier: 10}"]
PAIR = ["model.masked.width=48", "model.masked.depth=2", "model.masked.heads=2", "model.head_width=16"]
ONE_OF_PAIR = "{image_size: [32, 32], frames: 4, patch_size: 16, width: 48, depth: 2, heads: 3, global_blocks: [0, 1], "
STAGES = {
    "mvm": [
        "stage=mvm",
        "model=vit_tiny",
        *VIT,
        "model.decoder_width=24",
        "model.decoder_depth=1",
        "data.mask_ratio=0.5",
    ],
    "vlc": [*LANGUAGE, "train.ema=0.9"],
    "images": [*LANGUAGE, "data.image_batch_size=4", "data.image_ratio=0.5"],
    "videomae": ["stage=sft", "model=vit_tiny_classifier", *VIT, "optim.layer_decay=0.7"],
    "uniformer": ["stage=sft", "model=uniformer_tiny", *[f"model.{one}" for one in UNIFORMER], *SPARSE],
    "questions": ["stage=sft", "model=vqa_tiny", *WORDS, *ANSWERS, *SPARSE, "optim.schedule=linear"],
    "cma": ["stage=cma", "model=coordination_tiny", *PAIR],
}
QUICK = "vlc"
SMALLER = ["data.batch_size=2", "train.checkpoint_every=2"]
DROPOUT = {
    "vlc": ["model.video.global_dropout=0"],
    "images": ["model.video.global_dropout=0"],
    "uniformer": ["model.global_dropout=0", "model.head_dropout=0"],
    "questions": ["model.video.global_dropout=0", "model.answer_dropout=0"],
    "cma": ["model.dropout=0"],
}
"""What makes ranks comparable: each rank draws its own dropout."""
LONG = pytest.mark.skipif("VIDLOOM_EVERY_STAGE" not in os.environ, reason="minutes: set VIDLOOM_EVERY_STAGE=1")
EVERY = [pytest.param(name, marks=[pytest.mark.slow, LONG]) for name in STAGES]
ALONE = [sys.executable, "-m", "train"]
PAIRED = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "train"]


def environment():
    """Return the variables of a run; those of the object store are set only once it runs."""
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def shard(corpus_dir, bucket, rows):
    """Make a dataset of some of the corpus's videos; return it and how many classes its labels have."""
    url = f"{bucket}/set-{len(rows)}"
    table = io.StringIO()
    writer = csv.DictWriter(table, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    open_store(bucket).put(f"rows-{len(rows)}.csv", table.getvalue().encode())
    cut = ["tools", "shard", f"{bucket}/rows-{len(rows)}.csv", url, "--preset=train", f"--root={corpus_dir}"]
    command = [sys.executable, "-m", *cut, "--short-side=40", "--shard-size=64KiB", "--workers=2"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return url, len({row["codec"] for row in rows})


def rows_of(corpus_dir):
    with (corpus_dir / "corpus.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def bucket(object_store):
    return object_store.make_bucket("real-stages")


@pytest.fixture(scope="module")
def dataset(corpus_dir, bucket):
    """Clips of the corpus, in many shards."""
    return shard(corpus_dir, bucket, rows_of(corpus_dir)[:24])


@pytest.fixture(scope="module")
def small(corpus_dir, bucket):
    """Clips of its smallest videos."""
    by_size = sorted(rows_of(corpus_dir), key=lambda row: ((corpus_dir / row["video"]).stat().st_size, row["start"]))
    return shard(corpus_dir, bucket, by_size[:4])


def settings_of(stage, dataset, out, *more, steps=STEPS):
    url, classes = dataset
    told = [*SHARED, *STAGES[stage], f"data.train={url}", f"out={out}", f"train.max_steps={steps}"]
    if stage == "images":
        told.append(f"data.images={url}")
    if stage in {"videomae", "uniformer"}:
        told += [f"data.label={LABEL}", f"model.classes={classes}"]
    if stage == "questions":
        told += [f"data.label={LABEL}", f"model.answers={classes}"]
    if stage == "cma":
        other = f"{ONE_OF_PAIR}classes: {classes}, global_dropout: 0.0, head_dropout: 0.0}}"
        told += [f"data.label={LABEL}", f"model.masked.classes={classes}", f"model.multimodal=[{other}]"]
    return [*told, *more]


def train(settings, program=ALONE):
    """Run to the end; return what was said."""
    done = subprocess.run(
        [*program, *settings], env=environment(), capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stderr


def stop_at(step, how, settings, program=ALONE):
    """Run, send a signal once the checkpoint of a step is there; return the status and what was said."""
    process = subprocess.Popen(
        [*program, *settings],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    said = ""
    try:
        for line in process.stdout:
            said += line
            if f"checkpoint of step {step} written" in line:
                process.send_signal(how)
                break
        rest, _ = process.communicate(timeout=400)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert f"checkpoint of step {step} written" in said, said + rest
    return process.returncode, said + rest


def facts(out, folder):
    """Return what a run tells of each step, and all its losses."""
    (folder / "metrics.jsonl").write_bytes(open_store(out).read("metrics.jsonl"))
    lines = read_metrics(folder / "metrics.jsonl")
    return [{name: line[name] for name in line if name in FACTS or name.startswith("loss")} for line in lines]


def leavings(out, step):
    """Return the files of the last checkpoint and of the export that hold weights."""
    store = open_store(out)
    names = [name for name in store.list() if name.endswith(".safetensors")]
    kept = [name for name in names if name.startswith(("final/", f"checkpoints/step-{step:08d}/"))]
    return {name: store.read(name) for name in kept}


def assert_parts_are_whole(stage, dataset, bucket, folder, *, steps, ends):
    """Compare a run in one piece with one that each of ``ends``, a step and a signal, has stopped."""
    whole, parts = f"{bucket}/{stage}-{steps}-whole", f"{bucket}/{stage}-{steps}-parts"
    train(settings_of(stage, dataset, whole, f"data.cache_dir={folder}/cache", steps=steps))
    settings = settings_of(stage, dataset, parts, f"data.cache_dir={folder}/cache", steps=steps)
    for step, how in ends:
        status, said = stop_at(step, how, settings)
        assert status == (130 if how == signal.SIGTERM else -how), said
        assert "Traceback" not in said
    assert f"going on from {parts}/checkpoints/step-" in train(settings)
    expected = facts(whole, folder)
    assert [line["step"] for line in expected] == list(range(1, steps + 1))
    assert facts(parts, folder) == expected
    assert leavings(parts, steps) == leavings(whole, steps)
    assert len(leavings(whole, steps)) >= 3


def composed(settings):
    with initialize_config_module("train.conf", version_base="1.3"):
        register()
        return to_run_config(compose("config", overrides=settings))


def test_a_quick_run_that_is_stopped_goes_on_to_the_last_bit(small, bucket, tmp_path, monkeypatch):
    """In this process, which has loaded everything already."""

    def step_with_signal(self, batch, step, lr, take=TrainStep.__call__):
        signal.raise_signal(signal.SIGTERM)
        return take(self, batch, step, lr)

    whole, parts = f"{bucket}/quick-whole", f"{bucket}/quick-parts"
    told = [f"data.cache_dir={tmp_path}/cache", *SMALLER]
    again = composed(settings_of(QUICK, small, parts, *told, steps=QUICK_STEPS))
    assert start(composed(settings_of(QUICK, small, whole, *told, steps=QUICK_STEPS))) == DONE
    with monkeypatch.context() as patch:
        patch.setattr(TrainStep, "__call__", step_with_signal)
        assert start(again) == INTERRUPTED
    assert len(facts(parts, tmp_path)) == 1
    assert start(again) == DONE
    assert facts(parts, tmp_path) == facts(whole, tmp_path)
    assert leavings(parts, QUICK_STEPS) == leavings(whole, QUICK_STEPS)


@pytest.mark.parametrize("stage", EVERY)
def test_terminated_and_killed_a_stage_goes_on_to_the_last_bit(stage, dataset, bucket, tmp_path):
    ends = [(3, signal.SIGTERM), (7, signal.SIGKILL)]
    assert_parts_are_whole(stage, dataset, bucket, tmp_path, steps=STEPS, ends=ends)


@pytest.mark.parametrize("stage", EVERY)
def test_ranks_and_cuts_come_and_go_with_the_same_batches_and_losses(stage, dataset, bucket, tmp_path, record_property):
    """Two ranks with whole weights, one, two with cut weights, two with whole ones again."""
    more = [f"data.cache_dir={tmp_path}/cache", *DROPOUT.get(stage, [])]
    alone, parts = f"{bucket}/{stage}-alone", f"{bucket}/{stage}-ranks"
    train(settings_of(stage, dataset, alone, *more))
    settings = settings_of(stage, dataset, parts, *more)
    for step, program, strategy in [(3, PAIRED, "ddp"), (6, ALONE, "ddp"), (9, PAIRED, "fsdp")]:
        _, said = stop_at(step, signal.SIGTERM, [*settings, f"train.strategy={strategy}"], program)
        assert "stopped at step" in said
    train(settings, PAIRED)
    expected, found = facts(alone, tmp_path), facts(parts, tmp_path)
    record_property("furthest", furthest(found, expected))
    for mine, theirs in zip(found, expected, strict=True):
        assert {name: mine[name] for name in ("step", "keys_sha", "lr", "drops")} == {
            name: theirs[name] for name in ("step", "keys_sha", "lr", "drops")
        }
        losses = {name: value for name, value in theirs.items() if name.startswith("loss")}
        assert {name: mine[name] for name in losses} == pytest.approx(losses, rel=LOSS)
        assert mine["grad_norm"] == pytest.approx(theirs["grad_norm"], rel=NORM)


def furthest(found, expected):
    """Return the largest relative differences."""
    return {
        name: max(abs(a[name] - b[name]) / abs(b[name]) for a, b in zip(found, expected, strict=True))
        for name in ("loss", "grad_norm")
    }
