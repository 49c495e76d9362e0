"""A run of each stage on real videos: stopped by a signal and resumed it is the run that was never stopped."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch

from model.clip_config import AnsweringConfig
from shards.store import open_store
from tests.support.clip_datasets import build_clip_dataset
from tests.support.run_config import made, with_settings
from tests.support.saved_runs import towers_with_words
from tests.support.stages import UNIFORMER, stage_config
from train import build, loop
from train.evaluate import answering_task, in_training
from train.evaluate.judging import Judge, LoadSettings
from train.metrics import read_metrics
from train.mix_config import MixSource
from train.parallel import Ranks
from train.pretrained import load_model
from train.step import TrainStep

ALONE = Ranks(0, 1, torch.device("cpu"))
STEPS = 4
KINDS = ("cat", "dog", "bee", "owl", "ant")
TIMES = {"clips_per_s", "data_wait"}
SMALL = {
    "optim__warmup_steps": 1,
    "data__batch_size": 4,
    "data__stride": 1,
    "data__workers": 1,
    "data__lanes": 2,
    "train__max_steps": STEPS,
    "train__log_every": 1,
    "train__checkpoint_every": 2,
}
UNIFORM = {"model": UNIFORMER, "objective__freeze_backbone": True, "data__sampling": "segment", "data__flip": 0.5}
RUNS = {
    "masked": ("mvm", {"data__repeats": 2}),
    "packed": ("mvm", {"data__packing": True, "data__holdout": 0.2, "data__holdout_by": "key"}),
    "language": ("vlc", {"train__ema": 0.9}),
    "images": ("vlc", {"data__images": True, "data__image_batch_size": 2, "data__image_ratio": 0.5}),
    "mixed": ("sft", {"objective__mixup": 0.8, "objective__cutmix": 1.0, "optim__layer_decay": 0.7}),
    "frozen": ("sft", UNIFORM),
    "questions": ("sft", {"optim__lr_scales": {"vqa_classifier": 10.0}, "optim__schedule": "linear"}),
    "coordinated": ("cma", {"train__ema": 0.9, "data__crop": "random_resized"}),
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("set")
    build_clip_dataset(
        open_store(folder),
        tmp_path_factory.mktemp("scratch"),
        counts=(6, 4),
        broken={3},
        columns={"class": "string"},
        values=lambda row: {"class": KINDS[row % 5]},
    )
    return folder


def settings_of(name, dataset, out, **more):
    stage, changes = RUNS[name]
    told = SMALL | changes | {"data__train": str(dataset), "data__cache_dir": str(dataset.parent / "cache")} | more
    if told.get("data__images"):
        told["data__images"] = str(dataset)
    model, data = towers_with_words(), {"frames": 4, "size": 16}
    config = stage_config(stage, out)
    if name == "questions":
        towers = towers_with_words()
        model = AnsweringConfig(**vars(replace(towers, video=replace(towers.video, frames=4))), answers=len(KINDS))
        config = replace(config, model=model)
    if stage == "vlc":
        assert (model.video.frames, model.video.image_size) == (4, (16, 16))
        config = replace(config, model=model, data=replace(config.data, **data))
    return with_settings(config, **told)


def go(config):
    with build.prepare(config, ALONE) as run:
        return loop.train(run)


def signalled_at(last, take=TrainStep.__call__):
    """Return a step that a signal interrupts."""

    def step_with_signal(self, batch, step, lr):
        if step == last:
            signal.raise_signal(signal.SIGTERM)
        return take(self, batch, step, lr)

    return step_with_signal


def facts(out, step=STEPS):
    """Return what a run leaves that must not hang on how it was cut up."""
    lines = [{k: v for k, v in line.items() if k not in TIMES} for line in read_metrics(out / "metrics.jsonl")]
    last = out / f"checkpoints/step-{step:08d}"
    state = json.loads((last / "state.json").read_text())
    weights = {path.name: path.read_bytes() for path in last.glob("*.safetensors")}
    return lines, (state["samples"], state["loader"]), weights, (out / "final/model.safetensors").read_bytes()


@pytest.mark.parametrize("name", RUNS)
def test_stopped_by_a_signal_a_stage_goes_on_to_the_last_bit(dataset, tmp_path, monkeypatch, name):
    stopped = 2 if name == "images" else 1  # of images at the second turn
    assert go(settings_of(name, dataset, tmp_path / "whole"))
    with monkeypatch.context() as patch:
        patch.setattr(TrainStep, "__call__", signalled_at(stopped - 1))
        assert go(settings_of(name, dataset, tmp_path / "parts")) is False
    assert not (tmp_path / "parts/final").exists()
    assert [line["step"] for line in read_metrics(tmp_path / "parts/metrics.jsonl")] == list(range(1, stopped + 1))
    assert go(settings_of(name, dataset, tmp_path / "parts"))
    whole, parts = facts(tmp_path / "whole"), facts(tmp_path / "parts")
    assert parts == whole
    assert all(line["loss"] > 0 and not line["skipped"] for line in whole[0])


@pytest.mark.parametrize("name", ["language", "mixed"])
def test_a_run_that_is_judged_on_the_way_trains_the_same(dataset, tmp_path, name):
    """One of them is judged by the average of its weights."""
    assert go(settings_of(name, dataset, tmp_path / "plain"))
    watched = settings_of(name, dataset, tmp_path / "judged", data__val=str(dataset), train__eval_every=2)
    assert go(watched)
    assert facts(tmp_path / "judged") == facts(tmp_path / "plain")
    lines = read_metrics(tmp_path / "judged/evaluations.jsonl")
    assert [line["step"] for line in lines] == [2, STEPS]
    assert all((line["samples"], line["unusable"]) == (9, 1) for line in lines)


def stopped_in(evaluation, made, run_pass=in_training.run_pass):
    """Return a pass in whose first batch a signal comes, if it is the evaluation of this number; count the batches."""
    begun = []

    def run_pass_with_signal(batches, work, *others, **more):
        begun.append(len(made))

        def work_with_signal(batch):
            made.append(batch)
            if len(begun) == evaluation:
                signal.raise_signal(signal.SIGTERM)
            return work(batch)

        return run_pass(batches, work_with_signal, *others, **more)

    return run_pass_with_signal


@pytest.mark.parametrize(("name", "evaluation"), [("language", 1), ("mixed", 2)])
def test_an_evaluation_that_a_signal_ends_is_made_up_for(dataset, tmp_path, monkeypatch, name, evaluation):
    """The second one is that of the last step: the run is not at its end without it."""
    settings = {"data__val": str(dataset), "train__eval_every": 2, "train__checkpoint_every": 3}
    assert go(settings_of(name, dataset, tmp_path / "whole", **settings))
    parts, seen = settings_of(name, dataset, tmp_path / "parts", **settings), []
    with monkeypatch.context() as patch:
        patch.setattr(in_training, "run_pass", stopped_in(evaluation, seen))
        assert go(parts) is False
    batches = 3
    assert len(seen) == (evaluation - 1) * batches + 1
    stopped = 2 * evaluation
    assert [line["step"] for line in read_metrics(tmp_path / "parts/evaluations.jsonl")] == [2][: evaluation - 1]
    assert (tmp_path / f"parts/checkpoints/step-{stopped:08d}/state.json").exists()
    assert not (tmp_path / "parts/final").exists()
    assert go(parts)
    assert facts(tmp_path / "parts") == facts(tmp_path / "whole")
    ours, theirs = (read_metrics(tmp_path / out / "evaluations.jsonl") for out in ("parts", "whole"))
    assert ours == theirs
    assert [line["step"] for line in ours] == [2, STEPS]


def test_questions_that_were_trained_on_are_answered(dataset, tmp_path):
    """A clip's text is its question; what the run was judged by on the way is what the task tells of its export."""
    assert go(settings_of("questions", dataset, tmp_path, data__val=str(dataset), train__eval_every=STEPS))
    (line,) = read_metrics(tmp_path / "evaluations.jsonl")
    model = load_model(str(tmp_path))
    assert (model.kind, model.classes) == ("mm_vqa", tuple(sorted(KINDS)))
    data = Judge(model, ALONE, LoadSettings(batch_size=4, workers=0)).dataset(str(dataset))
    figures = answering_task.answers(data, question="caption", answer="class")
    assert figures.metrics["questions"] == line["samples"] == 9
    assert figures.metrics["accuracy"] == pytest.approx(line["top1"], abs=1e-3)


def test_each_dataset_of_several_has_its_loss(dataset, tmp_path, caplog):
    caplog.set_level("INFO")
    config = settings_of("packed", dataset, tmp_path)
    mix = [MixSource(str(dataset), 1.0, name="films"), MixSource(str(dataset), 2.0, name="shorts")]
    assert go(replace(config, data=replace(config.data, train=None, mix=mix)))
    lines = read_metrics(tmp_path / "metrics.jsonl")
    told = [[line[f"dataset_loss/{name}/reconstruction"] for name in ("films", "shorts")] for line in lines]
    for line, losses in zip(lines, told, strict=True):
        apart = [loss for loss in losses if loss is not None]
        assert min(apart) - 1e-6 <= line["loss"] <= max(apart) + 1e-6
    assert any(None not in losses for losses in told)
    assert re.search(r"loss \d\.\d+  \(films [\d.]+, shorts [\d.]+\)  lr", caplog.text)


def test_the_keys_of_each_batch_are_in_the_log(dataset, tmp_path):
    """Images and clips are of one dataset here, and still not the same batches."""
    go(settings_of("images", dataset, tmp_path))
    lines = read_metrics(tmp_path / "metrics.jsonl")
    assert len({line["keys_sha"] for line in lines}) == STEPS
    state = json.loads((tmp_path / f"checkpoints/step-{STEPS:08d}/state.json").read_text())
    assert (state["loader"]["video"]["samples"], state["loader"]["images"]["samples"]) == (12, 2)
    assert state["samples"] == 14


def test_images_cannot_come_or_go_between_two_parts_of_a_run(dataset, tmp_path):
    go(settings_of("images", dataset, tmp_path, train__max_steps=1))
    with pytest.raises(ValueError, match=r"took clips and images before, and clips only now"):
        go(settings_of("images", dataset, tmp_path, data__images=None))


def test_coordination_starts_from_two_runs(dataset, tmp_path, caplog):
    caplog.set_level("INFO")
    for name in ("mixed", "frozen"):
        go(settings_of(name, dataset, tmp_path / name, train__max_steps=1))
    start = {"init__masked": str(tmp_path / "mixed"), "init__multimodal": (str(tmp_path / "frozen"),)}
    config = settings_of("coordinated", dataset, tmp_path / "both", **start)
    with build.prepare(config, ALONE) as run:
        began = {name: value.clone() for name, value in run.step.objective.state_dict().items()}
    for part, name in (("model.masked.", "mixed"), ("model.multimodal.0.", "frozen")):
        with build.prepare(settings_of(name, dataset, tmp_path / name, train__max_steps=1), ALONE) as run:
            weights = run.step.objective.state_dict()
        same = [torch.equal(began[part + key.removeprefix("model.")], value) for key, value in weights.items()]
        assert all(same)
        assert len(same) > 10
    assert "init.masked: " in caplog.text
    assert go(config)
    caplog.clear()
    assert go(replace(config, train=replace(config.train, max_steps=STEPS + 1)))
    assert "init." not in caplog.text  # a run that goes on has its own weights


def test_an_average_may_begin_in_a_run_that_goes_on(dataset, tmp_path, caplog):
    go(settings_of("mixed", dataset, tmp_path, train__max_steps=2))
    assert go(settings_of("mixed", dataset, tmp_path, train__ema=0.5))
    assert "train.ema was None, is 0.5" in caplog.text
    assert "a new one begins" in caplog.text


def test_epochs_say_how_long_where_steps_do_not(dataset, tmp_path):
    config = settings_of("images", dataset, tmp_path, train__epochs=50, train__max_steps=None)
    config = with_settings(config, optim__warmup_steps=None, optim__warmup_epochs=1.0, train__epochs=2)
    with build.prepare(config, ALONE) as run:
        # Ten clips in batches of four, twice, and an image batch for every two of clips.
        assert (run.rates.total_steps, run.rates.warmup_steps) == (9, 4)
        assert run.pace.total_steps == 9


TOLD = [
    *("stage=vlc", "model=video_text_tiny", "model.video.width=48", "model.video.heads=2", "model.video.depth=2"),
    *("model.video.global_blocks=[0,1]", "model.text.width=32", "model.text.depth=1", "model.text.vocabulary=600"),
    *("model.captioner.vocabulary=600", "model.captioner.width=32", "model.captioner.visual_width=48"),
    *(
        "model.captioner.depth=1",
        "data.frames=2",
        "data.size=32",
        "data.batch_size=4",
        "data.workers=1",
        "optim.lr=1e-3",
    ),
    *("optim.lr=1e-3", "train.device=cpu", "train.log_every=1", "train.checkpoint_every=2", "train.max_steps=20"),
]


def test_killed_without_warning_a_run_goes_back_to_its_last_checkpoint(dataset, tmp_path):
    def told(out):
        return [*TOLD, f"data.train={dataset}", f"data.images={dataset}", f"out={out}", f"data.cache_dir={tmp_path}"]

    command = [sys.executable, "-m", "train", *told(tmp_path / "parts")]
    killed = subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE)
    while not (tmp_path / "parts/checkpoints/step-00000004/state.json").exists():
        assert killed.poll() is None, killed.communicate()
        time.sleep(0.005)
    killed.kill()
    killed.communicate()
    assert not (tmp_path / "parts/final").exists()
    for out in ("parts", "whole"):
        assert go(made(*told(tmp_path / out)))
    assert facts(tmp_path / "parts", 20) == facts(tmp_path / "whole", 20)
