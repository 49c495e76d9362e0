"""The optimiser: groups, layer decay, schedule, and a state that goes by names."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import torch
from torch import nn

from train import optim
from train.optim import (
    Schedule,
    build_adamw,
    cosine_values,
    flatten_adamw,
    layer_of,
    lr_schedule,
    no_decay,
    parameter_groups,
    restore_adamw,
    set_lr,
    start_adamw,
)
from train.optim_config import AdamWConfig


class Net(nn.Module):
    """A network with one parameter of every kind."""

    def __init__(self) -> None:
        super().__init__()
        self.mask_token = nn.Parameter(torch.ones(1, 1, 4))
        self.patch_embed = nn.Linear(4, 4)
        self.blocks = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
        self.norm = nn.LayerNorm(4)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        x = self.patch_embed(x + self.mask_token[0])
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def groups_of(net, **kwargs):
    return parameter_groups(net.named_parameters(), weight_decay=0.05, **kwargs)


def take_step(net, optimizer, seed, lr=0.01):
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(seed))
    optimizer.zero_grad()
    net(x).square().mean().backward()
    set_lr(optimizer, lr)
    optimizer.step()


def test_vectors_biases_and_the_mask_token_do_not_decay():
    spared = {name for name, param in Net().named_parameters() if no_decay(name, param)}
    assert spared == {
        "mask_token",
        "patch_embed.bias",
        "blocks.0.bias",
        "blocks.1.bias",
        "norm.weight",
        "norm.bias",
        "head.bias",
    }


def test_learnable_positions_are_of_the_embedding_and_do_not_decay():
    table = nn.Parameter(torch.ones(1, 4, 4))
    assert no_decay("model.pos_embed", table)
    assert layer_of("pos_embed", 2) == 0


def test_every_trainable_parameter_is_in_one_group():
    net = Net()
    net.head.weight.requires_grad_(requires_grad=False)
    names = [name for group in groups_of(net) for name in group.names]
    assert sorted(names) == sorted(name for name, _ in net.named_parameters() if name != "head.weight")
    assert {(group.weight_decay, group.lr_scale) for group in groups_of(net)} == {(0.0, 1.0), (0.05, 1.0)}


def test_layer_decay_grows_towards_the_head():
    scales = {name: g.lr_scale for g in groups_of(Net(), layer_decay=0.5, depth=2) for name in g.names}
    assert scales["patch_embed.weight"] == 0.125
    assert scales["blocks.0.weight"] == 0.25
    assert scales["blocks.1.bias"] == 0.5
    assert scales["head.weight"] == scales["norm.bias"] == 1.0


def test_layer_decay_needs_the_right_depth():
    with pytest.raises(ValueError, match="needs depth"):
        groups_of(Net(), layer_decay=0.5)
    with pytest.raises(ValueError, match=r"blocks\.1\.weight.*depth=1"):
        layer_of("blocks.1.weight", 1)


NAMES = {
    "visual.transformer.temporal_cls_token": (1, 1, 4),
    "visual.positional_embedding": (5, 4),
    "text.token_embedding.weight": (9, 4),
    "visual.conv1.weight": (4, 3, 1, 2, 2),
    "logit_scale": (),
    "text.ln_final.weight": (4,),
    "attn.in_proj_bias": (12,),
    "head.relative_bias_table": (3, 3),
    "mask_token": (1, 1, 4),
    "visual_proj": (4, 2),
}
ALWAYS_SPARED = {"logit_scale", "text.ln_final.weight", "attn.in_proj_bias"}


@pytest.mark.parametrize(
    ("rule", "more"),
    [
        ("videomae", {"mask_token"}),
        ("uniformer", set()),
        (
            "multimodal",
            {
                "visual.transformer.temporal_cls_token",
                "visual.positional_embedding",
                "text.token_embedding.weight",
                "head.relative_bias_table",
            },
        ),
    ],
)
def test_each_rule_spares_what_its_public_code_spares(rule, more):
    spared = {name for name, shape in NAMES.items() if no_decay(name, torch.empty(shape), rule)}
    assert spared == ALWAYS_SPARED | more


def test_an_unknown_rule_is_refused():
    with pytest.raises(ValueError, match="no decay rule 'swin': known are videomae, uniformer, multimodal"):
        groups_of(Net(), rule="swin")


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("model.conv1.weight", 0),
        ("model.class_embedding", 0),
        ("model.ln_pre.bias", 0),
        ("model.transformer.resblocks.0.attn.in_proj_weight", 1),
        ("model.transformer.resblocks.3.lmhra1.pos_embed.1.weight", 4),
        ("model.transformer.dec.0.ln_1.weight", 5),
        ("model.transformer.temporal_cls_token", 5),
    ],
)
def test_layers_of_uniformer_are_those_of_clip(name, layer):
    assert layer_of(name, 4) == layer


def test_rates_are_scaled_by_the_first_expression_that_fits():
    groups = groups_of(Net(), lr_scales={r"^head\.": 10.0, r"weight$": 0.5})
    scales = {name: group.lr_scale for group in groups for name in group.names}
    assert (scales["head.weight"], scales["head.bias"]) == (10.0, 10.0)
    assert (scales["norm.weight"], scales["norm.bias"]) == (0.5, 1.0)


def test_scales_multiply_with_those_of_layers():
    groups = groups_of(Net(), layer_decay=0.5, depth=2, lr_scales={"blocks": 4.0})
    scales = {name: group.lr_scale for group in groups for name in group.names}
    assert (scales["blocks.0.weight"], scales["patch_embed.bias"]) == (1.0, 0.125)


def test_an_expression_that_fits_nothing_is_refused():
    net = Net()
    net.head.requires_grad_(requires_grad=False)
    with pytest.raises(ValueError, match=r"lr_scales: no parameter that learns has a name with \^head; see"):
        groups_of(net, lr_scales={"^head": 10.0, "norm": 2.0})
    with pytest.raises(ValueError, match=r"has a name with norm; see"):
        groups_of(net, lr_scales={".": 10.0, "norm": 2.0})


def test_groups_are_those_that_the_settings_ask_for():
    config = AdamWConfig(weight_decay=0.2, layer_decay=0.5, decay_rule="uniformer", lr_scales={"head": 2.0})
    by_name = {name: group for group in optim.groups_of(Net(), config, depth=2) for name in group.names}
    assert by_name["mask_token"].weight_decay == 0.2
    assert by_name["mask_token"].lr_scale == 0.125
    assert by_name["head.weight"].lr_scale == 2.0


def test_a_warmup_may_start_above_nothing():
    """UniFormerV2's: from 1e-6 to the peak and back."""
    rates = lr_schedule(AdamWConfig(lr=1e-5, min_lr=1e-6, warmup_start=1e-6, warmup_steps=10), 256, 100)
    assert [rates.at(step) for step in (0, 9, 10)] == pytest.approx([1e-6, 1e-5, 1e-5])
    assert rates.at(1) == pytest.approx(2e-6)
    assert rates.at(99) == pytest.approx(1e-6, rel=1e-2)


def test_a_warmup_in_epochs_is_as_large_a_part_of_the_run():
    rates = lr_schedule(AdamWConfig(lr=1.0, min_lr=0.0, warmup_epochs=5), 256, 1000, epochs=55)
    assert rates.warmup_steps == 91


def test_a_start_above_the_derived_peak_is_refused():
    with pytest.raises(ValueError, match=r"optim.warmup_start=0.1 is above the peak rate"):
        lr_schedule(AdamWConfig(warmup_start=0.1), 4, 10)


def test_schedule_rises_from_nothing_and_never_reaches_the_floor():
    values = cosine_values(1.0, 0.1, 20, 5)
    assert values[:5].tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert values[5] == 1.0
    assert np.all(np.diff(values[5:]) < 0)
    assert 0.1 < values[-1] < 0.12
    assert len(values) == 20


@pytest.mark.parametrize("warmup", [0, 7])
def test_schedule_may_be_all_fall_or_all_rise(warmup):
    values = cosine_values(1.0, 0.0, 7, warmup)
    assert len(values) == 7
    assert values.max() == 1.0


def test_a_line_falls_as_far_as_a_cosine():
    """As a polynomial of power 1 (the public code's decay_power): 0.1 of the way at a tenth of what is left."""
    rates = lr_schedule(AdamWConfig(lr=1.0, min_lr=0.2, warmup_steps=5, schedule="linear"), 256, 45)
    values = [rates.at(step) for step in range(45)]
    assert values[:6] == [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]
    assert values[9] == pytest.approx(1.0 - 0.8 * 0.1)
    assert np.allclose(np.diff(values[5:]), -0.8 / 40, atol=1e-12)
    assert values[-1] == pytest.approx(0.22)


def test_an_unknown_schedule_is_refused():
    with pytest.raises(ValueError, match=r"optim\.schedule=step must be one of cosine, linear"):
        AdamWConfig(schedule="step")
    with pytest.raises(ValueError, match="there is no schedule 'step': known are cosine, linear"):
        Schedule(1.0, 0.0, 7, 2, fall="step")


def test_schedule_refuses_a_warmup_beyond_the_run():
    with pytest.raises(ValueError, match=r"warmup_steps=8.*total_steps=7"):
        cosine_values(1.0, 0.0, 7, 8)


def test_one_step_of_warmup_has_the_rate_nothing():
    assert cosine_values(1.0, 0.0, 3, 1)[:2].tolist() == [0.0, 1.0]


def test_the_schedule_of_a_very_long_run_takes_no_memory():
    """801 epochs of a billion clips in batches of 1024."""
    steps = 801 * 10**9 // 1024
    tracemalloc.start()
    rates = lr_schedule(AdamWConfig(lr=1.0, min_lr=0.0), 1024, steps)
    middle = (rates.warmup_steps + steps) // 2
    values = [rates.at(step) for step in (0, rates.warmup_steps - 1, rates.warmup_steps, middle, steps - 1)]
    used = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert values == pytest.approx([0.0, 1.0, 1.0, 0.5, 0.0], abs=1e-8)
    assert used < 1 << 20


@pytest.mark.parametrize("step", [-1, 7])
def test_a_step_outside_the_run_has_no_rate(step):
    with pytest.raises(ValueError, match=rf"no step {step} in a run of 7"):
        Schedule(1.0, 0.0, 7, 2).at(step)


def test_open_rates_follow_the_recipe():
    rates = lr_schedule(AdamWConfig(), 2048, 8010)
    values = [rates.at(step) for step in range(8010)]
    assert max(values) == pytest.approx(1.2e-3)
    assert values.index(max(values)) == 399
    assert values[-1] == pytest.approx(8e-5, rel=1e-3)


def test_given_rates_are_taken_as_they_are():
    rates = lr_schedule(AdamWConfig(lr=0.5, min_lr=0.25, warmup_steps=0), 7, 1000)
    assert rates.at(0) == 0.5
    assert rates.at(999) == pytest.approx(0.25, rel=1e-4)


def test_floor_above_the_derived_peak_is_refused():
    with pytest.raises(ValueError, match=r"optim.min_lr=0.1 is above the peak rate"):
        lr_schedule(AdamWConfig(min_lr=0.1), 4, 10)


def test_lr_is_scaled_by_group():
    net = Net()
    optimizer = build_adamw(groups_of(net, layer_decay=0.5, depth=2), AdamWConfig())
    set_lr(optimizer, 0.8)
    by_name = {name: group["lr"] for group in optimizer.param_groups for name in group["names"]}
    assert by_name["patch_embed.weight"] == pytest.approx(0.1)
    assert by_name["head.bias"] == pytest.approx(0.8)


def test_a_restored_optimiser_goes_on_bit_for_bit():
    straight, broken = Net(), Net()
    broken.load_state_dict(straight.state_dict())
    one, two = (build_adamw(groups_of(net), AdamWConfig()) for net in (straight, broken))
    for seed in range(3):
        take_step(straight, one, seed)
        take_step(broken, two, seed)
    other = Net()
    other.load_state_dict(broken.state_dict())
    # Other groups, and so another order of parameters.
    three = build_adamw(groups_of(other, layer_decay=1.0, depth=2), AdamWConfig())
    restore_adamw(three, {key: value.clone() for key, value in flatten_adamw(two).items()})
    for seed in range(3, 6):
        take_step(straight, one, seed)
        take_step(other, three, seed)
    for (name, a), b in zip(straight.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b), name


def test_a_state_before_the_first_step_changes_nothing():
    plain, started = Net(), Net()
    started.load_state_dict(plain.state_dict())
    one, two = (build_adamw(groups_of(net), AdamWConfig()) for net in (plain, started))
    start_adamw(two)
    assert set(flatten_adamw(two)) == {
        f"{name}/{what}" for name, _ in Net().named_parameters() for what in ("step", "exp_avg", "exp_avg_sq")
    }
    assert not any(bool(value.any()) for value in flatten_adamw(two).values())
    for seed in range(2):
        take_step(plain, one, seed)
        take_step(started, two, seed)
    assert all(torch.equal(value, flatten_adamw(two)[name]) for name, value in flatten_adamw(one).items())
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), started.parameters(), strict=True))


def test_a_foreign_optimiser_state_is_refused():
    net = Net()
    optimizer = build_adamw(groups_of(net), AdamWConfig())
    take_step(net, optimizer, 0)
    flat = flatten_adamw(optimizer)
    lacking = {key: value for key, value in flat.items() if not key.startswith("head.weight/")}
    with pytest.raises(ValueError, match=r"differ in 1 parameters: \['head.weight'\]"):
        restore_adamw(optimizer, lacking)
    with pytest.raises(ValueError, match=r"norm.bias/exp_avg has shape \[7\], not \[4\]"):
        restore_adamw(optimizer, flat | {"norm.bias/exp_avg": torch.zeros(7)})
