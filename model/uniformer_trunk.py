"""The trunk of UniFormerV2: patches, CLIP's blocks per frame, global blocks with a query per clip, and their fusion."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.utils.checkpoint import checkpoint

from model.clip_config import UniFormerConfig
from model.clip_layers import LayerNorm
from model.config import Grid
from model.frames import ClipGroup, FrameLayout
from model.layers import drop_path_ramp
from model.linear import linear
from model.patches import clip_grid, to_weights
from model.positions import resize_table
from model.uniblocks import GlobalBlock, LocalMixing, UniFormerBlock, UntrackedBatchNorms, add_positions

# Axes: B clips, T frames, H rows and W columns of pixels, S time slots (T, or T/2 with temporal downsampling),
# L patches of a frame, F slots of all clips, N = 1 + L tokens of a frame (class token first), p edge of a patch,
# t frames that the patch convolution spans, D width.

# Parameter names are those of the public checkpoints.


@dataclass(frozen=True)
class Encoded:
    """What the trunk returns, clips in the order of the layout.

    Attributes:
        layout: How the tokens lie.
        fused: The feature of each clip.
        query: The query of each clip after the last global block.
        collected: Tokens after the backbone blocks that were asked for, by block number.
    """

    layout: FrameLayout
    fused: Float[Tensor, "B D"]
    query: Float[Tensor, "B D"]
    collected: dict[int, Float[Tensor, "F N D"]]


class _Transformer(nn.Module):
    """Holds the blocks under the names of the public checkpoints."""

    def __init__(self, config: UniFormerConfig) -> None:
        super().__init__()
        self.temporal_cls_token = nn.Parameter(torch.zeros(1, 1, config.width))
        self.balance = None if config.frozen else nn.Parameter(torch.zeros(config.width))
        ramp = drop_path_ramp(config.drop_path, config.depth)
        self.resblocks = nn.ModuleList(UniFormerBlock(config, rate) for rate in ramp)
        width, count = config.width, len(config.global_blocks)
        self.dpe = nn.ModuleList(nn.Conv3d(width, width, 3, padding=1, groups=width) for _ in range(count))
        self.dec = nn.ModuleList(GlobalBlock(config, rate) for rate in drop_path_ramp(config.global_drop_path, count))

    def position_encoding(self, number: int) -> nn.Conv3d:
        """Return the convolution before a global block."""
        return cast("nn.Conv3d", self.dpe[number])


class UniFormerTrunk(nn.Module):
    """What encoder and classifier share: patches, backbone blocks, global blocks, fusion."""

    def __init__(self, config: UniFormerConfig) -> None:
        super().__init__()
        self.config: UniFormerConfig = config
        height, width = config.image_size
        patch, span = config.patch_size, 3 if config.temporal_downsample else 1
        patches = height // patch * (width // patch)
        self.conv1 = nn.Conv3d(3, config.width, (span, patch, patch), bias=False)
        self.class_embedding = nn.Parameter(torch.empty(config.width))
        self.positional_embedding = nn.Parameter(torch.empty(1 + patches, config.width))
        self.ln_pre = LayerNorm(config.width)
        self.transformer = _Transformer(config)
        self.backbone_frozen = False
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw fresh weights.

        ==========================================  ==================================================
        class embedding, positional embedding       normal, std D^-0.5
        fused q, k, v of all attentions             Xavier uniform as one matrix, biases zero
        output maps of attention                    backbone: torch's default, bias zero; global: zero
        first map of an MLP                         backbone: torch's default; global: Xavier uniform
        second map of an MLP                        backbone: torch's default; global: zero
        local mixing                                torch's default; its last convolution zero
        position encoding before global blocks      torch's default, bias zero
        query, balance                              zero
        patch convolution                           torch's default
        LayerNorm, batch norm                       1 and 0
        ==========================================  ==================================================

        So all that is new against CLIP starts as the identity: with CLIP's weights in the backbone the feature is half
        the average of the frames' class tokens, and the LayerNorm behind it takes the half away.
        """
        std = self.config.width**-0.5
        nn.init.normal_(self.class_embedding, std=std)
        nn.init.normal_(self.positional_embedding, std=std)
        for number in range(len(self.config.global_blocks)):
            zero_(self.transformer.position_encoding(number).bias)
        for module in self.modules():
            if isinstance(module, LocalMixing):
                zero_(*module.pos_embed[-1].parameters())
            elif isinstance(module, GlobalBlock):
                nn.init.xavier_uniform_(module.mlp.c_fc.weight)
                zero_(*module.attn.out_proj.parameters(), *module.mlp.c_proj.parameters())

    def freeze_backbone(self) -> None:
        """Train the global blocks and what follows them only.

        The backbone's parameters ask for no gradient, and its blocks stay in eval mode whatever ``train`` says: no
        stochastic depth, and batch norms neither use nor move batch statistics.
        """
        self.backbone_frozen = True
        for parts in (self.conv1, self.ln_pre, self.transformer.resblocks):
            for parameter in parts.parameters():
                parameter.requires_grad = False
        self.class_embedding.requires_grad = False
        self.positional_embedding.requires_grad = False
        self.train(self.training)

    def freeze_unread(self) -> None:
        """Let blocks that nothing reads where no tokens are collected ask for no gradient: ``encode`` leaves them out.

        Those are behind the last global block, where the query alone is the feature. Ranks would wait for gradients
        that never come.
        """
        first = self._blocks_to_run(frozenset(self.config.global_blocks))
        self.transformer.resblocks[first:].requires_grad_(requires_grad=False)

    def train(self, mode: bool = True) -> Self:  # noqa: FBT001, FBT002 - torch's signature
        """Set training or eval mode; a frozen backbone stays in eval mode."""
        super().train(mode)
        if self.backbone_frozen:
            self.transformer.resblocks.eval()
        return self

    def encode(self, videos: Sequence[Float[Tensor, "B 3 T H W"]], *, collect: frozenset[int] = frozenset()) -> Encoded:
        """Encode clips, one tensor for each shape; several shapes are packed.

        Only what is read is computed. Where no global block follows the last backbone block and its tokens are not
        collected, it computes class tokens alone; and where the query alone is the feature, blocks behind the last
        that is read are not run.

        Args:
            videos: Normalised clips.
            collect: Backbone blocks whose tokens are wanted.

        Raises:
            ValueError: No clips, clips that do not come out even or of a type that is not taken, or a block that does
                not exist.
        """
        config, blocks = self.config, self.transformer
        wanted = self._require_blocks(collect).union(config.global_blocks)
        kept: dict[int, Tensor] = {}
        x, layout = self._embed(videos)
        query = blocks.temporal_cls_token.expand(layout.clips, -1, -1)
        for i, block in enumerate(blocks.resblocks[: self._blocks_to_run(wanted)]):
            only = i == config.depth - 1 and i not in wanted and not self._counts_batches()
            x = self._recompute(block, x, layout, class_only=only)
            if i in collect:
                kept[i] = x
            if i in config.global_blocks:
                query = self._recompute(self._look, config.global_blocks.index(i), query, x, layout)
        return Encoded(layout, self._fuse(query[:, 0], x, layout), query[:, 0], kept)

    def _embed(self, videos: Sequence[Float[Tensor, "B 3 T H W"]]) -> tuple[Float[Tensor, "F N D"], FrameLayout]:
        """Cut clips into patches, map them to tokens, add class tokens and positions."""
        weight, config = self.conv1.weight, self.config
        parts, groups = [], []
        for video in videos:
            grid = clip_grid(video, 2 if config.temporal_downsample else 1, config.patch_size)
            if not (len(video) and grid.tokens):
                raise ValueError(
                    f"the video has shape {tuple(video.shape)}: at least one clip, one frame and one patch are taken"
                )
            rows = cut_patches(video, config.patch_size, overlap=config.temporal_downsample)
            patches = linear(to_weights(rows, weight), weight.flatten(1))
            position = self._positions(grid)
            first = (self.class_embedding + position[0]).expand(*patches.shape[:2], 1, -1)
            parts.append(torch.cat([first, patches + position[1:]], dim=2))
            groups.append(ClipGroup(video.shape[0], grid))
        layout = FrameLayout(tuple(groups))
        return self.ln_pre(layout.join(parts)), layout

    def _positions(self, grid: Grid) -> Float[Tensor, "N D"]:
        """Return the position table, resized bicubically where a frame has other patches than configured."""
        own = self.config.grid
        table = self.positional_embedding
        if (grid.rows, grid.columns) == (own.rows, own.columns):
            return table
        source, target = Grid(1, own.rows, own.columns), Grid(1, grid.rows, grid.columns)
        return torch.cat([table[:1], resize_table(table[1:], source, target)])

    def _recompute(self, function: Callable[..., Tensor], *inputs: Any, **named: Any) -> Tensor:  # noqa: ANN401 - what the function takes
        """Call a function, with its activations recomputed in the backward pass if so configured."""
        if not (self.config.checkpoint_blocks and torch.is_grad_enabled()):
            return function(*inputs, **named)
        quiet = UntrackedBatchNorms(function)
        return checkpoint(  # type: ignore[no-any-return]  # untyped
            function,
            *inputs,
            use_reentrant=False,
            context_fn=lambda: (contextlib.nullcontext(), quiet),
            **named,
        )

    def _look(
        self, number: int, query: Float[Tensor, "B 1 D"], x: Float[Tensor, "F N D"], layout: FrameLayout
    ) -> Float[Tensor, "B 1 D"]:
        """Run one global block; the backbone's tokens are not changed by it."""
        moved = add_positions(self.transformer.position_encoding(number), x, layout)
        return self.transformer.dec[number](query, moved)  # type: ignore[no-any-return]  # a module's call is untyped

    def _fuse(
        self, query: Float[Tensor, "B D"], x: Float[Tensor, "F N D"], layout: FrameLayout
    ) -> Float[Tensor, "B D"]:
        balance = self.transformer.balance
        if balance is None:
            return query
        share = balance.sigmoid()
        return (1 - share) * query + share * layout.class_mean(layout.class_tokens(x))

    def _counts_batches(self) -> bool:
        """Tell whether running a block moves batch norms, so that no part of it may be left out."""
        return self.training and not self.backbone_frozen and self.config.local != "none"

    def _blocks_to_run(self, wanted: frozenset[int]) -> int:
        query_alone = self.transformer.balance is None and not self._counts_batches()
        return 1 + max(wanted) if query_alone else self.config.depth

    def _require_blocks(self, collect: frozenset[int]) -> frozenset[int]:
        strangers = sorted(i for i in collect if not 0 <= i < self.config.depth)
        if strangers:
            raise ValueError(f"collect asks for blocks {strangers}: the backbone has 0 to {self.config.depth - 1}")
        return collect


def zero_(*tensors: Tensor | None) -> None:
    """Fill parameters with zeros."""
    for tensor in tensors:
        if tensor is not None:
            nn.init.zeros_(tensor)


def cut_patches(video: Float[Tensor, "B 3 T H W"], patch: int, *, overlap: bool) -> Float[Tensor, "B S L 3*t*p*p"]:
    """Lay out what each position of the patch convolution sees, so that the convolution is a matrix product.

    Args:
        video: Clips that come out even.
        patch: Edge of a patch, and the step in space.
        overlap: Windows of 3 frames every 2 frames, the first with zeros before the clip; else single frames.
    """
    windows = pad(video, (0, 0, 0, 0, 1, 0)).unfold(2, 3, 2) if overlap else video.unsqueeze(-1)
    batch, colours, slots, height, width, span = windows.shape
    rows, columns = height // patch, width // patch
    split = windows.reshape(batch, colours, slots, rows, patch, columns, patch, span)
    return split.permute(0, 2, 3, 5, 1, 7, 4, 6).reshape(batch, slots, rows * columns, colours * span * patch * patch)
