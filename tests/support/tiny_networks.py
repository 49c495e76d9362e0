"""One tiny network of each kind, with every weight and buffer drawn at random."""

from __future__ import annotations

import torch
from torch import nn

from model.clip_config import (
    AnsweringConfig,
    CaptionerConfig,
    TextConfig,
    UniFormerClassifierConfig,
    VideoEncoderConfig,
    VideoTextConfig,
)
from model.config import ClassifierConfig, VideoMAEConfig
from model.coordination_config import CoordinationConfig
from model.kinds import build_network
from model.layouts import write_checkpoint

VIDEO = VideoEncoderConfig(
    image_size=(16, 16), frames=4, patch_size=8, width=64, depth=2, heads=1, global_blocks=(0, 1), embed_width=24
)
TEXT = TextConfig(vocabulary=40, context=8, width=64, depth=2, heads=1, embed_width=24)
CAPTIONER = CaptionerConfig(vocabulary=40, width=64, heads=4, visual_width=64, depth=2, queries=5)

MASKED = ClassifierConfig(image_size=(16, 24), frames=4, patch_size=8, width=64, depth=2, heads=1, classes=5)
MULTIMODAL = UniFormerClassifierConfig(
    image_size=(16, 16), frames=4, patch_size=8, width=64, depth=3, heads=1, global_blocks=(1, 2), classes=5
)

CONFIGS = {
    "videomae_pretrain": VideoMAEConfig(
        image_size=(16, 24), frames=4, patch_size=8, width=64, depth=2, heads=1, decoder_width=64, decoder_heads=1
    ),
    "videomae_classifier": MASKED,
    "uniformerv2": MULTIMODAL,
    "clip_text": TEXT,
    "mm_video_encoder": VIDEO,
    "caption_decoder": CAPTIONER,
    "mm_full": VideoTextConfig(video=VIDEO, text=TEXT, captioner=CAPTIONER),
    "mm_vqa": AnsweringConfig(video=VIDEO, text=TEXT, captioner=CAPTIONER, answers=6),
}

COORDINATION = CoordinationConfig(masked=MASKED, multimodal=(MULTIMODAL,))
EVERY_CONFIG = {**CONFIGS, "coordination": COORDINATION}
"""With the kind that no file of another program holds."""


def randomize(network: nn.Module, seed: int = 0) -> nn.Module:
    """Draw all that a state dict holds; counters stay whole numbers, variances positive."""
    generator = torch.Generator().manual_seed(seed)
    for value in network.state_dict().values():
        drawn = torch.rand(value.shape, generator=generator) + 0.5
        value.copy_(drawn if value.is_floating_point() else (10 * drawn).to(value.dtype))
    return network


def tiny_network(kind: str, config: object = None) -> nn.Module:
    return randomize(build_network(kind, config or EVERY_CONFIG[kind])).eval()


def tiny_weights(kind: str, config: object = None) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in tiny_network(kind, config).state_dict().items()}


def tiny_entries(layout: str, kind: str, config: object = None) -> dict[str, torch.Tensor]:
    """The tiny network of a kind as a published file holds it."""
    config = config or CONFIGS[kind]
    return dict(write_checkpoint(layout, kind, config, tiny_weights(kind, config)).entries)
