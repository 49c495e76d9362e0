"""The strip-wise backward pass of attention on a CPU: exact, used where it pays, and small in memory."""

from __future__ import annotations

import os
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
import torch

from model import attention_on_cpu
from model.attention import BlockDiagonal, Causal, attention
from model.attention_on_cpu import pays_off, strip_attention

pytestmark = pytest.mark.skipif(
    not (torch.backends.mkldnn.is_available() and torch.backends.mkl.is_available()),
    reason="torch has no oneDNN or MKL",
)


def draw(queries, keys, *, batch=2, heads=2, width=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(batch, count, heads, width, generator=generator, requires_grad=True)
        for count in (queries, keys, keys)
    ]


def exact(q, k, v, scale):
    """The formula in float64."""
    q, k, v = (x.double().transpose(1, 2) for x in (q, k, v))
    return ((q @ k.transpose(2, 3) * scale).softmax(dim=-1) @ v).transpose(1, 2)


def gradients(result, inputs, wanted):
    return torch.autograd.grad(result, inputs, wanted.to(result.dtype))


@pytest.fixture
def small_strips(monkeypatch):
    monkeypatch.setattr(attention_on_cpu, "_QUERIES", 24)
    monkeypatch.setattr(attention_on_cpu, "_WORTH_IT", 1)


@pytest.mark.parametrize(("queries", "keys"), [(70, 70), (5, 70), (70, 5), (24, 48), (1, 1)])
@pytest.mark.parametrize("scale", [None, 0.3])
def test_result_and_gradients_are_exact(queries, keys, scale, small_strips):
    inputs = draw(queries, keys)
    wanted = torch.randn(inputs[0].shape)
    result, truth = strip_attention(*inputs, scale), exact(*inputs, scale or 16**-0.5)
    torch.testing.assert_close(result, truth.float(), atol=2e-6, rtol=1e-5)
    for own, right in zip(gradients(result, inputs, wanted), gradients(truth, inputs, wanted), strict=True):
        torch.testing.assert_close(own, right, atol=5e-6, rtol=1e-5)


def test_views_of_one_fused_tensor_and_large_scores(small_strips):
    fused = (3 * torch.randn(1, 60, 3, 2, 16)).requires_grad_()
    wanted = torch.randn(60, 1, 2, 16).transpose(0, 1)
    own, right = strip_attention(*fused.unbind(2), None), exact(*fused.unbind(2), 0.25)
    own_grad, right_grad = (gradients(x, [fused], wanted)[0] for x in (own, right))
    assert torch.isfinite(own_grad).all()
    torch.testing.assert_close(own_grad, right_grad, atol=1e-4, rtol=1e-4)


def test_strips_stay_small_however_long_the_sequence(monkeypatch):
    seen = []

    def product(x, weight, bias=None):
        seen.append(x.shape[0] * weight.shape[0])
        return torch.nn.functional.linear(x, weight, bias)

    monkeypatch.setattr(attention_on_cpu, "product", product)
    monkeypatch.setattr(attention_on_cpu, "_STRIP", 4000)
    inputs = draw(300, 300, batch=1)
    strip_attention(*inputs, None).sum().backward()
    assert 0 < max(seen) <= max(4000, 300 * 16)


def test_no_result_of_a_strip_outlives_it(monkeypatch, small_strips):
    alive, most = weakref.WeakSet(), []

    def product(x, weight, bias=None):
        result = torch.nn.functional.linear(x, weight, bias)
        alive.add(result)
        most.append(len(alive))
        return result

    monkeypatch.setattr(attention_on_cpu, "product", product)
    strip_attention(*draw(480, 96, batch=1), None).sum().backward()
    strips = 2 * 480 // 24  # of two heads
    assert len(most) == 5 * strips
    assert max(most) <= 4


_TAKEN = """
import torch
from benchmarks.sides.memory import peak, start_counting
from model.attention_on_cpu import strip_attention

def step(queries, keys):
    inputs = [torch.randn(1, count, 1, 128, requires_grad=True) for count in (queries, keys, keys)]
    result = strip_attention(*inputs, None)
    result.backward(torch.ones_like(result))

torch.set_num_threads(1)
step(1024, 1024)
base = start_counting()
step(2048, 16384)
print(peak() - base)
"""
_ONE_HEAP = {"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**30)}
"""All blocks on the heap, as they come to lie once a process has freed large ones."""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="no count of peak memory here")
def test_many_strips_share_their_memory():
    """64 strips of 2 MiB: the heap hands them out again and again, not anew."""
    said = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _TAKEN],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, **_ONE_HEAP},
    ).stdout
    inputs_and_gradients = 2 * (2048 + 2 * 16384) * 128 * 4 // 1024
    assert inputs_and_gradients < int(said) < 6 * inputs_and_gradients


def test_attention_takes_it_where_it_pays(monkeypatch):
    calls = []
    monkeypatch.setattr("model.attention.strip_attention", lambda q, *_: calls.append(1) or q)
    long, short = draw(1024, 1024, batch=1), draw(64, 64, batch=1)
    attention(*long)
    assert len(calls) == 1
    attention(*short)
    attention(*long, bias=Causal())
    attention(*long, dropout=0.1)
    attention(*(x.detach() for x in long))
    attention(*(x.bfloat16() for x in long))
    attention(*(x.double() for x in long))
    with torch.no_grad():
        attention(*long)
    with torch.autocast("cpu", torch.bfloat16):
        attention(*long)
    assert len(calls) == 1
    packed = draw(1088, 1088, batch=1)
    attention(*packed, bias=BlockDiagonal.of((1024, 64)))
    assert len(calls) == 2


def test_switching_onednn_off_turns_it_off():
    inputs = draw(1024, 1024, batch=1)
    assert pays_off(*inputs)
    before = torch.backends.mkldnn.set_flags(False)[0]
    try:
        assert not pays_off(*inputs)
    finally:
        torch.backends.mkldnn.set_flags(before)


def test_one_learning_input_is_enough():
    q, k, v = draw(1024, 1024, batch=1)
    frozen = [q.detach(), k.detach()]
    assert pays_off(*frozen, v)
    result = strip_attention(*frozen, v, None)
    (own,) = torch.autograd.grad(result.square().sum(), [v])
    (right,) = torch.autograd.grad(exact(*frozen, v, 0.25).square().sum(), [v])
    torch.testing.assert_close(own, right.float(), atol=1e-5, rtol=1e-4)
