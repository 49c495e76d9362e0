"""The caption decoder's layers against their formulas; one key for all heads, copied for none."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import layer_norm, silu
from torch.utils._python_dispatch import TorchDispatchMode

from model import multi_query
from model.multi_query import CrossAttention, KeyValue, ParallelAttention, Past, ScaleNorm, SwiGLU
from model.rotary import rotary_turn, rotate

CPU = torch.device("cpu")
WIDTH, HEADS, HEAD = 24, 3, 8


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def parallel():
    torch.manual_seed(0)
    return randomized(ParallelAttention(WIDTH, HEADS, 2))


def cross(**changes):
    torch.manual_seed(1)
    return randomized(CrossAttention(WIDTH, 20, HEADS, **{"ff_ratio": 2, **changes}))


def randomized(module):
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return module


def norm(x, gamma):
    return layer_norm(x, x.shape[-1:], gamma, None, 1e-5)


def heads_of(x):
    return x.view(*x.shape[:2], HEADS, HEAD)


def plain(q, k, v, seen=None):
    """Every head attends with its own copy of the shared key, with the whole matrix of scores."""
    scores = torch.einsum("bqhd,bkd->bhqk", q, k) * HEAD**-0.5
    if seen is not None:
        scores = scores.masked_fill(~seen, float("-inf"))
    return torch.einsum("bhqk,bkd->bqhd", scores.softmax(dim=-1), v).flatten(2)


def swiglu(x):
    return x[..., : x.shape[-1] // 2] * silu(x[..., x.shape[-1] // 2 :])


def plain_parallel(layer, x):
    x = norm(x, layer.norm.gamma)
    weight = layer.fused_attn_ff_proj.weight
    q, k, v, ff = (x @ part.T for part in weight.split([WIDTH, HEAD, HEAD, 4 * WIDTH]))
    turn = rotary_turn(0, x.shape[1], HEAD, CPU)
    q, k = rotate(heads_of(q), turn), rotate(k[:, :, None], turn)[:, :, 0]
    causal = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril()
    return plain(q, k, v, causal) @ layer.attn_out.weight.T + swiglu(ff) @ layer.ff_out[1].weight.T


def plain_cross(layer, x, context):
    x = norm(x, layer.norm.gamma)
    if isinstance(layer.context_norm, ScaleNorm):
        context = norm(context, layer.context_norm.gamma)
    k, v = (context @ layer.to_kv.weight.T).chunk(2, dim=-1)
    out = plain(heads_of(x @ layer.to_q.weight.T), k, v) @ layer.to_out.weight.T
    return out if layer.ff is None else out + swiglu(x @ layer.ff[0].weight.T) @ layer.ff[2].weight.T


def assert_same(ours, reference, inputs):
    torch.testing.assert_close(ours, reference, atol=1e-5, rtol=1e-5)
    weights = drawn(*ours.shape, seed=9)
    for mine, theirs in zip(
        torch.autograd.grad((ours * weights).sum(), inputs),
        torch.autograd.grad((reference * weights).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("count", [1, 2, 7])
def test_parallel_attention_is_its_formula_in_value_and_gradient(count):
    layer, x = parallel(), drawn(2, count, WIDTH).requires_grad_()
    inputs = [x, *layer.parameters()]
    assert_same(layer(x, rotary_turn(0, count, HEAD, CPU)), plain_parallel(layer, x), inputs)


@pytest.mark.parametrize("changes", [{}, {"ff_ratio": None, "norm_context": True}])
def test_cross_attention_is_its_formula_in_value_and_gradient(changes):
    layer, x, context = cross(**changes), drawn(2, 5, WIDTH).requires_grad_(), drawn(2, 9, 20, seed=2).requires_grad_()
    inputs = [x, context, *layer.parameters()]
    assert_same(layer(x, context), plain_cross(layer, x, context), inputs)


def test_what_a_clip_offers_serves_all_texts_of_it():
    layer, context = cross(), drawn(2, 9, 20, seed=2)
    texts = drawn(6, 4, WIDTH)
    expected = plain_cross(layer, texts, context.repeat_interleave(3, dim=0))
    torch.testing.assert_close(layer(texts, layer.look(context)), expected, atol=1e-5, rtol=1e-5)


def test_one_row_of_queries_is_asked_of_every_clip():
    layer, context, queries = cross(ff_ratio=None), drawn(3, 9, 20, seed=2), drawn(1, 4, WIDTH)
    expected = plain_cross(layer, queries.expand(3, -1, -1), context)
    torch.testing.assert_close(layer(queries, context), expected, atol=1e-5, rtol=1e-5)


def test_positions_one_by_one_give_what_all_at_once_gave():
    layer, x, past = parallel(), drawn(2, 6, WIDTH), Past()
    whole = layer(x, rotary_turn(0, 6, HEAD, CPU))
    first = layer(x[:, :3], rotary_turn(0, 3, HEAD, CPU), past)
    torch.testing.assert_close(first, whole[:, :3], atol=1e-5, rtol=1e-5)
    for place in range(3, 6):
        step = layer(x[:, place : place + 1], rotary_turn(place, 1, HEAD, CPU), past)
        torch.testing.assert_close(step, whole[:, place : place + 1], atol=1e-5, rtol=1e-5)
    assert past.seen.key.shape == (2, 6, HEAD)


def test_reordered_past_belongs_to_the_chosen_rows():
    layer, x, past = parallel(), drawn(2, 4, WIDTH), Past()
    past.reorder(torch.tensor([1, 0]))  # nothing was read yet: nothing to reorder
    layer(x[:, :3], rotary_turn(0, 3, HEAD, CPU), past)
    past.reorder(torch.tensor([1, 1, 0]))
    chosen = x[[1, 1, 0]]
    step = layer(chosen[:, 3:], rotary_turn(3, 1, HEAD, CPU), past)
    expected = layer(chosen, rotary_turn(0, 4, HEAD, CPU))[:, 3:]
    torch.testing.assert_close(step, expected, atol=1e-5, rtol=1e-5)


def test_attention_is_handed_one_key_for_all_heads(monkeypatch):
    """The shared key is the same memory for every head, and no head's scores need more than their share."""
    handed = []
    plain_attention = multi_query.attention

    def spy(q, k, v, **options):
        handed.append((tuple(k.shape), k.stride(2) if k.shape[2] > 1 else 0))
        return plain_attention(q, k, v, **options)

    monkeypatch.setattr(multi_query, "attention", spy)
    parallel()(drawn(2, 5, WIDTH), rotary_turn(0, 5, HEAD, CPU))
    cross()(drawn(2, 5, WIDTH), drawn(2, 9, 20))
    assert handed == [((2, 5, HEADS, HEAD), 0), ((2, 9, 1, HEAD), 0)]


class LargestTensor(TorchDispatchMode):
    """Notes the most values that any operation returned."""

    def __init__(self):
        super().__init__()
        self.values = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for value in result if isinstance(result, tuple) else (result,):
            if isinstance(value, torch.Tensor):
                self.values = max(self.values, value.numel())
        return result


def run_parallel(x):
    return parallel()(x, rotary_turn(0, x.shape[1], HEAD, CPU))


def run_cross(x):
    return cross()(x, drawn(1, x.shape[1], 20))


@pytest.mark.parametrize("run", [run_parallel, run_cross])
def test_no_matrix_of_scores_is_held(run):
    count = 400
    with LargestTensor() as largest:
        run(drawn(1, count, WIDTH).requires_grad_()).sum().backward()
    assert largest.values < count * count


def test_norm_scales_and_shifts_nothing():
    module = ScaleNorm(6)
    torch.nn.init.normal_(module.gamma)
    x = drawn(2, 6) * 5 + 3
    expected = (x - x.mean(-1, keepdim=True)) / (x.var(-1, correction=0, keepdim=True) + 1e-5).sqrt() * module.gamma
    torch.testing.assert_close(module(x), expected)
    assert list(module.state_dict()) == ["gamma"]
    half = module(x.bfloat16())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), expected, atol=0.05, rtol=0.05)


def test_second_half_gates_the_first():
    torch.testing.assert_close(SwiGLU()(torch.tensor([3.0, 2.0])), torch.tensor([6.0 / (1.0 + 2.718281828**-2.0)]))


def test_selected_keys_are_those_of_the_rows():
    pair = KeyValue(drawn(3, 2, 4), drawn(3, 2, 4, seed=1))
    chosen = pair.select(torch.tensor([2, 2]))
    torch.testing.assert_close(chosen.key, pair.key[[2, 2]])
    torch.testing.assert_close(chosen.value, pair.value[[2, 2]])
