"""One feature of each clip, by any network that has one."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from model.answering import VideoQuestionAnswering
from model.uniformer import UniFormerClassifier, VideoEncoder
from model.video_text import VideoTextModel
from model.videomae import VideoMAEClassifier, VideoMAEPretrain

# Axes: B clips, T frames, H rows and W columns of pixels, N tokens, E channels of the feature.


def clip_features(network: nn.Module, clips: Float[Tensor, "B 3 T H W"]) -> Float[Tensor, "B E"]:
    """Return a feature of each clip, not normalised.

    ====================  ===================================================================
    towers, their encoder  the clip in the space that it shares with texts
    question answering    the pooled feature before that projection
    classifiers           the head's input
    masked autoencoder    the mean of the encoder's tokens, with nothing hidden
    ====================  ===================================================================

    Args:
        network: The network, in eval mode.
        clips: Normalised clips that it takes.

    Raises:
        ValueError: The network has no one feature of a clip, or does not take such clips.
    """
    if isinstance(network, VideoTextModel):
        return network.video.embed(clips)
    if isinstance(network, VideoEncoder):
        return network.embed(clips)
    if isinstance(network, VideoQuestionAnswering):
        return network.video(clips).pooled  # type: ignore[no-any-return]  # a module's call is untyped
    if isinstance(network, VideoMAEClassifier | UniFormerClassifier):
        return network.features(clips)
    if isinstance(network, VideoMAEPretrain):
        nothing = torch.zeros(len(clips), network.config.grid.tokens, dtype=torch.bool)
        return network.encoder(clips, network.split(nothing, clips.device)).mean(dim=1)  # type: ignore[no-any-return]  # as above
    raise ValueError(
        f"a {type(network).__name__} has no one feature of a clip; networks that have are the towers, their video"
        " encoder, classifiers of one encoder, and the masked autoencoder"
    )
