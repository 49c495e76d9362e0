"""Products on oneDNN against torch's own, in value, gradient and everything that turns oneDNN off."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

import model.linear as subject
from model.linear import Linear, linear

needs_onednn = pytest.mark.skipif(
    not (torch.backends.mkldnn.is_available() and torch.backends.mkl.is_available()), reason="torch without oneDNN, MKL"
)


@pytest.fixture
def calls(monkeypatch):
    """Shapes of the products that oneDNN was given; every product is large enough for it."""
    seen = []
    product = subject.product

    def record(x, weight, bias=None):
        seen.append((tuple(x.shape), tuple(weight.shape)))
        return product(x, weight, bias)

    monkeypatch.setattr(subject, "product", record)
    monkeypatch.setattr(subject, "_WORTH_IT", 0)
    return seen


def operands(shape=(2, 3, 5), out=4, *, bias=True, seed=0):
    torch.manual_seed(seed)
    x = torch.randn(*shape, requires_grad=True)
    weight = torch.randn(out, shape[-1], requires_grad=True)
    return x, weight, torch.randn(out, requires_grad=True) if bias else None


def gradients(function, x, weight, bias, grad):
    wanted = [tensor for tensor in (x, weight, bias) if tensor is not None and tensor.requires_grad]
    return torch.autograd.grad(function(x, weight, bias), wanted, grad)


@needs_onednn
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("shape", "out"), [((2, 3, 5), 4), ((2, 3, 5), 9), ((7, 5), 6), ((2, 1, 1, 5), 5)])
def test_value_and_gradients_are_those_of_torch(calls, shape, out, bias):
    x, weight, shift = operands(shape, out, bias=bias)
    torch.testing.assert_close(linear(x, weight, shift), functional.linear(x, weight, shift))
    grad = torch.randn(*shape[:-1], out)
    expected = gradients(functional.linear, x, weight, shift, grad)
    calls.clear()
    for got, wanted in zip(gradients(linear, x, weight, shift, grad), expected, strict=True):
        torch.testing.assert_close(got, wanted)
        assert got.shape == wanted.shape
    assert len(calls) == 3


@needs_onednn
def test_strided_operands_need_no_copy_by_the_caller(calls):
    x, weight, bias = operands((2, 6, 5))
    parts = (x[:, 1:4], torch.randn(5, 12).t()[2:8], torch.randn(6))
    torch.testing.assert_close(linear(*parts), functional.linear(*parts))
    grad = torch.randn(4, 6, 2).transpose(0, 2)
    for got, wanted in zip(
        gradients(linear, x, weight, bias, grad), gradients(functional.linear, x, weight, bias, grad), strict=True
    ):
        torch.testing.assert_close(got, wanted)
    assert calls


@needs_onednn
@pytest.mark.parametrize("gaps", [False, True])
def test_operands_with_gaps_or_repeats_in_memory_are_made_dense(calls, monkeypatch, gaps):
    seen = []
    run = torch.ops.mkldnn._linear_pointwise
    monkeypatch.setattr(
        torch.ops.mkldnn, "_linear_pointwise", lambda x, w, *rest: (seen.append(w), run(x, w, *rest))[1]
    )
    x, weight, bias = operands((2, 6, 5), 8)
    given = torch.randn(2, 6, 7)[..., :5].requires_grad_() if gaps else x
    matrix = torch.randn(8, 9)[:, 2:7].requires_grad_() if gaps else weight
    grad = torch.randn(2, 6, 9)[..., 1:] if gaps else torch.ones(()).expand(2, 6, 8)
    expected = gradients(functional.linear, given, matrix, bias, grad)
    for got, wanted in zip(gradients(linear, given, matrix, bias, grad), expected, strict=True):
        torch.testing.assert_close(got, wanted)
    assert len(seen) == 3
    assert all(w.is_contiguous() or w.t().is_contiguous() for w in seen)


@needs_onednn
@pytest.mark.parametrize(("frozen", "products"), [("weight", 2), ("x", 2), ("bias", 3)])
def test_no_gradient_is_computed_that_nobody_asks_for(calls, frozen, products):
    given = dict(zip(("x", "weight", "bias"), operands(), strict=True))
    given[frozen].requires_grad_(requires_grad=False)
    linear(**given).sum().backward()
    assert given[frozen].grad is None
    assert len(calls) == products


@needs_onednn
def test_small_products_and_other_types_stay_with_torch(calls, monkeypatch):
    x, weight, bias = operands()
    linear(x.double(), weight.double(), bias.double())
    linear(x[0, 0], weight, bias)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert linear(x, weight, bias).dtype == torch.bfloat16
    monkeypatch.setattr(subject, "_WORTH_IT", 2 * 3 * 5 * 4 + 1)
    linear(x, weight, bias)
    assert not calls


@needs_onednn
def test_torchs_switch_turns_onednn_off(calls):
    before = torch.backends.mkldnn.set_flags(False)[0]
    try:
        linear(*operands())
    finally:
        torch.backends.mkldnn.set_flags(before)
    assert not calls
    linear(*operands())
    assert calls


@needs_onednn
def test_a_frozen_weight_keeps_no_input(calls):
    x, weight, bias = operands()
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor.shape) or tensor, lambda t: t):
        linear(x, weight.detach(), bias.detach()).sum().backward()
    assert kept == [weight.shape]
    torch.testing.assert_close(x.grad, torch.ones(2, 3, 4) @ weight)
    assert calls


def test_other_devices_stay_with_torch(calls):
    x, weight, bias = (tensor.detach().to("meta") for tensor in operands())
    assert linear(x, weight, bias).shape == (2, 3, 4)
    assert not calls


def test_module_has_torchs_names_and_values(calls):
    made = Linear(5, 4)
    assert list(made.state_dict()) == ["weight", "bias"]
    x = torch.randn(3, 5)
    torch.testing.assert_close(made(x), functional.linear(x, made.weight, made.bias))
    assert Linear(5, 4, bias=False)(x).shape == (3, 4)


def test_floating_point_operations_are_counted(calls):
    x, weight, bias = operands()
    with FlopCounterMode(display=False) as counter:
        linear(x, weight, bias).sum().backward()
    assert counter.get_total_flops() == 3 * 2 * 6 * 5 * 4


def test_wrong_widths_are_refused(calls):
    with pytest.raises(RuntimeError):
        linear(torch.randn(2, 3), torch.randn(4, 5))
