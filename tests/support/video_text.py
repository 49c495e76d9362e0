"""A contrastive and captioning model so small that a step takes milliseconds, and texts for it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from model.clip_config import CaptionerConfig, TextConfig, VideoEncoderConfig, VideoTextConfig

TINY = VideoTextConfig(
    video=VideoEncoderConfig(
        image_size=(16, 16),
        frames=3,
        patch_size=8,
        width=24,
        depth=2,
        heads=2,
        global_blocks=(0, 1),
        global_dropout=0.0,
        embed_width=10,
    ),
    text=TextConfig(vocabulary=30, context=8, width=16, depth=2, heads=2, embed_width=10),
    captioner=CaptionerConfig(vocabulary=30, width=16, heads=2, visual_width=24, depth=1, queries=3),
)
START, END = 28, 29


def build(network: type[Any], config: object = TINY, seed: int = 0, **options: Any) -> Any:
    """Build a network in eval mode and give every parameter random values, also those that start at zero."""
    torch.manual_seed(seed)
    built = network(config, **options)
    with torch.no_grad():
        for name, parameter in built.named_parameters():
            if parameter.ndim:
                parameter.normal_(std=0.15).add_(name.endswith(("norm.weight", "gamma")))
    return built.eval()


def texts(count: int, length: int = 8) -> Tensor:
    """Return ids of texts of different lengths: start, words, end, padding 0; the first fills all positions."""
    generator = torch.Generator().manual_seed(4)
    ids = torch.randint(1, START, (count, length), generator=generator)
    ids[:, 0] = START
    for row, text in enumerate(ids):
        end = length - 1 - row % (length - 3)
        text[end], text[end + 1 :] = END, 0
    return ids
