"""A new run starts from another's weights, and says what became of every key."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from model.classification import CrossModelClassification, SupervisedClassification
from model.objectives import VideoLanguage, VideoLanguageConfig
from shards.store import open_store
from tests.support.saved_runs import save_run
from tests.support.tiny_networks import CONFIGS, COORDINATION, MASKED, MULTIMODAL, tiny_entries
from train.initial import initialise
from train.run_files import keep_run_files
from train.train_config import InitConfig


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs of all stages, and their weights."""
    folder = tmp_path_factory.mktemp("runs")
    kinds = {"mvm": "videomae_pretrain", "vlc": "mm_full", "sft": "videomae_classifier", "uni": "uniformerv2"}
    return folder, {name: save_run(folder / name, kind) for name, kind in kinds.items()}


def test_fine_tuning_starts_from_pretraining(runs):
    folder, weights = runs
    objective = SupervisedClassification(MASKED)
    head = objective.model.head.weight.clone()
    lines = initialise(objective, InitConfig(model=f"{folder}/mvm"))
    own = objective.model.state_dict()
    assert torch.equal(own["blocks.1.attn.qkv.weight"], weights["mvm"]["encoder.blocks.1.attn.qkv.weight"])
    assert torch.equal(own["head.weight"], head)
    used = sum(name.startswith(("encoder.patch_embed.", "encoder.blocks.")) for name in weights["mvm"])
    assert lines[0].startswith(f"init.model: {used} of {len(weights['mvm'])} weights")
    assert f"weights of a videomae_pretrain, {folder}/mvm/checkpoints/step-00000003" in lines[0]
    text = "\n".join(lines)
    assert "fresh, the videomae_pretrain does not give it: fc_norm.*, head.*" in text
    assert "left out, a videomae_classifier has no such part: " in text
    assert "encoder.norm.*, encoder_to_decoder.*, decoder.*" in text


def test_nothing_is_done_unasked(runs):
    objective = SupervisedClassification(MASKED)
    before = {name: value.clone() for name, value in objective.state_dict().items()}
    assert initialise(objective, InitConfig()) == []
    assert all(torch.equal(value, before[name]) for name, value in objective.state_dict().items())


def test_a_published_file_starts_the_towers(tmp_path):
    entries = tiny_entries("clip", "mm_full")
    save_file({name: value.contiguous() for name, value in entries.items()}, tmp_path / "clip.safetensors")
    objective = VideoLanguage(VideoLanguageConfig(CONFIGS["mm_full"]))
    lines = initialise(objective, InitConfig(model=str(tmp_path / "clip.safetensors")))
    assert torch.equal(objective.model.video.visual_proj, entries["visual.proj"])
    text = "\n".join(lines)
    assert "left out, is a size, which the weights' shapes tell: " in text
    assert "captioner.*" in text.partition("fresh")[2]


def test_coordination_starts_from_two_runs(runs):
    folder, weights = runs
    objective = CrossModelClassification(COORDINATION)
    lines = initialise(objective, InitConfig(masked=f"{folder}/sft", multimodal=(f"{folder}/uni",)))
    own = objective.model.state_dict()
    for prefix, run in (("masked.", "sft"), ("multimodal.0.", "uni")):
        assert all(torch.equal(own[prefix + name], value) for name, value in weights[run].items())
    assert [line.partition(":")[0] for line in lines if line.startswith("init.")] == [
        "init.masked",
        "init.masked",
        "init.multimodal[0]",
        "init.multimodal[0]",
    ]
    assert "mind that the 5 classes are taken to be the same" in lines[-1]
    assert not objective.model.masked.blocks[0].mlp.fc1.weight.requires_grad


def test_rows_follow_the_class_lists(tmp_path):
    weights = save_run(tmp_path, "uniformerv2")
    keep_run_files(open_store(tmp_path), classes=("run", "jump", "sit", "eat", "fall"))
    objective = SupervisedClassification(replace(MULTIMODAL, classes=2))
    lines = initialise(objective, InitConfig(model=str(tmp_path)), classes=("eat", "jump"))
    kept = weights["transformer.proj.2.weight"][[3, 1]]
    assert torch.equal(objective.model.head[2].weight, kept)
    assert "  changed, 2 of 2 classes keep their rows, the others start fresh: transformer.proj.2.*" in "\n".join(lines)


@pytest.mark.parametrize(
    ("objective", "settings", "message"),
    [
        (
            lambda: SupervisedClassification(MASKED),
            {"model": "vlc"},
            "init.model=.*vlc: a videomae_classifier does not",
        ),
        (lambda: SupervisedClassification(MASKED), {"model": "gone"}, "init.model=.*gone: .* is no run"),
        (
            lambda: SupervisedClassification(MASKED),
            {"masked": "mvm"},
            "start the encoders of stage=cma; give init.model",
        ),
        (
            lambda: CrossModelClassification(COORDINATION),
            {"model": "sft", "masked": "sft"},
            "starts all encoders; give it, or",
        ),
        (
            lambda: CrossModelClassification(COORDINATION),
            {"multimodal": ("uni", "uni")},
            "has 2 places, and the model 1 multimodal encoders",
        ),
        (
            lambda: CrossModelClassification(COORDINATION),
            {"multimodal": ("mvm",)},
            r"init.multimodal\[0\]=.*mvm: a uniformerv2 does not start from a videomae_pretrain",
        ),
    ],
)
def test_what_does_not_fit_names_the_setting(runs, objective, settings, message):
    folder, _ = runs
    placed = {
        name: f"{folder}/{value}" if isinstance(value, str) else tuple(f"{folder}/{each}" for each in value)
        for name, value in settings.items()
    }
    with pytest.raises(ValueError, match=message):
        initialise(objective(), InitConfig(**placed))
