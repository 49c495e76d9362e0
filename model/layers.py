"""The transformer block that all VideoMAE networks are made of, and stacks of it."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn.functional import dropout, gelu
from torch.utils.checkpoint import checkpoint

from model.attention import AttentionBias, BlockDiagonal, attention
from model.linear import Linear, linear
from model.masking import send

# Axes: B batch, C packed clips, N tokens, K kept tokens, D width, H heads, Dh channels of a head.

ALL_TOKENS = slice(None)
"""Keep the result of every token."""

Keep = slice | Int64[Tensor, "K"]
"""The tokens whose result is wanted, the same of each sample: a slice, or their places."""


class SelfAttention(nn.Module):
    """Multi-head attention of tokens to each other, with one fused qkv matrix and learned biases for q and v only.

    The key bias is zero and no parameter: it would shift all scores of a query alike.
    """

    def __init__(
        self, width: int, heads: int, *, bias: bool, dropout: float = 0.0, attention_dropout: float = 0.0
    ) -> None:
        """Build the maps.

        Args:
            width: Channels D of a token.
            heads: Attention heads.
            bias: Whether q and v have a learned bias.
            dropout: Dropout of the result.
            attention_dropout: Dropout of the attention weights.
        """
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.attention_dropout = attention_dropout
        self.qkv = Linear(width, 3 * width, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(width)) if bias else None
        self.v_bias = nn.Parameter(torch.zeros(width)) if bias else None
        self.proj = Linear(width, width)

    def forward(
        self, x: Float[Tensor, "B N D"], keep: Keep = ALL_TOKENS, bias: AttentionBias | None = None
    ) -> Float[Tensor, "B K D"]:
        """Attend; queries, and so results, are computed for the kept tokens only."""
        batch, count, width = x.shape
        split = (self.heads, width // self.heads)
        if keeps_all(keep):
            qkv = linear(x, self.qkv.weight, self._joint_bias()).view(batch, count, 3, *split)
            q, k, v = qkv.unbind(dim=2)
        else:
            q = linear(x[:, keep], self.qkv.weight[:width], self.q_bias).view(batch, -1, *split)
            k = linear(x, self.qkv.weight[width : 2 * width]).view(batch, -1, *split)
            v = linear(x, self.qkv.weight[2 * width :], self.v_bias).view(batch, -1, *split)
        attended = attention(q, k, v, bias=bias, dropout=self.attention_dropout if self.training else 0.0)
        return dropout(self.proj(attended.flatten(2)), self.dropout, self.training)

    def _joint_bias(self) -> Float[Tensor, "3*D"] | None:
        if self.q_bias is None or self.v_bias is None:
            return None
        return torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])


class MLP(nn.Module):
    """Two linear maps with the exact (erf) GELU between them, and dropout after the second only."""

    def __init__(self, width: int, hidden: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = dropout
        self.fc1 = Linear(width, hidden)
        self.fc2 = Linear(hidden, width)

    def forward(self, x: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
        """Apply the two maps to each token."""
        return dropout(self.fc2(gelu(self.fc1(x))), self.dropout, self.training)


class DropPath(nn.Module):
    """Stochastic depth: in training a sample's whole branch is dropped at the given rate, the others scaled up.

    Huang et al., "Deep networks with stochastic depth", arXiv 1603.09382.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Float[Tensor, "B N D"], bias: AttentionBias | None = None) -> Float[Tensor, "B N D"]:
        """Drop samples of the branch, or pass it on.

        Args:
            x: The branch's tokens.
            bias: Who may see whom; where it says that the batch is packed clips, each of them is a sample.
        """
        if not self.training or not self.rate:
            return x
        if isinstance(bias, BlockDiagonal):
            kept = _per_clip(torch.rand(len(bias.query_lengths), device=x.device) >= self.rate, bias.query_lengths)
        else:
            kept = torch.rand(x.shape[0], 1, 1, device=x.device) >= self.rate
        return x * (kept.to(x.dtype) / (1.0 - self.rate))


def _per_clip(values: Bool[Tensor, "C"], lengths: tuple[int, ...]) -> Bool[Tensor, "1 N 1"]:
    """Give each token of packed clips its clip's value."""
    counts = send(torch.tensor(lengths), values.device)
    return torch.repeat_interleave(values, counts, output_size=sum(lengths))[None, :, None]


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
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
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
            dropout: Dropout of what attention and the MLP return.
            attention_dropout: Dropout of the attention weights.
        """
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=norm_eps)
        self.attn = SelfAttention(width, heads, bias=qkv_bias, dropout=dropout, attention_dropout=attention_dropout)
        self.norm2 = nn.LayerNorm(width, eps=norm_eps)
        self.mlp = MLP(width, int(width * mlp_ratio), dropout=dropout)
        self.drop_path = DropPath(drop_path)
        self.gamma_1 = nn.Parameter(torch.full((width,), layer_scale)) if layer_scale > 0 else None
        self.gamma_2 = nn.Parameter(torch.full((width,), layer_scale)) if layer_scale > 0 else None

    def forward(
        self, x: Float[Tensor, "B N D"], keep: Keep = ALL_TOKENS, bias: AttentionBias | None = None
    ) -> Float[Tensor, "B K D"]:
        """Run the block; all tokens are seen, but only the kept ones are computed and returned.

        Args:
            x: Tokens.
            keep: The tokens whose result is wanted.
            bias: Who may see whom; None lets all see all.
        """
        x = x[:, keep] + self.drop_path(_scaled(self.attn(self.norm1(x), keep, bias), self.gamma_1), bias)
        return x + self.drop_path(_scaled(self.mlp(self.norm2(x)), self.gamma_2), bias)  # type: ignore[no-any-return]  # a module's call is untyped


def keeps_all(keep: Keep) -> bool:
    """Tell whether the result of every token is wanted."""
    return isinstance(keep, slice) and keep == ALL_TOKENS


def _scaled(x: Tensor, gamma: Tensor | None) -> Tensor:
    return x if gamma is None else x * gamma


def drop_path_ramp(rate: float, depth: int) -> list[float]:
    """Return the stochastic depth of each block of a stack: from 0 to ``rate`` in equal steps."""
    return [rate * i / (depth - 1) for i in range(depth)] if depth > 1 else [0.0] * depth


def run_blocks(
    blocks: nn.ModuleList,
    x: Float[Tensor, "B N D"],
    *,
    keep: Keep = ALL_TOKENS,
    bias: AttentionBias | None = None,
    last_bias: AttentionBias | None = None,
    recompute: bool = False,
) -> Float[Tensor, "B K D"]:
    """Run a stack of blocks; the last one computes the kept tokens only.

    Args:
        blocks: ``Block`` or ``ClipBlock`` modules, in order; without any, the kept tokens are returned as they are.
        x: Tokens.
        keep: The tokens whose final result is wanted.
        bias: Who may see whom; None lets all see all.
        last_bias: The same for the last block, where packed clips keep a part of their tokens only; None takes
            ``bias``.
        recompute: Keep no activations inside blocks and recompute them in the backward pass (Chen et al.,
            arXiv 1604.06174).
    """
    last = len(blocks) - 1
    for i, block in enumerate(blocks):
        wanted, rule = (keep, last_bias or bias) if i == last else (ALL_TOKENS, bias)
        if recompute and torch.is_grad_enabled():
            x = checkpoint(block, x, wanted, rule, use_reentrant=False)
        else:
            x = block(x, wanted, rule)
    return x if len(blocks) else x[:, keep]
