"""CLIP's text tower: token ids to the features of each position and of the whole text, at once or step by step."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from model.attention import BlockDiagonal, Causal, attention
from model.clip_config import TextConfig
from model.clip_layers import ClipBlock, LayerNorm
from model.layers import run_blocks

# Axes: B texts, L positions, n positions that are added, m positions of a cache, N tokens of all texts end to end,
# W width, E channels of the shared space, H heads, Dh channels of a head.

_ID_TYPES = (torch.int32, torch.int64)


@dataclass(frozen=True)
class TextFeatures:
    """What the text tower makes of texts.

    Attributes:
        tokens: Each position after the last norm: what a caption decoder reads.
        pooled: The position of the largest id (the first, if there are several), which is the end token.
        embedded: ``pooled`` in the space that videos and texts share, not normalised.
    """

    tokens: Float[Tensor, "B L W"]
    pooled: Float[Tensor, "B W"]
    embedded: Float[Tensor, "B E"]


@dataclass
class TextCache:
    """Keys and values of the positions that ``TextTower.extend`` has seen.

    Attributes:
        batch: Number of texts B.
        length: Positions m seen so far.
        blocks: Per block the keys and values, stacked.
    """

    batch: int
    length: int = 0
    blocks: list[Float[Tensor, "B m 2 H Dh"]] = field(default_factory=list)

    def reorder(self, rows: Int[Tensor, "K"]) -> None:
        """Go on with other texts: number i becomes a copy of text ``rows[i]``, as beam search needs.

        Args:
            rows: One text number for each text to go on with; their number may differ from B.

        Raises:
            ValueError: ``rows`` is no list of numbers.
        """
        if rows.ndim != 1:
            raise ValueError(f"rows have shape {tuple(rows.shape)}: one text number per text to go on with is taken")
        self.blocks = [block.index_select(0, rows) for block in self.blocks]
        self.batch = rows.shape[0]


class TextTower(nn.Module):
    """CLIP's text transformer (arXiv 2103.00020, section 2.4; InternVideo, arXiv 2212.03191).

    Learned positions, pre-norm blocks, causal attention. Padding is not masked: it stands behind the end token, which
    therefore never sees it. Parameter names are the published ones.
    """

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.token_embedding = nn.Embedding(config.vocabulary, width)
        self.positional_embedding = nn.Parameter(torch.empty(config.context, width))
        blocks = nn.ModuleList(ClipBlock(width, config.heads) for _ in range(config.depth))
        self.transformer = nn.ModuleDict({"resblocks": blocks})
        self.ln_final = LayerNorm(width)
        self.text_projection = nn.Parameter(torch.empty(width, config.embed_width))
        self.text_mask_embedding = nn.Parameter(torch.empty(1, 1, width))
        self.reset_parameters()

    @property
    def blocks(self) -> nn.ModuleList:
        """The transformer's blocks, first to last."""
        return self.transformer["resblocks"]  # type: ignore[return-value]  # the dictionary's values are modules to the types

    def reset_parameters(self) -> None:
        """Draw fresh weights, all normal with mean 0.

        ============================================  ==============================
        token embedding, embedding of hidden tokens   std 0.02
        positions                                     std 0.01
        fused query, key and value                    std W^-0.5
        attention's output, second MLP map            std W^-0.5 (2 depth)^-0.5
        first MLP map                                 std (2 W)^-0.5
        projection                                    std W^-0.5
        biases of attention                           zero
        biases of the MLP, LayerNorm                  torch's default
        ============================================  ==============================
        """
        width = self.config.width
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.text_mask_embedding, std=0.02)
        nn.init.normal_(self.positional_embedding, std=0.01)
        nn.init.normal_(self.text_projection, std=width**-0.5)
        out_std = width**-0.5 * (2 * self.config.depth) ** -0.5
        for block in self.blocks:
            assert isinstance(block, ClipBlock)
            nn.init.normal_(block.attn.in_proj_weight, std=width**-0.5)
            nn.init.normal_(block.attn.out_proj.weight, std=out_std)
            nn.init.normal_(block.mlp.c_fc.weight, std=(2 * width) ** -0.5)
            nn.init.normal_(block.mlp.c_proj.weight, std=out_std)

    def forward(self, ids: Int[Tensor, "B L"], *, hidden: Bool[Tensor, "B L"] | None = None) -> TextFeatures:
        """Encode texts.

        Args:
            ids: Token ids, int32 or int64; the end token is the largest id of a text. L is the context or less.
            hidden: True where a token's embedding is replaced by the learned one of hidden tokens.

        Raises:
            ValueError: Ids of another type or shape, more of them than the context, or one outside the vocabulary.
        """
        self._check_ids(ids)
        x = self.token_embedding(ids)
        if hidden is not None:
            x = torch.where(_checked_mask(hidden, ids)[..., None], self.text_mask_embedding.to(x.dtype), x)
        x = x + self.positional_embedding[: ids.shape[1]]
        x = run_blocks(self.blocks, x, bias=Causal(), recompute=self.config.checkpoint_blocks)
        tokens = self.ln_final(x)
        pooled = tokens[torch.arange(ids.shape[0], device=ids.device), ids.argmax(dim=1)]
        return TextFeatures(tokens=tokens, pooled=pooled, embedded=pooled @ self.text_projection)

    def embed(self, ids: Int[Tensor, "B L"]) -> Float[Tensor, "B E"]:
        """Return ``forward(ids).embedded`` without the work for positions that it does not depend on.

        Texts are cut behind their end token and packed end to end, and the last block computes the end tokens only.
        The lengths are read on the host.

        Raises:
            ValueError: As ``forward``.
        """
        self._check_ids(ids)
        ends = ids.argmax(dim=1)
        lengths = tuple((ends + 1).tolist())
        read = torch.arange(ids.shape[1], device=ids.device) <= ends[:, None]
        places = read.nonzero()[:, 1]
        # Not positional_embedding[places]: on a CPU its gradient is added up in an order that changes from run to run.
        x = (self.token_embedding(ids[read]) + functional.embedding(places, self.positional_embedding))[None]
        packed, alone = BlockDiagonal.of(lengths, causal=True), BlockDiagonal((1,) * len(lengths), lengths)
        wanted, recompute = (ends + 1).cumsum(dim=0) - 1, self.config.checkpoint_blocks
        x = run_blocks(self.blocks, x, keep=wanted, bias=packed, last_bias=alone, recompute=recompute)
        return self.ln_final(x)[0] @ self.text_projection  # type: ignore[no-any-return]  # a module's call is untyped

    def start(self, batch: int) -> TextCache:
        """Return the cache of ``batch`` texts that have no position yet.

        Raises:
            ValueError: ``batch`` is below 1.
        """
        if batch < 1:
            raise ValueError(f"batch is {batch}: at least 1 text is taken")
        return TextCache(batch)

    def extend(self, ids: Int[Tensor, "B n"], cache: TextCache) -> Float[Tensor, "B n W"]:
        """Append positions to texts and return what ``forward`` gives as their ``tokens``.

        Attention is causal, so earlier positions do not change: their keys and values come out of the cache, which
        takes up the new ones. A first call may bring many positions at once; later ones are added one after the other.

        Args:
            ids: The texts' next token ids.
            cache: What ``start`` or an earlier call left.

        Raises:
            ValueError: As ``forward``, or another number of texts than the cache's.
        """
        if ids.ndim == len("BL") and ids.shape[0] != cache.batch:
            raise ValueError(f"ids are of {ids.shape[0]} texts and the cache is of {cache.batch}: they must agree")
        self._check_ids(ids, cache.length)
        if not cache.length:
            return self._append(ids, cache)
        return torch.cat([self._append(column, cache) for column in torch.split(ids, 1, dim=1)], dim=1)

    def _append(self, ids: Int[Tensor, "B n"], cache: TextCache) -> Float[Tensor, "B n W"]:
        begin, cache.length = cache.length, cache.length + ids.shape[1]
        x = self.token_embedding(ids) + self.positional_embedding[begin : cache.length]
        for number, block in enumerate(self.blocks):
            assert isinstance(block, ClipBlock)
            fused = block.attn.project(block.ln_1(x))
            known = fused[:, :, 1:]
            if begin:
                known = cache.blocks[number] = torch.cat([cache.blocks[number], known], dim=1)
            else:
                cache.blocks.append(known)
            mixed = attention(fused[:, :, 0], *known.unbind(dim=2), bias=None if begin else Causal())
            x = x + block.attn.out_proj(mixed.flatten(2))
            x = x + block.mlp(block.ln_2(x))
        return self.ln_final(x)  # type: ignore[no-any-return]  # a module's call is untyped

    def _check_ids(self, ids: Tensor, begin: int = 0) -> None:
        if ids.ndim != len("BL") or ids.dtype not in _ID_TYPES or not ids.numel():
            raise ValueError(
                f"ids are {ids.dtype} {tuple(ids.shape)}: int32 or int64 [B, L] with B and L >= 1 is taken"
            )
        context, vocabulary = self.config.context, self.config.vocabulary
        if begin + ids.shape[1] > context:
            behind = f" behind {begin} others" if begin else ""
            raise ValueError(f"ids have {ids.shape[1]} positions{behind}: the context is {context}; cut the texts")
        least, largest = torch.stack(ids.aminmax()).tolist()
        if least < 0 or largest >= vocabulary:
            raise ValueError(f"ids go from {least} to {largest}: the vocabulary has the ids 0 to {vocabulary - 1}")


def _checked_mask(hidden: Tensor, ids: Tensor) -> Tensor:
    if hidden.dtype != torch.bool or hidden.shape != ids.shape:
        raise ValueError(
            f"hidden is {hidden.dtype} {tuple(hidden.shape)}: torch.bool {tuple(ids.shape)} is taken, as the ids have"
        )
    return hidden
