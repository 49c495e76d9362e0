"""Evaluation inside a run: figures of every stage, the same on two ranks, and the run none the wiser."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from shards.store import open_store
from tests.support.clip_datasets import build_clip_dataset, video_clip
from tests.support.saved_runs import tiny_words
from tests.support.stages import randomise, stage_config
from tests.support.video_text import TINY
from train.evaluate.accuracy import classification_accuracy
from train.evaluate.in_training import evaluate
from train.evaluate.retrieval import retrieval_metrics
from train.evaluate.run_dataset import validation_settings
from train.objectives import build_objective
from train.parallel import PeerFailedError, Ranks
from train.run_files import keep_run_files

ONE = Ranks(0, 1, torch.device("cpu"))
STAGES = ("mvm", "vlc", "sft", "cma")
NAMES = ["b", "a", "d", "c", "e"]
WORDS = tiny_words()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Nine clips of two classes, one broken, in batches of four: the last batch is one clip."""
    folder, scratch = (tmp_path_factory.mktemp(name) for name in ("set", "scratch"))
    values = {"columns": {"class": "string"}, "values": lambda row: {"class": "ab"[row % 2]}}

    def make(row):
        clip = video_clip(row, broken=row == 2)
        return replace(clip, record=replace(clip.record, caption=f"{chr(97 + row)} dog"))

    build_clip_dataset(open_store(folder), scratch, counts=(4, 0, 5), make=make, **values)
    return str(folder)


def config_of(stage, dataset, out):
    config = stage_config(stage, out, data__val=dataset, data__batch_size=4, data__workers=0, data__flip=0.5)
    if stage == "vlc":
        text, captioner = (replace(part, vocabulary=WORDS.vocabulary) for part in (TINY.text, TINY.captioner))
        config = replace(config, model=replace(TINY, text=text, captioner=captioner))
    if config.rules.labels:
        keep_run_files(open_store(out), classes=NAMES)
    return config


def objective_of(config, ranks=ONE):
    torch.manual_seed(0)
    objective = build_objective(config, ranks, WORDS if config.stage == "vlc" else None)
    randomise(objective)
    return objective.train()


@pytest.mark.parametrize("stage", STAGES)
def test_nothing_of_the_run_changes(stage, dataset, tmp_path):
    config = config_of(stage, dataset, tmp_path)
    objective = objective_of(config)
    if stage == "vlc":
        objective.model.logit_scale.data.fill_(9.0)  # what a step may leave; only a step clamps it
    before = {name: value.clone() for name, value in objective.state_dict().items()}
    modes = [each.training for each in objective.modules()]
    torch.manual_seed(4)
    wanted = torch.rand(3)
    torch.manual_seed(4)
    figures = evaluate(objective, config, ONE, tokenizer=WORDS)
    assert torch.equal(torch.rand(3), wanted)
    assert [each.training for each in objective.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in objective.state_dict().items())
    assert all(parameter.grad is None for parameter in objective.parameters())
    assert (figures["samples"], figures["unusable"]) == (8.0, 1.0)
    assert figures == evaluate(objective, config, ONE, tokenizer=WORDS)


def whole_batch(config):
    from pipelines.evaluation import evaluation_loader  # noqa: PLC0415 - loads DALI

    with evaluation_loader(replace(validation_settings(config, ONE), batch_size=99)) as batches:
        (batch,) = batches
    return batch


@torch.no_grad()
def test_reconstruction_is_the_mean_over_all_masked_cubes(dataset, tmp_path, caplog):
    config = config_of("mvm", dataset, tmp_path)
    objective, batch = objective_of(config).eval(), whole_batch(config)
    output = objective(batch.video, batch.mask, batch.valid)
    wanted = output.losses["reconstruction"] / output.counts["reconstruction"]
    figures = evaluate(objective, config, ONE)
    assert figures["reconstruction"] == pytest.approx(float(wanted), rel=1e-5)
    broken = next(key for key, valid in zip(batch.keys, batch.valid.tolist(), strict=True) if not valid)
    assert f"{dataset} could not be used for evaluation: {broken}" in caplog.messages


@torch.no_grad()
def test_retrieval_is_that_of_all_pairs(dataset, tmp_path):
    config = config_of("vlc", dataset, tmp_path)
    objective, batch = objective_of(config).eval(), whole_batch(config)
    kept = batch.valid.nonzero()[:, 0]
    ids = torch.from_numpy(WORDS.encode_rows([batch.captions[row] for row in kept]).ids)
    found = objective.model(batch.video[kept], ids)
    video, text = (torch.nn.functional.normalize(each, dim=1) for each in (found.video, found.text))
    wanted = retrieval_metrics(text @ video.T)
    figures = evaluate(objective, config, ONE, tokenizer=WORDS)
    assert figures["text_to_video_r1"] == pytest.approx(wanted.text_to_video.r1)
    assert figures["video_to_text_median_rank"] == pytest.approx(wanted.video_to_text.median_rank)


@torch.no_grad()
@pytest.mark.parametrize("stage", ["sft", "cma"])
def test_accuracy_is_in_the_run_s_own_classes(stage, dataset, tmp_path):
    """The run has a as class 1 and b as class 0; the column alone would have it the other way round."""
    config = config_of(stage, dataset, tmp_path)
    objective, batch = objective_of(config).eval(), whole_batch(config)
    kept = batch.valid.nonzero()[:, 0]
    label = torch.tensor([1 - int(batch.keys[row][:9]) % 2 for row in kept])
    output = objective(batch.video[kept], label)
    wanted = classification_accuracy(output.scores, label)
    figures = evaluate(objective, config, ONE)
    assert (figures["top1"], figures["mean_class"]) == (wanted.top1, wanted.mean_class)
    mean = output.losses["classification"] / len(kept)
    assert figures["classification"] == pytest.approx(float(mean), rel=1e-5)


def test_a_rank_that_is_gone_is_named_as_such(dataset, tmp_path, monkeypatch):
    """Passes of a network that is cut over ranks exchange its weights, wherever they are made."""
    config = config_of("mvm", dataset, tmp_path)

    def lost(_settings):
        raise RuntimeError("[gloo/transport/tcp/pair.cc:553] Connection closed by peer")

    monkeypatch.setattr("train.evaluate.in_training.evaluation_loader", lost)
    with pytest.raises(PeerFailedError, match="another rank is gone"):
        evaluate(objective_of(config), config, Ranks(0, 2, torch.device("cpu")))


def test_a_run_of_texts_needs_its_vocabulary(dataset, tmp_path):
    config = config_of("vlc", dataset, tmp_path)
    with pytest.raises(ValueError, match="hand in the tokenizer"):
        evaluate(objective_of(config), config, ONE)
