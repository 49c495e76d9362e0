"""What a gradient does: what learns and how fast, what is left alone, and what a checkpoint holds of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.support.stages import UNIFORMER, build_step, stage_batch, stage_config
from train.optim import groups_of
from train.parallel import Ranks
from train.update import layers

ALONE = Ranks(0, 1, torch.device("cpu"))
NORMED = replace(UNIFORMER, local="single")
FROZEN = {
    "vlc": {"objective__freeze_text": True},
    "sft": {"model": NORMED, "objective__freeze_backbone": True},
    "cma": {},
}


def after_two_steps(stage, **settings):
    config = stage_config(stage, train__ema=0.9, **settings)
    step = build_step(config, ALONE)
    before = {name: value.clone() for name, value in step.state_tensors().items()}
    for number in range(2):
        step(stage_batch(config, number=number), number, 1e-2)
    return before, step.state_tensors(), step


@pytest.mark.parametrize("stage", FROZEN)
def test_what_is_frozen_has_no_moments_and_stays_bit_for_bit(stage):
    before, after, step = after_two_steps(stage, **FROZEN[stage])
    frozen = {name for name, param in step.objective.named_parameters() if not param.requires_grad}
    assert frozen
    for name in frozen:
        assert torch.equal(after[f"model/{name}"], before[f"model/{name}"])
        assert not {f"optim/{name}/exp_avg", f"ema/{name}"} & after.keys()
    learning = {name for name, param in step.objective.named_parameters() if param.requires_grad}
    assert {name.split("/")[1] for name in after if name.startswith("optim/")} == learning
    assert all(not torch.equal(after[f"model/{name}"], before[f"model/{name}"]) for name in learning)


def test_running_statistics_of_a_frozen_backbone_stay_and_others_move():
    moved = []
    for freeze in (True, False):
        before, after, _ = after_two_steps("sft", model=NORMED, objective__freeze_backbone=freeze)
        names = [name for name in before if "running_" in name and name.startswith("model/")]
        assert names
        moved.append(any(not torch.equal(after[name], before[name]) for name in names))
    assert moved == [False, True]


def test_a_checkpoint_names_weights_moments_and_average_before_the_first_step():
    step = build_step(stage_config("sft", train__ema=0.9), ALONE)
    names = {name for name, _ in step.objective.named_parameters()}
    state = step.state_tensors()
    assert {name for name in state if name.startswith("model/")} == {f"model/{name}" for name in names}
    assert {name for name in state if name.startswith("ema/")} == {f"ema/{name}" for name in names}
    whats = ("step", "exp_avg", "exp_avg_sq")
    assert {name for name in state if name.startswith("optim/")} == {f"optim/{n}/{w}" for n in names for w in whats}
    plain = build_step(stage_config("sft"), ALONE)
    assert plain.ema is None
    assert not any(name.startswith("ema/") for name in plain.state_tensors())


def test_rates_are_those_that_the_settings_ask_for():
    config = stage_config("sft", optim__layer_decay=0.5, optim__lr_scales={r"head\.": 10.0})
    step = build_step(config, ALONE)
    step(stage_batch(config), 0, 0.8)
    rates = {name: group["lr"] for group in step.optimizer.param_groups for name in group["names"]}
    assert rates["model.patch_embed.proj.weight"] == pytest.approx(0.8 * 0.5**3)
    assert rates["model.blocks.1.mlp.fc1.weight"] == pytest.approx(0.8 * 0.5)
    assert rates["model.fc_norm.weight"] == pytest.approx(0.8)
    assert rates["model.head.weight"] == pytest.approx(8.0)


@pytest.mark.parametrize(
    ("stage", "names", "spared"),
    [
        ("vlc", ["model.text.token_embedding.weight", "model.logit_scale"], True),
        ("vlc", ["model.video.visual.conv1.weight", "model.video.visual_proj"], False),
        ("sft", ["model.head.bias", "model.fc_norm.weight"], True),
    ],
)
def test_decay_rules_find_the_names_of_the_networks(stage, names, spared):
    config = stage_config(stage, optim__decay_rule="multimodal")
    groups = groups_of(build_step(config, ALONE).objective, config.optim)
    decays = {name: group.weight_decay for group in groups for name in group.names}
    assert [decays[name] == 0 for name in names] == [spared] * len(names)


@pytest.mark.parametrize("stage", ["mvm", "vlc", "cma"])
def test_layers_learn_at_rates_of_their_own_in_one_stack_only(stage):
    assert layers(stage_config(stage)) is None
    with pytest.raises(ValueError, match=rf"layer_decay=0.75 is for the classifiers of stage=sft.*stage={stage}"):
        layers(stage_config(stage, optim__layer_decay=0.75))


def test_the_factor_on_similarities_stays_in_its_bounds():
    config = stage_config("vlc")
    step = build_step(config, ALONE)
    factor = step.state_tensors()["model/model.logit_scale"].detach()
    factor.fill_(4.6)
    result = step(stage_batch(config), 0, 1.0)
    assert 0 <= float(factor) <= 4.6052
    assert float(result.gauges["logit_scale"]) == float(factor)
    factor.fill_(9.0)
    step.after_load()
    assert float(factor) == pytest.approx(4.60517, abs=1e-4)
