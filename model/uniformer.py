"""UniFormerV2: CLIP's image transformer per frame with blocks over time, as classifier and as video encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear, pad
from torch.utils.checkpoint import checkpoint

from model.clip_config import UniFormerClassifierConfig, UniFormerConfig, VideoEncoderConfig
from model.clip_layers import LayerNorm
from model.config import Grid
from model.frames import ClipGroup, FrameLayout, group_clips
from model.layers import drop_path_ramp
from model.patches import clip_grid
from model.positions import resize_table
from model.uniblocks import GlobalBlock, UniFormerBlock, add_positions, untracked_batch_norms

# Axes: B clips, T frames, H rows and W columns of pixels, S time slots (T, or T/2 with temporal downsampling), L patches
# of a frame, F = slots of all clips, N = 1 + L tokens of a frame (class token first), p edge of a patch, t frames that
# the patch convolution spans, D width, C classes, E channels of the space shared with texts.


@dataclass(frozen=True)
class UniFormerOutput:
    """What the encoder returns.

    Attributes:
        tokens: Tokens of the last backbone block, not normalised; the class token of each frame stands first.
        fused: The feature of each clip: the query and the averaged class tokens in balance, or the query alone.
        query: The query of each clip after the last global block.
        collected: Tokens after the backbone blocks that were asked for, by block number.
    """

    tokens: Float[Tensor, "B S N D"]
    fused: Float[Tensor, "B D"]
    query: Float[Tensor, "B D"]
    collected: dict[int, Float[Tensor, "B S N D"]]


@dataclass(frozen=True)
class _Encoded:
    """Results in the order and form of a layout; ``tokens`` is None where only the feature was wanted."""

    layout: FrameLayout
    tokens: Float[Tensor, "F N D"] | None
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


class UniFormerBackbone(nn.Module):
    """What the networks of this file share: patches, backbone blocks, global blocks, fusion."""

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
        self._reset_backbone()

    def _reset_backbone(self) -> None:
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
        for block in self.transformer.resblocks:
            for mixing in (block.lmhra1, block.lmhra2):
                if mixing is not None:
                    _zero(mixing.pos_embed[-1])
        for conv, block in zip(self.transformer.dpe, self.transformer.dec, strict=True):
            nn.init.zeros_(conv.bias)
            nn.init.xavier_uniform_(block.mlp.c_fc.weight)
            _zero(block.attn.out_proj)
            _zero(block.mlp.c_proj)

    def freeze_backbone(self) -> None:
        """Train the global blocks and what follows them only.

        The backbone's parameters ask for no gradient, and its blocks stay in eval mode whatever ``train`` says: no
        stochastic depth, and batch norms neither use nor move batch statistics.
        """
        self.backbone_frozen = True
        for part in (self.conv1, self.ln_pre, self.transformer.resblocks):
            part.requires_grad_(requires_grad=False)
        self.class_embedding.requires_grad_(requires_grad=False)
        self.positional_embedding.requires_grad_(requires_grad=False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:  # noqa: FBT001, FBT002 - torch's signature
        """Set training or eval mode; a frozen backbone stays in eval mode."""
        super().train(mode)
        if self.backbone_frozen:
            self.transformer.resblocks.eval()
        return self

    def encode(
        self,
        videos: Sequence[Float[Tensor, "B 3 T H W"]],
        *,
        want_tokens: bool = True,
        collect: frozenset[int] = frozenset(),
    ) -> _Encoded:
        """Encode clips, one tensor for each shape.

        Args:
            videos: Normalised clips; with several shapes they are packed.
            want_tokens: Whether the last block's tokens are read. If not, the last block computes class tokens only
                where no global block follows it, and blocks that nothing reads are not run.
            collect: Backbone blocks whose tokens are wanted.

        Raises:
            ValueError: Clips that do not come out even, or a block that does not exist.
        """
        config, blocks = self.config, self.transformer
        self._check_blocks(collect)
        x, layout = self._embed(videos)
        query = blocks.temporal_cls_token.expand(layout.clips, -1, -1)
        last = self._last_block(want_tokens, collect)
        kept: dict[int, Tensor] = {}
        class_only = False
        for i in range(last + 1):
            class_only = i == config.depth - 1 and self._class_suffices(want_tokens, collect)
            x = self._recomputed(blocks.resblocks[i], x, layout, class_only=class_only)
            if i in collect:
                kept[i] = x
            if i in config.global_blocks:
                query = self._recomputed(self._look, config.global_blocks.index(i), query, x, layout)
        classes = x if class_only else layout.class_tokens(x)
        return _Encoded(layout, x if want_tokens else None, self._fuse(query[:, 0], classes, layout), query[:, 0], kept)

    def _embed(self, videos: Sequence[Float[Tensor, "B 3 T H W"]]) -> tuple[Float[Tensor, "F N D"], FrameLayout]:
        """Cut clips into patches, map them to tokens, add class tokens and positions."""
        weight, config = self.conv1.weight, self.config
        parts, groups = [], []
        for video in videos:
            grid = clip_grid(video, 2 if config.temporal_downsample else 1, config.patch_size)
            rows = cut_patches(video, config.patch_size, overlap=config.temporal_downsample)
            patches = linear(rows.to(weight.dtype), weight.flatten(1))
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

    def _recomputed(self, function: Any, *inputs: Any, **named: Any) -> Tensor:  # noqa: ANN401 - a block or a bound method and what it takes
        if not (self.config.checkpoint_blocks and torch.is_grad_enabled()):
            return function(*inputs, **named)  # type: ignore[no-any-return]  # a module's call is untyped
        norms = function if isinstance(function, nn.Module) else nn.Identity()
        return checkpoint(  # type: ignore[no-any-return]  # the same
            function,
            *inputs,
            use_reentrant=False,
            context_fn=lambda: (untracked_batch_norms(nn.Identity()), untracked_batch_norms(norms)),
            **named,
        )

    def _look(self, number: int, query: Tensor, x: Tensor, layout: FrameLayout) -> Float[Tensor, "B 1 D"]:
        """Run one global block; the backbone's tokens are not changed by it."""
        blocks = self.transformer
        return blocks.dec[number](query, add_positions(blocks.dpe[number], x, layout))  # type: ignore[no-any-return]  # a module's call is untyped

    def _fuse(self, query: Tensor, classes: Tensor, layout: FrameLayout) -> Float[Tensor, "B D"]:
        balance = self.transformer.balance
        if balance is None:
            return query
        share = balance.sigmoid()
        return (1 - share) * query + share * layout.class_mean(classes)

    def _counts_batches(self) -> bool:
        """Whether running a block moves batch norms, so that none may be left out."""
        return self.training and not self.backbone_frozen and self.config.local != "none"

    def _last_block(self, want_tokens: bool, collect: frozenset[int]) -> int:
        if want_tokens or not self.config.frozen or self._counts_batches():
            return self.config.depth - 1
        return max(self.config.global_blocks[-1], *collect, 0)

    def _class_suffices(self, want_tokens: bool, collect: frozenset[int]) -> bool:
        last = self.config.depth - 1
        read = want_tokens or last in collect or last in self.config.global_blocks
        return not read and not self._counts_batches()

    def _check_blocks(self, collect: frozenset[int]) -> None:
        strangers = sorted(i for i in collect if not 0 <= i < self.config.depth)
        if strangers:
            raise ValueError(f"collect asks for blocks {strangers}: the backbone has 0 to {self.config.depth - 1}")


def _zero(layer: Any) -> None:  # noqa: ANN401 - a linear map or a convolution
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)


def cut_patches(video: Float[Tensor, "B 3 T H W"], patch: int, *, overlap: bool) -> Float[Tensor, "B S L 3*t*p*p"]:
    """Lay out what each position of the patch convolution sees, so that the convolution is a matrix product.

    Args:
        video: Clips that come out even.
        patch: Edge of a patch, and the step in space.
        overlap: Windows of 3 frames every 2 frames, the first with a black frame before the clip; else single frames.
    """
    windows = pad(video, (0, 0, 0, 0, 1, 0)).unfold(2, 3, 2) if overlap else video.unsqueeze(-1)
    batch, colours, slots, height, width, span = windows.shape
    split = windows.reshape(batch, colours, slots, height // patch, patch, width // patch, patch, span)
    return split.permute(0, 2, 3, 5, 1, 7, 4, 6).reshape(batch, slots, -1, colours * span * patch * patch)


def inflate_patch_kernel(
    weight: Float[Tensor, "D 3 p p"], frames: int, how: Literal["centre", "mean"] = "centre"
) -> Float[Tensor, "D 3 t p p"]:
    """Give CLIP's patch kernel a time axis.

    Args:
        weight: The kernel for images.
        frames: Frames that it shall span, 1 or 3.
        how: "centre" puts it in the middle frame with zeros around it; "mean" puts an equal share in every frame. On a
            clip that stands still, away from its ends, both answer as the image kernel does.

    Raises:
        ValueError: Another number of frames, another way, or a kernel that has a time axis already.
    """
    if weight.ndim != 4 or frames not in (1, 3) or how not in ("centre", "mean"):  # noqa: PLR2004 - the legend's axes
        raise ValueError(
            f"a kernel of shape {tuple(weight.shape)}, {frames} frames, {how!r}: [D, 3, p, p], 1 or 3 frames and "
            "'centre' or 'mean' are taken"
        )
    if how == "mean":
        return (weight / frames).unsqueeze(2).repeat(1, 1, frames, 1, 1)
    return pad(weight.unsqueeze(2), (0, 0, 0, 0, frames // 2, frames // 2))


class UniFormer(UniFormerBackbone):
    """The encoder without a head (UniFormerV2, arXiv 2211.09552; InternVideo, arXiv 2212.03191, section 3.2).

    Frames pass CLIP's image transformer, with local mixing over time if configured; a learned query per clip looks at
    all tokens after the chosen blocks. Any number of frames is taken (an even one with temporal downsampling), and any
    size that is a multiple of the patch: the position table is resized then.
    """

    def forward(self, video: Float[Tensor, "B 3 T H W"], *, collect: frozenset[int] = frozenset()) -> UniFormerOutput:
        """Encode normalised clips.

        Args:
            video: Clips, or images with T = 1.
            collect: Backbone blocks whose tokens are wanted.

        Raises:
            ValueError: A clip that does not come out even, or a block that does not exist.
        """
        found = self.encode([video], collect=collect)
        return _outputs(found)[0]

    def forward_packed(
        self, clips: Sequence[Float[Tensor, "3 T H W"]], *, collect: frozenset[int] = frozenset()
    ) -> list[UniFormerOutput]:
        """Encode clips and images of different shapes in one pass, each as if it were alone.

        In training, batch norms take their statistics from all clips together.

        Args:
            clips: Normalised clips.
            collect: Backbone blocks whose tokens are wanted.

        Raises:
            ValueError: As in ``forward``, or no clips.
        """
        grouping = group_clips(clips)
        found = _outputs(self.encode(grouping.groups, collect=collect))
        alone = [part for output in found for part in _one_by_one(output)]
        return [alone[place] for place in grouping.places]


def _outputs(found: _Encoded) -> list[UniFormerOutput]:
    """Cut a result into one output for each shape."""
    assert found.tokens is not None
    counts = [group.count for group in found.layout.groups]
    collected = {i: found.layout.split(x) for i, x in found.collected.items()}
    parts = zip(found.layout.split(found.tokens), found.fused.split(counts), found.query.split(counts), strict=True)
    return [
        UniFormerOutput(tokens, fused, query, {i: split[n] for i, split in collected.items()})
        for n, (tokens, fused, query) in enumerate(parts)
    ]


def _one_by_one(output: UniFormerOutput) -> list[UniFormerOutput]:
    """Cut an output into batches of one."""
    return [
        UniFormerOutput(
            output.tokens[n : n + 1],
            output.fused[n : n + 1],
            output.query[n : n + 1],
            {i: x[n : n + 1] for i, x in output.collected.items()},
        )
        for n in range(output.fused.shape[0])
    ]


class UniFormerClassifier(UniFormerBackbone):
    """UniFormerV2 with a linear head: feature, LayerNorm, dropout, scores. Parameter names are the published ones."""

    def __init__(self, config: UniFormerClassifierConfig) -> None:
        super().__init__(config)
        self.transformer.proj = nn.Sequential(
            LayerNorm(config.width), nn.Dropout(config.head_dropout), nn.Linear(config.width, config.classes)
        )

    def features(self, video: Float[Tensor, "B 3 T H W"]) -> Float[Tensor, "B D"]:
        """Return the normalised feature of each clip, the head's input.

        Raises:
            ValueError: A clip that does not come out even.
        """
        return self.transformer.proj[0](self.encode([video], want_tokens=False).fused)  # type: ignore[no-any-return]  # a module's call is untyped

    def forward(self, video: Float[Tensor, "B 3 T H W"]) -> Float[Tensor, "B C"]:
        """Score the classes of normalised clips.

        Raises:
            ValueError: A clip that does not come out even.
        """
        return self.transformer.proj[1:](self.features(video))  # type: ignore[no-any-return]  # a module's call is untyped

    def forward_packed(self, clips: Sequence[Float[Tensor, "3 T H W"]]) -> Float[Tensor, "B C"]:
        """Score clips of different shapes in one pass, in the order given.

        Raises:
            ValueError: As in ``forward``, or no clips.
        """
        grouping = group_clips(clips)
        fused = self.encode(grouping.groups, want_tokens=False).fused
        return self.transformer.proj(fused[list(grouping.places)])  # type: ignore[no-any-return]  # a module's call is untyped


@dataclass(frozen=True)
class VideoFeatures:
    """What the video encoder returns.

    Attributes:
        tokens: Tokens of the last block, class token of each frame first, not normalised: what a caption decoder reads.
        fused: The feature of each clip before the last norm.
        pooled: The feature after the last norm.
        embedded: The feature in the space shared with texts, not normalised.
    """

    tokens: Float[Tensor, "B S N D"]
    fused: Float[Tensor, "B D"]
    pooled: Float[Tensor, "B D"]
    embedded: Float[Tensor, "B E"]


class VideoEncoder(nn.Module):
    """UniFormerV2, a norm and a projection into the space shared with texts (InternVideo, section 3.2)."""

    def __init__(self, config: VideoEncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.visual = UniFormer(config)
        self.visual_ln_post = LayerNorm(config.width)
        self.visual_proj = nn.Parameter(torch.empty(config.width, config.embed_width))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the projection: normal, std D^-0.5; the norm starts at 1 and 0, the rest is drawn by ``UniFormer``."""
        nn.init.normal_(self.visual_proj, std=self.config.width**-0.5)

    def forward(self, video: Float[Tensor, "B 3 T H W"]) -> VideoFeatures:
        """Encode normalised clips, or images with T = 1.

        Raises:
            ValueError: A clip that does not come out even.
        """
        return self._project(self.visual(video))

    def embed(self, video: Float[Tensor, "B 3 T H W"]) -> Float[Tensor, "B E"]:
        """Return ``embedded`` alone: tokens that only a caption decoder would read are not computed.

        Raises:
            ValueError: A clip that does not come out even.
        """
        return self._joint(self.visual.encode([video], want_tokens=False).fused)[1]

    def forward_packed(self, clips: Sequence[Float[Tensor, "3 T H W"]]) -> list[VideoFeatures]:
        """Encode clips and images of different shapes in one pass, each as if it were alone.

        Raises:
            ValueError: As in ``forward``, or no clips.
        """
        return [self._project(output) for output in self.visual.forward_packed(clips)]

    def _project(self, found: UniFormerOutput) -> VideoFeatures:
        pooled, embedded = self._joint(found.fused)
        return VideoFeatures(found.tokens, found.fused, pooled, embedded)

    def _joint(self, fused: Float[Tensor, "B D"]) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B E"]]:
        pooled = self.visual_ln_post(fused)
        return pooled, pooled @ self.visual_proj
