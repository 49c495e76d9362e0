"""The transformer block of CLIP, which the text tower, the UniFormerV2 backbone and its global blocks are made of."""

from __future__ import annotations

from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import layer_norm, silu

from model.attention import AttentionBias, attention
from model.layers import ALL_TOKENS, DropPath, Keep, keeps_all
from model.linear import Linear, linear

# Axes: B batch, N tokens, K kept tokens, M tokens that are looked at, D width,
# H heads, Dh channels of a head.

# Parameter names are those of CLIP's checkpoints.

_STEEPNESS: Final = 1.702
"""Factor in the sigmoid that stands for GELU."""


class LayerNorm(nn.LayerNorm):
    """LayerNorm computed in float32 whatever comes in; the result has the input's type (CLIP's public code)."""

    def forward(self, x: Float[Tensor, "... D"]) -> Float[Tensor, "... D"]:
        """Normalise the last axis."""
        if x.dtype == self.weight.dtype:
            return super().forward(x)
        weight, bias = self.weight.float(), self.bias.float()
        return layer_norm(x.float(), self.normalized_shape, weight, bias, self.eps).to(x.dtype)


def quick_gelu(x: Float[Tensor, "..."], *, overwrite: bool = False) -> Float[Tensor, "..."]:
    """Return x sigmoid(1.702 x), CLIP's approximation of GELU.

    It is silu(1.702 x) / 1.702, of which the backward pass needs one tensor of this size and not two; without
    gradients there is one in all.

    Args:
        x: Values.
        overwrite: Whether its memory may be used where nothing needs a gradient: ``x`` must then be nobody else's.
    """
    if torch.is_grad_enabled():
        return silu(x * _STEEPNESS).mul_(1 / _STEEPNESS)
    scaled = x.mul_(_STEEPNESS) if overwrite else x * _STEEPNESS
    return silu(scaled, inplace=True).mul_(1 / _STEEPNESS)


class ClipAttention(nn.Module):
    """Multi-head attention with biases for queries, keys and values in one fused matrix."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(
        self, x: Float[Tensor, "B N D"], keep: Keep = ALL_TOKENS, bias: AttentionBias | None = None
    ) -> Float[Tensor, "B K D"]:
        """Attend among the tokens; queries, and so results, are computed for the kept tokens only."""
        if not keeps_all(keep):
            return self.attend(x[:, keep], x, bias)
        q, k, v = self.project(x).unbind(dim=2)
        return self.out_proj(attention(q, k, v, bias=bias).flatten(2))  # type: ignore[no-any-return]  # a module's call is untyped

    def project(self, x: Float[Tensor, "B N D"]) -> Float[Tensor, "B N 3 H Dh"]:
        """Return the query, the key and the value of each token, in this order along the third axis."""
        batch, count, width = x.shape
        fused = linear(x, self.in_proj_weight, self.in_proj_bias)
        return fused.view(batch, count, 3, self.heads, width // self.heads)

    def attend(
        self, queries: Float[Tensor, "B N D"], context: Float[Tensor, "B M D"], bias: AttentionBias | None = None
    ) -> Float[Tensor, "B N D"]:
        """Let some tokens look at others."""
        batch, count, width = queries.shape
        split = (self.heads, width // self.heads)
        q = linear(queries, self.in_proj_weight[:width], self.in_proj_bias[:width]).view(batch, count, *split)
        kv = linear(context, self.in_proj_weight[width:], self.in_proj_bias[width:])
        k, v = kv.view(batch, context.shape[1], 2, *split).unbind(dim=2)
        return self.out_proj(attention(q, k, v, bias=bias).flatten(2))  # type: ignore[no-any-return]  # a module's call is untyped


class ClipMLP(nn.Module):
    """Two linear maps with QuickGELU between them, and dropout before the second."""

    def __init__(self, width: int, hidden: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.c_fc = Linear(width, hidden)
        self.dropout = nn.Dropout(dropout)
        self.c_proj = Linear(hidden, width)

    def forward(self, x: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
        """Apply the two maps to each token."""
        return self.c_proj(self.dropout(quick_gelu(self.c_fc(x), overwrite=True)))  # type: ignore[no-any-return]  # a module's call is untyped


class ClipBlock(nn.Module):
    """One pre-norm block: x += attention(ln_1 x), x += mlp(ln_2 x) (CLIP, arXiv 2103.00020)."""

    def __init__(self, width: int, heads: int, *, drop_path: float = 0.0) -> None:
        super().__init__()
        self.ln_1 = LayerNorm(width)
        self.attn = ClipAttention(width, heads)
        self.ln_2 = LayerNorm(width)
        self.mlp = ClipMLP(width, 4 * width)
        self.drop_path = DropPath(drop_path)

    def forward(
        self, x: Float[Tensor, "B N D"], keep: Keep = ALL_TOKENS, bias: AttentionBias | None = None
    ) -> Float[Tensor, "B K D"]:
        """Run the block; all tokens are seen, but only the kept ones are computed and returned."""
        x = x[:, keep] + self.drop_path(self.attn(self.ln_1(x), keep, bias))
        return x + self.drop_path(self.mlp(self.ln_2(x)))  # type: ignore[no-any-return]  # a module's call is untyped
