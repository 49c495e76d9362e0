"""Small UniFormerV2 networks with weights that all matter, and clips for them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model.clip_config import UniFormerClassifierConfig, UniFormerConfig, VideoEncoderConfig
from model.uniformer import UniFormer, UniFormerClassifier, VideoEncoder

SMALL = {
    "image_size": (16, 24),
    "frames": 4,
    "patch_size": 8,
    "width": 24,
    "depth": 3,
    "heads": 3,
    "global_blocks": (0, 2),
    "global_heads": 2,
    "global_dropout": 0.0,
}


def encoder(**changes):
    torch.manual_seed(0)
    return randomized(UniFormer(UniFormerConfig(**{**SMALL, **changes})))


def classifier(**changes):
    torch.manual_seed(0)
    fields = {**SMALL, "classes": 5, "head_dropout": 0.0, **changes}
    return randomized(UniFormerClassifier(UniFormerClassifierConfig(**fields)))


def video_encoder(**changes):
    torch.manual_seed(0)
    return randomized(VideoEncoder(VideoEncoderConfig(**{**SMALL, "embed_width": 10, **changes})))


def randomized(network: nn.Module) -> nn.Module:
    """Give every parameter, also those that start at zero, and every running statistic a value that matters."""
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.2)
    for name, buffer in network.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(std=0.5)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 2.0)
    return network.eval()


def clips(frames: int = 4, batch: int = 2, size: tuple[int, int] = (16, 24), seed: int = 1) -> Tensor:
    return torch.randn(batch, 3, frames, *size, generator=torch.Generator().manual_seed(seed))


def mixed_clips() -> list[Tensor]:
    """Return clips and an image of four shapes, two of the same shape apart from each other."""
    shapes = [(4, 16, 24), (2, 16, 24), (1, 24, 8), (4, 16, 24), (2, 8, 8)]
    return [clips(shape[0], 1, shape[1:], seed)[0] for seed, shape in enumerate(shapes)]


def gradients(network: nn.Module) -> dict[str, Tensor]:
    """Return the gradients of all parameters and clear them; zeros where there is none."""
    found = {name: torch.zeros_like(p) if p.grad is None else p.grad.clone() for name, p in network.named_parameters()}
    network.zero_grad()
    return found


def assert_same_gradients(ours: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    for name, gradient in wanted.items():
        scale = float(gradient.abs().max())
        torch.testing.assert_close(ours[name], gradient, atol=1e-4 * scale + 1e-6, rtol=0, msg=f"{name}: {{}}".format)
