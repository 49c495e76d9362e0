"""The last tokens of clips in a video network: all of them, by time slot, or one feature a slot."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from model.layers import run_blocks
from model.masking import split_tokens
from model.uniformer import UniFormerClassifier
from model.video_text import VideoTextModel
from model.videomae import VideoMAEClassifier, VideoMAEPretrain

# Axes: B clips, T frames, H rows and W columns of pixels, S time slots, N tokens of a slot, D channels.


def clip_tokens(network: nn.Module, video: Float[Tensor, "B 3 T H W"]) -> Float[Tensor, "B S*N D"]:
    """Return the last tokens of each clip.

    Raises:
        ValueError: As ``slot_tokens``.
    """
    return slot_tokens(network, video).flatten(1, 2)


def frame_features(network: nn.Module, video: Float[Tensor, "B 3 T H W"]) -> Float[Tensor, "B S D"]:
    """Return a feature for each time slot: the class token of a frame, or the mean of the cubes that start together.

    Raises:
        ValueError: As ``slot_tokens``.
    """
    tokens = slot_tokens(network, video)
    return tokens.mean(dim=2) if isinstance(network, VideoMAEPretrain | VideoMAEClassifier) else tokens[:, :, 0]


def slot_tokens(network: nn.Module, video: Float[Tensor, "B 3 T H W"]) -> Float[Tensor, "B S N D"]:
    """Return the last tokens of each clip by time slot, a frame or a cube's frames.

    Those of VideoMAE are normalised where its network normalises single tokens; those of UniFormerV2 are not, and the
    class token of each frame stands first.

    Raises:
        ValueError: The network is none with tokens of one video encoder, or the clips do not fit it.
    """
    if isinstance(network, VideoMAEPretrain):
        nothing = torch.zeros(len(video), network.config.grid.tokens, dtype=torch.bool)
        return _by_slot(network.encoder(video, split_tokens(nothing, device=video.device)), network.config.grid.slots)
    if isinstance(network, VideoMAEClassifier):
        x = run_blocks(network.blocks, network.patch_embed(video) + network.positions)
        return _by_slot(network.norm(x), network.config.grid.slots)
    if isinstance(network, VideoTextModel):
        return network.encode_video(video).tokens
    if isinstance(network, UniFormerClassifier):
        last = network.config.depth - 1
        found = network.encode([video], collect=frozenset({last}))
        return found.layout.split(found.collected[last])[0]
    raise ValueError(
        f"a {type(network).__name__} has no tokens of one video encoder: a VideoMAE or UniFormerV2 network, or a "
        "model of clips and texts is taken"
    )


def _by_slot(tokens: Float[Tensor, "B S*N D"], slots: int) -> Float[Tensor, "B S N D"]:
    return tokens.reshape(len(tokens), slots, -1, tokens.shape[-1])
