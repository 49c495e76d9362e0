"""Masks from the settings to the loss: what a run hides, what it predicts, and the same when it goes on."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
import torch

from model.losses import reconstruction_target
from tests.support.run_config import made, tiny_config
from tests.support.video_dataset import build_video_dataset
from train import build, loop
from train.__main__ import DONE, USAGE, start
from train.metrics import read_metrics
from train.parallel import Ranks

MASKING = {"data__mask_kind": "running_cell", "data__mask_ratio": 0.75, "data__decoder_mask_ratio": 0.5}
SIZES = {"image_size": (64, 64), "width": 24, "depth": 2, "heads": 2, "decoder_width": 12, "decoder_depth": 1}
SIZES |= {"decoder_heads": 2, "frames": 4}
CUBES = 2 * 4 * 4
ALONE = Ranks(0, 1, torch.device("cpu"))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    build_video_dataset(folder / "set", folder / "scratch", clips=8)
    return folder / "set"


def masked_config(out, dataset):
    """Return settings with running cells and a decoder mask, for a grid of 2 x 4 x 4 cubes."""
    config = tiny_config(out, data__train=str(dataset), data__stride=2, data__workers=1, train__max_steps=2, **MASKING)
    config = replace(config, model=replace(config.model, **SIZES), data=replace(config.data, size=64))
    return replace(config, train=replace(config.train, checkpoint_every=1, log_every=1))


def as_arguments(config):
    """Return a run's settings as a person would write them."""
    model = [f"model.{name}={value}" for name, value in SIZES.items() if name not in {"image_size", "frames"}]
    data = [f"data.{name}={spelt(getattr(config.data, name))}" for name in config.data.__slots__ if name != "cache_dir"]
    train = [f"train.{name}={spelt(getattr(config.train, name))}" for name in config.train.__slots__]
    optim = ["optim.lr=1e-3", "optim.warmup_steps=2"]
    return ["stage=mvm", "model=vit_tiny", *model, *data, *train, *optim, f"out={config.out}"]


def spelt(value):
    return "null" if value is None else list(value) if isinstance(value, tuple) else value


def first_loss(config):
    """Return the first step's loss, spelled out over the cubes that are masked and predicted."""
    with build.prepare(config, ALONE) as prepared:
        objective = prepared.step.objective
        batch = next(iter(prepared.feeds))
        predicted = batch.mask & ~batch.decoder_mask
        assert batch.mask.sum(dim=1).tolist() == [CUBES * 3 // 4] * 4
        assert predicted.sum(dim=1).tolist() == [CUBES * 3 // 8] * 4
        target = reconstruction_target(batch.video, 2, 16)[predicted].view(4, CUBES * 3 // 8, -1)
        counts = objective.count(batch.mask, batch.valid, batch.decoder_mask)
        assert int(counts["reconstruction"]) == target.numel()
        with torch.no_grad():
            output = objective.model(batch.video, batch.mask, batch.decoder_mask)
        return float((output.prediction - target).square().mean())


def test_a_run_counts_half_of_the_masked_cubes_and_goes_on_with_the_same_masks_only(dataset, tmp_path, capsys):
    config = masked_config(tmp_path / "run", dataset)
    expected = first_loss(replace(config, out=str(tmp_path / "other")))

    def go(*more):
        return start(made(*as_arguments(config), *more))

    assert go() == DONE
    lines = read_metrics(tmp_path / "run/metrics.jsonl")
    assert [line["step"] for line in lines] == [1, 2]
    assert lines[0]["loss"] == pytest.approx(expected, rel=1e-5)
    saved = json.loads((tmp_path / "run/checkpoints/step-00000002/state.json").read_text())
    assert saved["loader"]["settings"]["mask"]["decoder_ratio"] == 0.5
    assert go("train.max_steps=3", "data.decoder_mask_ratio=0.25") == USAGE
    assert "data.decoder_mask_ratio was 0.5, is 0.25" in capsys.readouterr().err


def test_a_checkpoint_from_before_these_settings_goes_on(dataset, tmp_path):
    """The state's own file is taken back to what it held: neither the settings nor the loader knew of other masks."""
    config = masked_config(tmp_path / "run", dataset)
    config = replace(config, data=replace(config.data, mask_kind="tube", decoder_mask_ratio=0.0))
    run(config)
    whole = losses_of(tmp_path / "run")
    shutil.rmtree(tmp_path / "run/checkpoints/step-00000002")
    path = tmp_path / "run/checkpoints/step-00000001/state.json"
    saved = json.loads(path.read_text())
    del saved["sha256"]
    for name in ("mask_kind", "decoder_mask_ratio"):
        del saved["config"]["data"][name]
    for name in ("dropout", "attention_dropout", "resize_positions"):
        del saved["config"]["model"][name]
    assert not [name for name in saved["loader"]["settings"]["mask"] if "decoder" in name]
    path.write_text(json.dumps(saved))
    assert run(config) == 1, "it goes on from the step that is left"
    assert losses_of(tmp_path / "run") == whole


def run(config):
    """Train to the end; return the step that it went on from."""
    with build.prepare(config, ALONE) as prepared:
        assert loop.train(prepared)
        return prepared.state.step


def losses_of(out):
    return [(line["step"], line["loss"], line["keys_sha"]) for line in read_metrics(out / "metrics.jsonl")]
