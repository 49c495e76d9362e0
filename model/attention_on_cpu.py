"""Attention of long float32 sequences on a CPU, whose backward pass runs on oneDNN strip by strip."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import torch
from jaxtyping import Float
from torch import Tensor

from model.linear import onednn_suits, product

# Axes: B batch, Q queries, K keys, H heads, Dh channels of a head, S queries of a strip.

# The forward pass is torch's own, which holds blocks of scores only and returns the logarithm of each query's sum of
# exponents. From it the backward pass makes the weights of some queries anew, and there its own kernel is slow for
# want of oneDNN (see model/linear.py). All sums are float32 here as there.

_WORTH_IT: Final = 2**20
"""Pairs of query and key from which on a strip's products are large enough for oneDNN."""
_STRIP: Final = 2**19
"""Most pairs of a strip, so that its size does not grow with the sequence."""
_QUERIES: Final = 256
"""Most queries of a strip, which is then half of all pairs or less."""


def pays_off(q: Float[Tensor, "B Q H Dh"], k: Float[Tensor, "B K H Dh"], v: Float[Tensor, "B K H Dh"]) -> bool:
    """Tell whether ``strip_attention`` takes such inputs and is the faster way."""
    learns = torch.is_grad_enabled() and (q.requires_grad or k.requires_grad or v.requires_grad)
    large = q.shape[1] * k.shape[1] >= _WORTH_IT
    return learns and large and all(onednn_suits(x) for x in (q, k, v))


def strip_attention(
    q: Float[Tensor, "B Q H Dh"], k: Float[Tensor, "B K H Dh"], v: Float[Tensor, "B K H Dh"], scale: float | None
) -> Float[Tensor, "B Q H Dh"]:
    """Return softmax(scale q k^T) v per head; beyond inputs, result and gradients, memory grows with Q + K only."""
    return _StripAttention.apply(q, k, v, q.shape[-1] ** -0.5 if scale is None else scale)  # type: ignore[no-any-return, no-untyped-call]  # a Function is untyped


class _StripAttention(torch.autograd.Function):
    """Dao et al., "FlashAttention", arXiv 2205.14135, appendix B: the backward pass from the result and the sums."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:  # noqa: ANN401 - torch has no public type for it
        heads_first = (x.transpose(1, 2) for x in (q, k, v))
        result, log_sums = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(*heads_first, scale=scale)  # noqa: SLF001 - the public function keeps the sums to itself
        ctx.save_for_backward(q, k, v, result, log_sums)
        ctx.scale = scale
        return result.transpose(1, 2)  # type: ignore[no-any-return]  # an operator is untyped

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:  # noqa: ANN401 - the same; one gradient per argument is torch's rule
        q, k, v, result, log_sums = ctx.saved_tensors
        grad = grad.transpose(1, 2)
        grads = [torch.empty_like(x, memory_format=torch.contiguous_format) for x in (q, k, v)]
        for sample in range(q.shape[0]):
            for head in range(q.shape[2]):
                place = (sample, slice(None), head)
                wanted = grad[sample, head]
                shift = (wanted * result[sample, head]).sum(dim=-1)
                rows = _Rows(wanted, -log_sums[sample, head], -shift)
                found = _head_gradients(q[place] * ctx.scale, k[place], v[place], rows)
                found[0].mul_(ctx.scale)
                for target, value in zip(grads, found, strict=True):
                    target[place] = value
        return *grads, None


@dataclass(frozen=True)
class _Rows:
    """What the backward pass knows of each query of a head: gradient, what to add to its scores and their gradients."""

    grad: Float[Tensor, "Q Dh"]
    to_scores: Float[Tensor, "Q"]
    to_moved: Float[Tensor, "Q"]


def _head_gradients(
    q: Float[Tensor, "Q Dh"],
    k: Float[Tensor, "K Dh"],
    v: Float[Tensor, "K Dh"],
    rows: _Rows,
) -> list[Tensor]:
    """Return the gradients for the scaled queries, the keys and the values of one head."""
    # Strips lie key by query, so that what is taken off each query's row of scores is the bias of a product.
    # No result of a strip outlives it but in these sums: small blocks between large ones would keep the heap from
    # handing the large ones out again.
    k, v, size = k.contiguous(), v.contiguous(), max(1, min(_QUERIES, _STRIP // k.shape[0]))
    by_channel = k.t().contiguous()
    of_queries, of_keys, of_values = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
    strips = (torch.split(x.contiguous(), size) for x in (q, rows.grad, rows.to_scores, rows.to_moved))
    for number, (queries, wanted, to_scores, to_moved) in enumerate(zip(*strips, strict=True)):
        weights = product(k, queries, to_scores).exp_()
        of_values += product(weights, wanted.t())
        moved = product(v, wanted, to_moved).mul_(weights)
        of_keys += product(moved, queries.t())
        of_queries[number * size :][: len(queries)] = product(by_channel, moved.t()).t()
    return [of_queries, of_keys, of_values]
