"""The contrastive and captioning model: a video encoder and a text tower that share a space, and a caption decoder."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from model.captioner import CaptionDecoder
from model.clip_config import VideoTextConfig
from model.text import TextFeatures, TextTower
from model.uniformer import VideoEncoder, VideoFeatures

# Axes: B pairs of a clip and a text, T frames, H rows and W columns of pixels, S time slots, N tokens of a frame,
# D width of the video encoder, L positions of a text, C width of the text tower, E channels of the shared space.

INITIAL_TEMPERATURE: Final = 0.07
"""What similarities are divided by at first (CLIP, arXiv 2103.00020, section 2.5)."""
MAX_LOGIT_SCALE: Final = math.log(100.0)
"""Largest logarithm of the factor on similarities; the least is 0."""


@dataclass(frozen=True)
class VideoTextFeatures:
    """What the model makes of pairs.

    Attributes:
        video: The clips in the shared space, not normalised.
        text: The texts in the shared space, not normalised.
        video_tokens: The clips' tokens, which a caption decoder reads; None where there is none.
        text_tokens: The texts' features at each position; None where there is no caption decoder.
    """

    video: Float[Tensor, "B E"]
    text: Float[Tensor, "B E"]
    video_tokens: Float[Tensor, "B S*N D"] | None = None
    text_tokens: Float[Tensor, "B L C"] | None = None


class VideoTextModel(nn.Module):
    """InternVideo's multimodal model (arXiv 2212.03191): align clips and texts, then fuse them.

    Images are clips of one frame. The factor on similarities is exp(logit_scale).
    """

    def __init__(self, config: VideoTextConfig) -> None:
        super().__init__()
        self.config = config
        self.video = VideoEncoder(config.video)
        self.text = TextTower(config.text)
        self.captioner = None if config.captioner is None else CaptionDecoder(config.captioner)
        self.logit_scale = nn.Parameter(torch.empty(()))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set what belongs to no tower; each tower draws its own weights when it is built.

        ===================  ==============
        logit_scale          ln(1 / 0.07)
        ===================  ==============
        """
        nn.init.constant_(self.logit_scale, -math.log(INITIAL_TEMPERATURE))

    def forward(
        self,
        video: Float[Tensor, "B 3 T H W"],
        ids: Int[Tensor, "B L"],
        *,
        hidden: Bool[Tensor, "B L"] | None = None,
    ) -> VideoTextFeatures:
        """Clamp the factor on similarities, and encode clips and texts.

        Without a caption decoder no work is done for tokens that only it would read.

        Args:
            video: Normalised clips, or images with T = 1.
            ids: Token ids of the texts.
            hidden: True where a text token's embedding is replaced by the learned one of hidden tokens.

        Raises:
            ValueError: A clip or a text that the towers do not take, or different numbers of them.
        """
        if len(video) != len(ids):
            raise ValueError(f"there are {len(video)} clips and {len(ids)} texts: one text per clip is taken")
        self.clamp_scale()
        if self.captioner is None and hidden is None:
            return VideoTextFeatures(self.video.embed(video), self.text.embed(ids))
        text: TextFeatures = self.text(ids, hidden=hidden)
        if self.captioner is None:
            return VideoTextFeatures(self.video.embed(video), text.embedded)
        seen = self.encode_video(video)
        return VideoTextFeatures(seen.embedded, text.embedded, seen.tokens.flatten(1, 2), text.tokens)

    def encode_video(self, video: Float[Tensor, "B 3 T H W"]) -> VideoFeatures:
        """Encode normalised clips, or images with T = 1.

        Raises:
            ValueError: A clip that does not come out even.
        """
        return self.video(video)  # type: ignore[no-any-return]  # a module's call is untyped

    def encode_text(self, ids: Int[Tensor, "B L"]) -> TextFeatures:
        """Encode texts.

        Raises:
            ValueError: Ids that the text tower does not take.
        """
        return self.text(ids)  # type: ignore[no-any-return]  # a module's call is untyped

    @torch.no_grad()
    def clamp_scale(self) -> None:
        """Bring ``logit_scale`` back into [0, ln 100], in place, as every training step may push it out."""
        self.logit_scale.clamp_(0.0, MAX_LOGIT_SCALE)
