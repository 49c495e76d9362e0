"""CLIP's block and its parts against their formulae; kept tokens and packed ones; what the backward pass keeps."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import layer_norm

from model.attention import BlockDiagonal, Causal
from model.clip_layers import ClipAttention, ClipBlock, ClipMLP, LayerNorm, quick_gelu

WIDTH, HEADS = 12, 3


def drawn(module, seed=0):
    torch.manual_seed(seed)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    return module


def formula(x):
    return x * torch.sigmoid(1.702 * x)


def plain_attention(attn, x, hidden=None):
    count = x.shape[1]
    q, k, v = (x @ attn.in_proj_weight.T + attn.in_proj_bias).view(-1, count, 3, HEADS, 4).permute(2, 0, 3, 1, 4)
    scores = q @ k.transpose(-2, -1) * 4**-0.5
    if hidden is not None:
        scores = scores.masked_fill(hidden, float("-inf"))
    return attn.out_proj((scores.softmax(dim=-1) @ v).transpose(1, 2).flatten(2))


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("grad", [False, True])
def test_quick_gelu_is_its_formula(overwrite, grad):
    x = torch.linspace(-30.0, 30.0, 301)
    with torch.set_grad_enabled(grad):
        got = quick_gelu(x.clone(), overwrite=overwrite)
    torch.testing.assert_close(got, formula(x))


def test_quick_gelu_leaves_its_input_alone_unless_it_may_not():
    x = torch.randn(5)
    before = x.clone()
    with torch.no_grad():
        quick_gelu(x)
        assert torch.equal(x, before)
        assert quick_gelu(x, overwrite=True).data_ptr() == x.data_ptr()


@pytest.mark.parametrize("worth_it", [0, 2**40])
def test_gradient_of_the_mlp_is_that_of_the_formula(worth_it, monkeypatch):
    monkeypatch.setattr("model.linear._WORTH_IT", worth_it)  # with oneDNN and without
    mlp, x = drawn(ClipMLP(WIDTH, 4 * WIDTH)), torch.randn(2, 5, WIDTH, requires_grad=True)
    wanted = mlp.c_proj(formula(mlp.c_fc(x)))
    torch.testing.assert_close(mlp(x), wanted)
    weights = [x, *mlp.parameters()]
    expected = torch.autograd.grad(wanted.square().sum(), weights)
    for got, value in zip(torch.autograd.grad(mlp(x).square().sum(), weights), expected, strict=True):
        torch.testing.assert_close(got, value, atol=1e-4, rtol=1e-4)


def test_the_mlp_keeps_two_hidden_tensors_for_its_backward_pass():
    mlp, x, kept = ClipMLP(WIDTH, 4 * WIDTH), torch.randn(2, 5, WIDTH), {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        mlp(x)
    assert sum(tensor.numel() == 2 * 5 * 4 * WIDTH for tensor in kept.values()) == 2


def test_dropout_of_the_mlp_drops_hidden_channels_in_training_only():
    mlp, x = drawn(ClipMLP(WIDTH, 400, dropout=0.5)), torch.randn(1, 1, WIDTH)
    mlp.c_proj = nn.Identity()
    assert 100 < (mlp(x) == 0).sum() < 300
    assert not (mlp.eval()(x) == 0).any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_layer_norm_computes_in_float32(dtype):
    norm, x = drawn(LayerNorm(WIDTH)), torch.randn(2, WIDTH).to(dtype)
    wanted = layer_norm(x.float(), (WIDTH,), norm.weight, norm.bias, 1e-5)
    assert norm(x).dtype == dtype
    assert torch.equal(norm(x), wanted.to(dtype))
    low = norm.to(torch.bfloat16)(x.to(torch.bfloat16))
    assert low.dtype == torch.bfloat16


def test_attention_is_its_formula():
    attn, x = drawn(ClipAttention(WIDTH, HEADS)), torch.randn(2, 5, WIDTH)
    torch.testing.assert_close(attn(x), plain_attention(attn, x), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(attn.attend(x, x), attn(x), atol=1e-5, rtol=1e-5)
    later = torch.ones(5, 5, dtype=torch.bool).triu(1)
    torch.testing.assert_close(attn(x, bias=Causal()), plain_attention(attn, x, later), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("keep", [slice(0, 1), slice(3, None)])
def test_kept_tokens_are_those_of_the_whole(keep):
    block, x = drawn(ClipBlock(WIDTH, HEADS)), torch.randn(2, 5, WIDTH)
    torch.testing.assert_close(block(x, keep), block(x)[:, keep], atol=1e-5, rtol=1e-5)


def test_block_is_its_formula_and_packs_texts():
    block, x = drawn(ClipBlock(WIDTH, HEADS)), torch.randn(1, 9, WIDTH)
    y = x + plain_attention(block.attn, block.ln_1(x))
    wanted = y + block.mlp.c_proj(formula(block.mlp.c_fc(block.ln_2(y))))
    torch.testing.assert_close(block(x), wanted, atol=1e-5, rtol=1e-5)
    packed = block(x, bias=BlockDiagonal.of((4, 5), causal=True))
    apart = [block(part, bias=Causal()) for part in (x[:, :4], x[:, 4:])]
    torch.testing.assert_close(packed, torch.cat(apart, dim=1), atol=1e-5, rtol=1e-5)


def test_block_runs_under_autocast():
    block, x = ClipBlock(WIDTH, HEADS), torch.randn(2, 5, WIDTH)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = block(x)
    result.sum().backward()
    torch.testing.assert_close(result, block(x), atol=0.05, rtol=0.05)
    assert all(parameter.grad is not None for parameter in block.parameters())
