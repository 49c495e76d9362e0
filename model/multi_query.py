"""The layers of the caption decoder: attention whose heads share one key and value, beside a gated feed-forward."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import layer_norm, silu

from model.attention import Causal, attention
from model.linear import Linear
from model.rotary import Turn, rotate

# Axes: C clips, R texts (as many for each clip, clip by clip), N positions, M tokens that are looked at, K cached or
# seen positions, D width, V channels of looked-at tokens, H heads, Dh channels of a head.

# Parameter names are the published ones; there the norms also store a shift that is always zero.

_EPS: Final = 1e-5


@dataclass(frozen=True)
class KeyValue:
    """The one key and the one value that all heads share."""

    key: Float[Tensor, "C K Dh"]
    value: Float[Tensor, "C K Dh"]

    def select(self, rows: Int[Tensor, "R"]) -> KeyValue:
        """Return the keys and values of other rows."""
        return KeyValue(self.key.index_select(0, rows), self.value.index_select(0, rows))


@dataclass
class Past:
    """The keys and values of the positions that a layer has read."""

    seen: KeyValue | None = None

    def append(self, new: KeyValue) -> KeyValue:
        """Take up later positions and return all."""
        if self.seen is not None:
            new = KeyValue(torch.cat([self.seen.key, new.key], dim=1), torch.cat([self.seen.value, new.value], dim=1))
        self.seen = new
        return new

    def reorder(self, rows: Int[Tensor, "R"]) -> None:
        """Go on with copies of other rows."""
        if self.seen is not None:
            self.seen = self.seen.select(rows)


class ScaleNorm(nn.Module):
    """LayerNorm with a learned scale and no shift, computed in float32; the result has the input's type."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x: Float[Tensor, "... D"]) -> Float[Tensor, "... D"]:
        """Normalise the last axis."""
        if x.dtype == self.gamma.dtype:
            return layer_norm(x, self.gamma.shape, self.gamma, None, _EPS)
        return layer_norm(x.float(), self.gamma.shape, self.gamma.float(), None, _EPS).to(x.dtype)


class SwiGLU(nn.Module):
    """The first half of the channels times silu of the second (Shazeer, arXiv 2002.05202)."""

    def forward(self, x: Float[Tensor, "... 2*D"]) -> Float[Tensor, "... D"]:
        """Gate the first half by the second."""
        first, gate = x.chunk(2, dim=-1)
        return first * silu(gate)


class Residual(nn.Module):
    """A branch whose result is added to its first input."""

    def __init__(self, fn: nn.Module) -> None:
        super().__init__()
        self.fn = fn

    def forward(self, x: Float[Tensor, "R N D"], *others: object) -> Float[Tensor, "R N D"]:
        """Run the branch and add."""
        return x + self.fn(x, *others)  # type: ignore[no-any-return]  # a module's call is untyped


class ParallelAttention(nn.Module):
    """Causal self-attention with rotary positions and a gated feed-forward, side by side on one norm.

    One matrix makes the queries of all heads, the key and value that they share (arXiv 1911.02150), and the
    feed-forward's channels (the parallel layers of PaLM, arXiv 2204.02311, section 2).
    """

    def __init__(self, width: int, heads: int, ff_ratio: int) -> None:
        super().__init__()
        self.heads = heads
        head_width, hidden = width // heads, width * ff_ratio
        self.parts = (width, head_width, head_width, 2 * hidden)
        self.norm = ScaleNorm(width)
        self.fused_attn_ff_proj = Linear(width, sum(self.parts), bias=False)
        self.attn_out = Linear(width, width, bias=False)
        self.ff_out = nn.Sequential(SwiGLU(), Linear(hidden, width, bias=False))

    def forward(self, x: Float[Tensor, "R N D"], turn: Turn, past: Past | None = None) -> Float[Tensor, "R N D"]:
        """Let each position see itself and those before it.

        Args:
            x: Positions; only one where ``past`` holds some already.
            turn: Their rotary turn.
            past: What was read before; it takes up the new positions.
        """
        q, k, v, ff = self.fused_attn_ff_proj(self.norm(x)).split(self.parts, dim=-1)
        q = rotate(q.unflatten(-1, (self.heads, -1)), turn)
        seen = KeyValue(rotate(k[:, :, None], turn)[:, :, 0], v)
        if past is not None:
            seen = past.append(seen)
        return self.attn_out(_attend_causally(q, seen)) + self.ff_out(ff)  # type: ignore[no-any-return]  # a module's call is untyped


class CrossAttention(nn.Module):
    """Attention of positions, or of learned queries, to tokens of a clip; beside it a gated feed-forward or none."""

    def __init__(
        self, width: int, context_width: int, heads: int, *, ff_ratio: int | None, norm_context: bool = False
    ) -> None:
        """Build the layer.

        Args:
            width: Channels D of the positions.
            context_width: Channels V of the tokens that are looked at.
            heads: Heads of the queries.
            ff_ratio: Hidden width of the feed-forward over ``width``; None leaves it out.
            norm_context: Whether the tokens that are looked at are normalised here.
        """
        super().__init__()
        self.norm = ScaleNorm(width)
        self.context_norm: nn.Module = ScaleNorm(context_width) if norm_context else nn.Identity()
        self.to_q = Linear(width, width, bias=False)
        self.to_kv = Linear(context_width, 2 * (width // heads), bias=False)
        self.to_out = Linear(width, width, bias=False)
        self.ff = None if ff_ratio is None else _feed_forward(width, width * ff_ratio)

    def look(self, context: Float[Tensor, "C M V"]) -> KeyValue:
        """Return what the tokens of a clip offer to any position."""
        key, value = self.to_kv(self.context_norm(context)).chunk(2, dim=-1)
        return KeyValue(key, value)

    def forward(self, x: Float[Tensor, "R N D"], context: Float[Tensor, "C M V"] | KeyValue) -> Float[Tensor, "R N D"]:
        """Let each position see all tokens of its clip.

        Args:
            x: Positions of R texts, as many for each clip; R = 1 stands for the same positions in every clip.
            context: The tokens, or what ``look`` made of them.
        """
        seen = context if isinstance(context, KeyValue) else self.look(context)
        x = self.norm(x)
        out = self.to_out(_attend_to_all(self.to_q(x), seen))
        return out if self.ff is None else out + self.ff(x)  # type: ignore[no-any-return]  # a module's call is untyped


def _feed_forward(width: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(Linear(width, 2 * hidden, bias=False), SwiGLU(), Linear(hidden, width, bias=False))


def _attend_to_all(q: Float[Tensor, "R N H*Dh"], seen: KeyValue) -> Float[Tensor, "R N H*Dh"]:
    """Attend without a mask: with one key for all heads, the heads of all positions are queries of a single head."""
    clips, _, head_width = seen.key.shape
    rows = max(clips, q.shape[0])
    folded = q.expand(rows, -1, -1) if q.shape[0] == 1 else q
    folded = folded.reshape(clips, -1, 1, head_width)
    return attention(folded, seen.key[:, :, None], seen.value[:, :, None]).reshape(rows, *q.shape[1:])


def _attend_causally(q: Float[Tensor, "R N H Dh"], seen: KeyValue) -> Float[Tensor, "R N H*Dh"]:
    """Attend to earlier positions and oneself; the shared key is handed to the heads without a copy."""
    rows, count, heads, _ = q.shape
    if count == 1:
        return _attend_to_all(q.flatten(2), seen)
    assert seen.key.shape[1] == count
    key, value = (x[:, :, None].expand(rows, count, heads, -1) for x in (seen.key, seen.value))
    return attention(q, key, value, bias=Causal()).flatten(2)
