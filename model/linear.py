"""Affine maps of tokens, which on a CPU in float32 run on oneDNN instead of the BLAS that torch was built with."""

from __future__ import annotations

from typing import Any, Final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import register_flop_formula

# Axes: D channels that come in, E channels that go out; R rows, the product of all other axes.

# torch sends a float32 product on a CPU to its BLAS. Where that is MKL, processors of other makers than MKL's get its
# AVX2 kernels, whatever they could do; oneDNN, which torch uses for lower types and convolutions, asks the processor
# itself. Sums are taken in another order and nothing else differs: both multiply and add in float32.

_WORTH_IT: Final = 2**20
"""Multiplications from which on oneDNN pays for its preparation of each new shape (some 50 us)."""


def linear(
    x: Float[Tensor, "... D"], weight: Float[Tensor, "E D"], bias: Float[Tensor, "E"] | None = None
) -> Float[Tensor, "... E"]:
    """Return x weight^T + bias, like ``torch.nn.functional.linear``.

    ``torch.backends.mkldnn.set_flags(False)`` turns oneDNN off here as elsewhere in torch.
    """
    if _suits_onednn(x, weight):
        return _OneDnnLinear.apply(x, weight, bias)  # type: ignore[no-any-return, no-untyped-call]  # a Function is untyped
    return functional.linear(x, weight, bias)


class Linear(nn.Linear):
    """``torch.nn.Linear`` on top of this file's ``linear``."""

    def forward(self, input: Float[Tensor, "... D"]) -> Float[Tensor, "... E"]:  # noqa: A002 - the name in torch
        """Map the last axis."""
        return linear(input, self.weight, self.bias)


def onednn_suits(x: Tensor) -> bool:
    """Tell whether oneDNN may take a tensor's place in a product here and now."""
    plain = type(x) in {Tensor, nn.Parameter}
    return plain and x.dtype == torch.float32 and x.device.type == "cpu" and _ready()


def _suits_onednn(x: Tensor, weight: Tensor) -> bool:
    large = x.ndim > 1 and x.numel() * weight.shape[0] >= _WORTH_IT
    return large and onednn_suits(x) and onednn_suits(weight)


def _ready() -> bool:
    if torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu"):
        return False
    settings: Any = torch.backends
    return bool(settings.mkldnn.enabled and settings.mkldnn.is_available() and settings.mkl.is_available())


def product(
    x: Float[Tensor, "... D"], weight: Float[Tensor, "E D"], bias: Float[Tensor, "E"] | None = None
) -> Float[Tensor, "... E"]:
    """Return x weight^T + bias by oneDNN, without gradients.

    A weight with gaps or repeats in memory would take oneDNN a thousand times as long.
    """
    if not (weight.is_contiguous() or weight.t().is_contiguous()):
        weight = weight.contiguous()
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")  # type: ignore[no-any-return]  # noqa: SLF001 - torch has no public name for it


def _count_flops(x_shape: torch.Size, weight_shape: torch.Size, *_: object, **__: object) -> int:
    """Two per multiplication, as torch counts its own products."""
    return 2 * x_shape.numel() * weight_shape[0]


if torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]  # untyped module
    register_flop_formula(torch.ops.mkldnn._linear_pointwise)(_count_flops)  # noqa: SLF001 - the same


class _OneDnnLinear(torch.autograd.Function):
    """The product and its gradient, each one oneDNN call."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: ANN401 - torch has no public type for it
        # Weights that do not learn, as in frozen encoders, need no input in the backward pass.
        ctx.save_for_backward(x if ctx.needs_input_grad[1] else None, weight)
        return product(x, weight, bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:  # noqa: ANN401 - the same; one gradient per argument is torch's rule
        x, weight = ctx.saved_tensors
        wants_x, wants_weight, wants_bias = ctx.needs_input_grad
        rows = grad.flatten(0, -2)
        return (
            product(grad, weight.t()) if wants_x else None,
            _outer(rows, x.flatten(0, -2)) if wants_weight else None,
            rows.sum(dim=0) if wants_bias else None,
        )


def _outer(grad: Float[Tensor, "R E"], x: Float[Tensor, "R D"]) -> Float[Tensor, "E D"]:
    """Return grad^T x. oneDNN copies its first operand into place, so the narrower one comes first."""
    if grad.shape[1] <= x.shape[1]:
        return product(grad.t(), x.t())
    return product(x.t(), grad.t()).t()
