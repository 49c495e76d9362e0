"""The caption decoder: text features that look at a pooled video, to the scores of each next token."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from model.clip_config import CaptionerConfig
from model.clip_layers import LayerNorm
from model.linear import Linear
from model.multi_query import CrossAttention, KeyValue, ParallelAttention, Past, Residual
from model.rotary import Turn, rotary_turn

# Axes: C clips, R texts (as many for each clip, clip by clip), B clips with one text each, M tokens of a clip,
# V channels of such a token, Q learned queries, L positions of a text, n positions that are added, W width,
# S scores, one per token id.


class CaptionLayer(nn.ModuleList):
    """A residual layer of two: self-attention beside a feed-forward, then a look at the clip beside another one."""

    def __init__(self, config: CaptionerConfig) -> None:
        width, heads = config.width, config.heads
        super().__init__(
            [
                Residual(ParallelAttention(width, heads, config.ff_ratio)),
                Residual(CrossAttention(width, width, heads, ff_ratio=config.ff_ratio)),
            ]
        )

    def forward(
        self, x: Float[Tensor, "R N W"], turn: Turn, seen: Float[Tensor, "C Q W"] | KeyValue, past: Past | None = None
    ) -> Float[Tensor, "R N W"]:
        """Run both halves on some positions, whose rotary turn is given."""
        read, look = self
        return look(read(x, turn, past), seen)  # type: ignore[no-any-return]  # a module's call is untyped

    def look(self, pooled: Float[Tensor, "C Q W"]) -> KeyValue:
        """Return what the pooled clip offers to any position."""
        cross = self[1].fn
        assert isinstance(cross, CrossAttention)
        return cross.look(pooled)


@dataclass
class CaptionCache:
    """What ``CaptionDecoder.extend`` has seen.

    Attributes:
        clips: Number of clips C.
        rows: Number of texts R, as many for each clip, clip by clip.
        length: Positions that were read of each text.
        seen: What the clips offer, per layer; computed once.
        pasts: Keys and values of the texts, per layer.
    """

    clips: int
    rows: int
    length: int = 0
    seen: list[KeyValue] = field(default_factory=list)
    pasts: list[Past] = field(default_factory=list)

    def reorder(self, rows: Int[Tensor, "K"], clips: Int[Tensor, "J"] | None = None) -> None:
        """Go on with other texts: number i becomes a copy of text ``rows[i]``, as beam search needs.

        Args:
            rows: Text numbers, as many for each clip that stays, clip by clip; a text stays with its clip.
            clips: Numbers of the clips that stay; None keeps all.

        Raises:
            ValueError: ``rows`` is no list of numbers, or the clips cannot share the texts equally.
        """
        kept = self.clips if clips is None else clips.shape[0]
        if rows.ndim != 1 or not kept or rows.shape[0] % kept:
            raise ValueError(
                f"rows have shape {tuple(rows.shape)} and {kept} clips stay: a list of text numbers is taken, "
                "as many for each clip"
            )
        if clips is not None:
            self.seen = [seen.select(clips) for seen in self.seen]
        for past in self.pasts:
            past.reorder(rows)
        self.clips, self.rows = kept, rows.shape[0]


class CaptionDecoder(nn.Module):
    """Scores of the next token from the text so far and a clip (InternVideo, arXiv 2212.03191; CoCa, 2205.01917).

    Learned queries pool the clip's tokens once. Then each layer mixes the text causally and lets it look at the pooled
    clip. Parameter names are the published ones; the constants that are stored there, zero shifts of the norms and
    rotary frequencies, are not in our state dict.
    """

    def __init__(self, config: CaptionerConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.visual_queries = nn.Parameter(torch.empty(config.queries, width))
        self.visual_attn_pooler = CrossAttention(
            width, config.visual_width, config.heads, ff_ratio=None, norm_context=True
        )
        self.visual_pooler_norm = LayerNorm(width)
        self.text_norm = LayerNorm(width)
        self.multimodal_layers = nn.ModuleList(CaptionLayer(config) for _ in range(config.depth))
        self.predictor = nn.Sequential(
            LayerNorm(width), Linear(width, width), nn.GELU(), LayerNorm(width), Linear(width, config.vocabulary)
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw fresh weights.

        =============  ===========================
        queries        normal, std W^-0.5
        linear maps    normal, std ``init_std``; biases zero
        norms          1 and 0
        =============  ===========================
        """
        nn.init.normal_(self.visual_queries, std=self.config.width**-0.5)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=self.config.init_std)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def pool(self, tokens: Float[Tensor, "B M V"]) -> Float[Tensor, "B Q W"]:
        """Let the learned queries read a clip's tokens; nothing of the queries themselves remains in the result.

        Args:
            tokens: The video encoder's tokens of all frames, class tokens included, in any order.

        Raises:
            ValueError: Tokens of another shape or type.
        """
        self._require("tokens", tokens, self.config.visual_width)
        return self.visual_pooler_norm(self.visual_attn_pooler(self.visual_queries[None], tokens))  # type: ignore[no-any-return]  # a module's call is untyped

    def decode(self, text: Float[Tensor, "B L W"], pooled: Float[Tensor, "B Q W"]) -> Float[Tensor, "B L W"]:
        """Return the features that ``predict`` scores; a position sees no later one.

        Args:
            text: The text tower's features of each position.
            pooled: What ``pool`` returned for the clips.

        Raises:
            ValueError: Shapes or types that do not fit the model or each other.
        """
        self._require("text", text, self.config.width)
        self._require("pooled", pooled, self.config.width)
        if len(text) != len(pooled):
            raise ValueError(f"there are {len(text)} texts and {len(pooled)} clips: one text per clip is taken")
        x, turn = self.text_norm(text), self._turn(text)
        for layer in self.multimodal_layers:
            if self.config.checkpoint_blocks and torch.is_grad_enabled():
                x = checkpoint(layer, x, turn, pooled, use_reentrant=False)
            else:
                x = layer(x, turn, pooled)
        return x  # type: ignore[no-any-return]  # a module's call is untyped

    def predict(self, features: Float[Tensor, "... W"]) -> Float[Tensor, "... S"]:
        """Return the scores of the next token at each position."""
        return self.predictor(features)  # type: ignore[no-any-return]  # a module's call is untyped

    def forward(self, tokens: Float[Tensor, "B M V"], text: Float[Tensor, "B L W"]) -> Float[Tensor, "B L S"]:
        """Return the scores of the token that follows each position.

        All scores are held at once; ``model.captioning_loss`` trains without that.

        Args:
            tokens: The video encoder's tokens of all frames.
            text: The text tower's features of each position.

        Raises:
            ValueError: Shapes or types that do not fit the model or each other.
        """
        return self.predict(self.decode(text, self.pool(tokens)))

    def start(self, pooled: Float[Tensor, "C Q W"]) -> CaptionCache:
        """Return the cache of clips with one text each that has no position yet; it holds what the clips offer.

        Raises:
            ValueError: Clips of another shape or type.
        """
        self._require("pooled", pooled, self.config.width)
        clips = len(pooled)
        seen = [layer.look(pooled) for layer in self._layers()]
        return CaptionCache(clips=clips, rows=clips, seen=seen, pasts=[Past() for _ in seen])

    def extend(self, text: Float[Tensor, "R n W"], cache: CaptionCache) -> Float[Tensor, "R n W"]:
        """Append positions to texts and return what ``decode`` gives for them.

        A first call may bring many positions at once; later ones are added one after the other.

        Args:
            text: The text tower's features of the new positions.
            cache: What ``start`` or an earlier call left; it takes them up.

        Raises:
            ValueError: Features of another shape or type, or of another number of texts than the cache's.
        """
        self._require("text", text, self.config.width)
        if len(text) != cache.rows:
            raise ValueError(f"there are {len(text)} texts and the cache is of {cache.rows}: they must agree")
        x = self.text_norm(text)
        columns = torch.split(x, 1, dim=1) if cache.length else (x,)
        return torch.cat([self._append(column, cache) for column in columns], dim=1)

    def _append(self, x: Float[Tensor, "R n W"], cache: CaptionCache) -> Float[Tensor, "R n W"]:
        turn = self._turn(x, cache.length)
        cache.length += x.shape[1]
        for layer, seen, past in zip(self._layers(), cache.seen, cache.pasts, strict=True):
            x = layer(x, turn, seen, past)
        return x

    def _layers(self) -> list[CaptionLayer]:
        return list(self.multimodal_layers)  # type: ignore[arg-type]  # all of them are made in the constructor

    def _turn(self, text: Tensor, begin: int = 0) -> Turn:
        return rotary_turn(begin, text.shape[1], self.config.width // self.config.heads, text.device)

    def _require(self, name: str, given: Tensor, width: int) -> None:
        if given.ndim != len("BNW") or given.shape[-1] != width or not given.shape[1]:
            raise ValueError(f"{name} have shape {tuple(given.shape)}: [B, N, {width}] with N >= 1 is taken")
        weights = self.visual_queries.dtype
        if not given.is_floating_point() or (given.dtype != weights and not _autocast(given.device.type)):
            raise ValueError(
                f"{name} are {given.dtype} and the caption decoder's weights {weights}: the weights' type is taken, "
                "and other floating point under autocast only"
            )


def _autocast(device_type: str) -> bool:
    return torch.amp.is_autocast_available(device_type) and torch.is_autocast_enabled(device_type)
