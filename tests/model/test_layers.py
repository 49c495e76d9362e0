"""Blocks against their formula; kept tokens, dropped branches and recomputation against the plain way."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import gelu, layer_norm, softmax

from model.attention import BlockDiagonal
from model.layers import Block, DropPath, drop_path_ramp, run_blocks


def block(seed=0, **changes):
    torch.manual_seed(seed)
    settings = {"mlp_ratio": 4.0, "qkv_bias": True, "norm_eps": 1e-6, "layer_scale": 0.1, "drop_path": 0.0}
    made = Block(12, 3, **{**settings, **changes})
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.5)
    return made


def gradients(module, output):
    module.zero_grad()
    output.square().sum().backward()
    return {name: parameter.grad.clone() for name, parameter in module.named_parameters()}


def test_block_is_its_formula():
    made, x = block(), torch.randn(2, 5, 12)
    normed = layer_norm(x, (12,), made.norm1.weight, made.norm1.bias, 1e-6)
    bias = torch.cat([made.attn.q_bias, torch.zeros(12), made.attn.v_bias])
    q, k, v = (normed @ made.attn.qkv.weight.T + bias).view(2, 5, 3, 3, 4).permute(2, 0, 3, 1, 4)
    mixed = softmax(q @ k.transpose(-2, -1) * 4**-0.5, dim=-1) @ v
    attended = made.attn.proj(mixed.transpose(1, 2).reshape(2, 5, 12))
    y = x + made.gamma_1 * attended
    hidden = gelu(made.mlp.fc1(layer_norm(y, (12,), made.norm2.weight, made.norm2.bias, 1e-6)))
    torch.testing.assert_close(made(x), y + made.gamma_2 * made.mlp.fc2(hidden), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("changes", [{}, {"qkv_bias": False}, {"layer_scale": 0.0}])
@pytest.mark.parametrize("keep", [slice(3, None), slice(0, 1)])
def test_kept_tokens_are_those_of_the_whole_in_value_and_gradient(changes, keep):
    made, x = block(**changes), torch.randn(2, 7, 12)
    whole, kept = made(x)[:, keep], made(x, keep)
    torch.testing.assert_close(kept, whole, atol=1e-5, rtol=1e-5)
    expected = gradients(made, made(x)[:, keep])
    for name, gradient in gradients(made, made(x, keep)).items():
        torch.testing.assert_close(gradient, expected[name], atol=1e-4, rtol=1e-4, msg=lambda text, n=name: n + text)


def test_switches_remove_parameters():
    names = {name for name, _ in block(qkv_bias=False, layer_scale=0.0).named_parameters()}
    assert not names & {"gamma_1", "gamma_2", "attn.q_bias", "attn.v_bias", "attn.qkv.bias"}
    assert {"gamma_1", "attn.q_bias"} <= {name for name, _ in block().named_parameters()}


def test_packed_clips_do_not_see_each_other():
    made, x = block(), torch.randn(1, 9, 12)
    packed = made(x, bias=BlockDiagonal.of((4, 5)))
    torch.testing.assert_close(packed, torch.cat([made(x[:, :4]), made(x[:, 4:])], dim=1), atol=1e-5, rtol=1e-5)


def test_mlp_ratio_is_rounded_down():
    assert block(mlp_ratio=48 / 11).mlp.fc1.out_features == int(12 * 48 / 11) == 52


def test_drop_path_drops_whole_samples_and_keeps_the_mean():
    torch.manual_seed(0)
    dropped = DropPath(0.25).train()(torch.ones(4000, 2, 3))
    assert sorted(dropped.unique().tolist()) == pytest.approx([0.0, 1 / 0.75])
    assert bool((dropped.amin(dim=(1, 2)) == dropped.amax(dim=(1, 2))).all())
    assert dropped.mean().item() == pytest.approx(1.0, abs=0.05)


def test_drop_path_is_idle_in_eval_and_at_rate_zero():
    x = torch.randn(3, 2, 2)
    assert DropPath(0.9).eval()(x) is x
    assert DropPath(0.0).train()(x) is x


def test_ramp_climbs_from_nothing_to_the_rate():
    assert drop_path_ramp(0.2, 5) == pytest.approx([0.0, 0.05, 0.1, 0.15, 0.2])
    assert drop_path_ramp(0.2, 1) == [0.0]


def stack():
    return nn.ModuleList([block(seed, drop_path=0.3) for seed in range(3)]).train()


def test_recomputing_blocks_changes_no_value_and_no_gradient():
    blocks, x = stack(), torch.randn(4, 7, 12)

    def run(*, recompute):
        torch.manual_seed(5)
        return run_blocks(blocks, x, keep=slice(2, None), recompute=recompute)

    assert torch.equal(run(recompute=True), run(recompute=False))
    expected = gradients(blocks, run(recompute=False))
    for name, gradient in gradients(blocks, run(recompute=True)).items():
        assert torch.equal(gradient, expected[name]), name


def test_recomputing_blocks_keeps_less():
    blocks, x = stack(), torch.randn(4, 7, 12)

    def kept_values(*, recompute):
        kept = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
            run_blocks(blocks, x, recompute=recompute)
        return sum(kept)

    assert kept_values(recompute=True) < 0.2 * kept_values(recompute=False)
