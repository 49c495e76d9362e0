"""UniFormerV2: CLIP's image transformer per frame with blocks over time, as classifier and as video encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import pad

from model.clip_config import UniFormerClassifierConfig, VideoEncoderConfig
from model.clip_layers import LayerNorm
from model.frames import group_clips
from model.linear import Linear
from model.masking import send
from model.uniformer_trunk import Encoded, UniFormerTrunk

# Axes: B clips, T frames, H rows and W columns of pixels, S time slots (T, or T/2 with temporal downsampling),
# N tokens of a frame (class token first), p edge of a patch, t frames that the patch convolution spans, D width,
# C classes, E channels of the space shared with texts.


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


def inflate_patch_kernel(
    weight: Float[Tensor, "D 3 p p"], frames: int, how: Literal["centre", "mean"] = "centre"
) -> Float[Tensor, "D 3 t p p"]:
    """Give CLIP's patch kernel a time axis.

    Args:
        weight: The kernel for images.
        frames: Frames that it shall span, 1 or 3.
        how: "centre" puts it in the middle frame with zeros around it, as the public models do; "mean" puts an equal
            share in every frame. Where three frames are the same, both answer as the image kernel does to one.

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


class UniFormer(UniFormerTrunk):
    """The encoder without a head (UniFormerV2, arXiv 2211.09552; InternVideo, arXiv 2212.03191).

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
        return self._outputs(self.encode([video], collect=collect | {self.config.depth - 1}), collect)[0]

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
        found = self._outputs(self.encode(grouping.groups, collect=collect | {self.config.depth - 1}), collect)
        alone = [clip for output in found for clip in _one_by_one(output)]
        return [alone[place] for place in grouping.places]

    def _outputs(self, found: Encoded, collect: frozenset[int]) -> list[UniFormerOutput]:
        """Cut a result into one output for each shape."""
        counts = [group.count for group in found.layout.groups]
        tokens = {i: found.layout.split(x) for i, x in found.collected.items()}
        features = zip(torch.split(found.fused, counts), torch.split(found.query, counts), strict=True)
        return [
            UniFormerOutput(tokens[self.config.depth - 1][n], fused, query, {i: tokens[i][n] for i in collect})
            for n, (fused, query) in enumerate(features)
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


class UniFormerClassifier(UniFormerTrunk):
    """UniFormerV2 with a linear head: feature, LayerNorm, dropout, scores. Parameter names are the published ones."""

    def __init__(self, config: UniFormerClassifierConfig) -> None:
        super().__init__(config)
        norm, head = LayerNorm(config.width), Linear(config.width, config.classes)
        self.transformer.proj = nn.Sequential(norm, nn.Dropout(config.head_dropout), head)

    @property
    def head(self) -> nn.Sequential:
        """LayerNorm, dropout and linear map."""
        return cast("nn.Sequential", self.transformer.proj)

    def features(self, video: Float[Tensor, "B 3 T H W"]) -> Float[Tensor, "B D"]:
        """Return the normalised feature of each clip, the head's input.

        Raises:
            ValueError: A clip that does not come out even.
        """
        return self.head[0](self.encode([video]).fused)  # type: ignore[no-any-return]  # a module's call is untyped

    def forward(self, video: Float[Tensor, "B 3 T H W"]) -> Float[Tensor, "B C"]:
        """Score the classes of normalised clips.

        Raises:
            ValueError: A clip that does not come out even.
        """
        _, dropout, scores = self.head
        return scores(dropout(self.features(video)))  # type: ignore[no-any-return]  # a module's call is untyped

    def forward_packed(self, clips: Sequence[Float[Tensor, "3 T H W"]]) -> Float[Tensor, "B C"]:
        """Score clips of different shapes in one pass, in the order given.

        Raises:
            ValueError: As in ``forward``, or no clips.
        """
        grouping = group_clips(clips)
        fused = self.encode(grouping.groups).fused
        places = send(torch.tensor(grouping.places), fused.device)
        return self.head(fused[places])  # type: ignore[no-any-return]  # a module's call is untyped


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
    """UniFormerV2, a norm and a projection into the space shared with texts (InternVideo, arXiv 2212.03191)."""

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
        found: UniFormerOutput = self.visual(video)
        return VideoFeatures(found.tokens, found.fused, *self._joint(found.fused))

    def embed(self, video: Float[Tensor, "B 3 T H W"]) -> Float[Tensor, "B E"]:
        """Return ``embedded`` alone: tokens that only a caption decoder would read are not computed.

        Raises:
            ValueError: A clip that does not come out even.
        """
        return self._joint(self.visual.encode([video]).fused)[1]

    def forward_packed(self, clips: Sequence[Float[Tensor, "3 T H W"]]) -> list[VideoFeatures]:
        """Encode clips and images of different shapes in one pass, each as if it were alone.

        Raises:
            ValueError: As in ``forward``, or no clips.
        """
        found = self.visual.forward_packed(clips)
        pooled, embedded = (torch.split(x, 1) for x in self._joint(torch.cat([output.fused for output in found])))
        parts = zip(found, pooled, embedded, strict=True)
        return [VideoFeatures(output.tokens, output.fused, *joint) for output, *joint in parts]

    def _joint(self, fused: Float[Tensor, "B D"]) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B E"]]:
        pooled = self.visual_ln_post(fused)
        return pooled, pooled @ self.visual_proj
