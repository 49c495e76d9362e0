"""The transformer block that all VideoMAE networks are made of, and stacks of it."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import gelu, linear
from torch.utils.checkpoint import checkpoint

from model.attention import AttentionBias, attention

# Axes: B batch, N tokens, K kept tokens, D width, H heads, Dh channels of a head.

ALL_TOKENS = slice(None)
"""Keep the result of every token."""


class SelfAttention(nn.Module):
    """Multi-head attention of tokens to each other, with one fused qkv matrix and learned biases for q and v only.

    The key bias is zero and no parameter: it would shift all scores of a query alike.
    """

    def __init__(self, width: int, heads: int, *, bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(width)) if bias else None
        self.v_bias = nn.Parameter(torch.zeros(width)) if bias else None
        self.proj = nn.Linear(width, width)

    def forward(
        self, x: Float[Tensor, "B N D"], keep: slice = ALL_TOKENS, bias: AttentionBias | None = None
    ) -> Float[Tensor, "B K D"]:
        """Attend; queries, and so results, are computed for the kept tokens only."""
        batch, count, width = x.shape
        split = (self.heads, width // self.heads)
        if keep == ALL_TOKENS:
            qkv = linear(x, self.qkv.weight, self._joint_bias()).view(batch, count, 3, *split)
            q, k, v = qkv.unbind(dim=2)
        else:
            q = linear(x[:, keep], self.qkv.weight[:width], self.q_bias).view(batch, -1, *split)
            k = linear(x, self.qkv.weight[width : 2 * width]).view(batch, -1, *split)
            v = linear(x, self.qkv.weight[2 * width :], self.v_bias).view(batch, -1, *split)
        return self.proj(attention(q, k, v, bias=bias).flatten(2))  # type: ignore[no-any-return]  # a module's call is untyped

    def _joint_bias(self) -> Float[Tensor, "3*D"] | None:
        if self.q_bias is None or self.v_bias is None:
            return None
        return torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])


class MLP(nn.Module):
    """Two linear maps with the exact (erf) GELU between them."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
        """Apply the two maps to each token."""
        return self.fc2(gelu(self.fc1(x)))  # type: ignore[no-any-return]  # a module's call is untyped


class DropPath(nn.Module):
    """Stochastic depth: in training a sample's whole branch is dropped at the given rate, the others scaled up.

    Huang et al., "Deep networks with stochastic depth", arXiv 1603.09382.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
        """Drop samples of the branch, or pass it on."""
        if not self.training or not self.rate:
            return x
        kept = torch.rand(x.shape[0], 1, 1, device=x.device) >= self.rate
        return x * (kept.to(x.dtype) / (1.0 - self.rate))


class Block(nn.Module):
    """One pre-norm block: x += gamma_1 attention(norm1 x), x += gamma_2 mlp(norm2 x)."""

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        mlp_ratio: float,
        qkv_bias: bool,
        norm_eps: float,
        layer_scale: float,
        drop_path: float,
    ) -> None:
        """Build a block.

        Args:
            width: Channels D of a token.
            heads: Attention heads.
            mlp_ratio: Hidden width of the MLP over ``width``, rounded down.
            qkv_bias: Whether q and v have a learned bias.
            norm_eps: Epsilon of both norms.
            layer_scale: First value of gamma_1 and gamma_2; 0 leaves them out.
            drop_path: Rate of stochastic depth.
        """
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=norm_eps)
        self.attn = SelfAttention(width, heads, bias=qkv_bias)
        self.norm2 = nn.LayerNorm(width, eps=norm_eps)
        self.mlp = MLP(width, int(width * mlp_ratio))
        self.drop_path = DropPath(drop_path)
        self.gamma_1 = nn.Parameter(torch.full((width,), layer_scale)) if layer_scale > 0 else None
        self.gamma_2 = nn.Parameter(torch.full((width,), layer_scale)) if layer_scale > 0 else None

    def forward(
        self, x: Float[Tensor, "B N D"], keep: slice = ALL_TOKENS, bias: AttentionBias | None = None
    ) -> Float[Tensor, "B K D"]:
        """Run the block; all tokens are seen, but only the kept ones are computed and returned.

        Args:
            x: Tokens.
            keep: The tokens whose result is wanted.
            bias: Who may see whom; None lets all see all.
        """
        x = x[:, keep] + self.drop_path(_scaled(self.attn(self.norm1(x), keep, bias), self.gamma_1))
        return x + self.drop_path(_scaled(self.mlp(self.norm2(x)), self.gamma_2))  # type: ignore[no-any-return]  # a module's call is untyped


def _scaled(x: Tensor, gamma: Tensor | None) -> Tensor:
    return x if gamma is None else x * gamma


def drop_path_ramp(rate: float, depth: int) -> list[float]:
    """Return the stochastic depth of each block of a stack: from 0 to ``rate`` in equal steps."""
    return [rate * i / (depth - 1) for i in range(depth)] if depth > 1 else [0.0] * depth


def run_blocks(
    blocks: nn.ModuleList,
    x: Float[Tensor, "B N D"],
    *,
    keep: slice = ALL_TOKENS,
    bias: AttentionBias | None = None,
    recompute: bool = False,
) -> Float[Tensor, "B K D"]:
    """Run a stack of blocks; the last one computes the kept tokens only.

    Args:
        blocks: ``Block`` or ``ClipBlock`` modules, in order.
        x: Tokens.
        keep: The tokens whose final result is wanted.
        bias: Who may see whom; None lets all see all.
        recompute: Keep no activations inside blocks and recompute them in the backward pass (Chen et al.,
            arXiv 1604.06174).
    """
    last = len(blocks) - 1
    for i, block in enumerate(blocks):
        wanted = keep if i == last else ALL_TOKENS
        if recompute and torch.is_grad_enabled():
            x = checkpoint(block, x, wanted, bias, use_reentrant=False)
        else:
            x = block(x, wanted, bias)
    return x
