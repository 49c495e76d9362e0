"""The two networks whose steps are measured, in the public constructors' own fields, and what they are fed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn

Kind = Literal["videomae_pretrain", "uniformerv2"]
Size = Literal["full", "tiny"]


@dataclass(frozen=True)
class Task:
    """One network and its input.

    Attributes:
        kind: Which network, by the names of ``model.foreign.load_reference``.
        title: What the table calls it.
        clips: Shape of the input, [B, 3, T, H, W].
        fields: The public constructor's fields.
    """

    kind: Kind
    title: str
    clips: tuple[int, int, int, int, int]
    fields: Mapping[str, Any]

    @property
    def cubes(self) -> tuple[int, int]:
        """Time slots and cubes of a slot, for VideoMAE."""
        edge = self.fields["patch_size"]
        return self.clips[2] // 2, (self.clips[3] // edge) * (self.clips[4] // edge)


_MAE: Final = {
    "encoder_embed_dim": 384,
    "encoder_depth": 12,
    "encoder_num_heads": 6,
    "decoder_embed_dim": 192,
    "decoder_depth": 4,
    "decoder_num_heads": 3,
    "qkv_bias": True,
}
_UNI: Final = {
    "patch_size": 16,
    "heads": 12,
    "output_dim": 512,
    "temporal_downsample": False,
    "no_lmhra": True,
    "n_head": 12,
    "mlp_factor": 4.0,
    "cls_dropout": 0.5,
}
TASKS: Final[Mapping[tuple[Kind, Size], Task]] = {
    ("videomae_pretrain", "full"): Task(
        "videomae_pretrain",
        "VideoMAE ViT-S, 16x224x224, batch 2, tube 0.9, forward and backward",
        (2, 3, 16, 224, 224),
        {**_MAE, "img_size": 224, "patch_size": 16, "decoder_num_classes": 1536},
    ),
    ("videomae_pretrain", "tiny"): Task(
        "videomae_pretrain",
        "tiny VideoMAE, 16x32x32, batch 2, tube 0.9, forward and backward",
        (2, 3, 16, 32, 32),
        {
            **_MAE,
            "img_size": 32,
            "patch_size": 8,
            "decoder_num_classes": 384,
            "encoder_embed_dim": 48,
            "encoder_depth": 2,
            "encoder_num_heads": 2,
            "decoder_embed_dim": 24,
            "decoder_depth": 1,
        },
    ),
    ("uniformerv2", "full"): Task(
        "uniformerv2",
        "UniFormerV2-B/16 (Kinetics), 8x224x224, batch 1, forward",
        (1, 3, 8, 224, 224),
        {
            **_UNI,
            "input_resolution": 224,
            "width": 768,
            "layers": 12,
            "t_size": 8,
            "n_dim": 768,
            "num_classes": 400,
            "return_list": [8, 9, 10, 11],
            "n_layers": 4,
            "mlp_dropout": [0.5] * 4,
        },
    ),
    ("uniformerv2", "tiny"): Task(
        "uniformerv2",
        "tiny UniFormerV2, 4x32x32, batch 1, forward",
        (1, 3, 4, 32, 32),
        {
            **_UNI,
            "input_resolution": 32,
            "patch_size": 8,
            "width": 48,
            "layers": 2,
            "heads": 2,
            "t_size": 4,
            "n_dim": 48,
            "n_head": 2,
            "num_classes": 7,
            "return_list": [0, 1],
            "n_layers": 2,
            "mlp_dropout": [0.5] * 2,
        },
    ),
}


def draw_weights(network: nn.Module) -> None:
    """Draw all weights anew, so that those which start at zero count in the comparison too."""
    generator = torch.Generator().manual_seed(1)
    for name, value in network.state_dict().items():
        if not value.is_floating_point():
            continue
        drawn = torch.randn(value.shape, generator=generator)
        gain = value.ndim == 1 and name.endswith("weight")
        value.copy_(1 + 0.1 * drawn if gain else drawn * min(0.02, value[0].numel() ** -0.5 if value.ndim > 1 else 1))


def draw_video(task: Task) -> Tensor:
    """Draw normalised clips, the same for both sides."""
    return torch.randn(task.clips, generator=torch.Generator().manual_seed(2))


def draw_mask(task: Task) -> Tensor:
    """Draw tubes: True where a cube is hidden, nine tenths of each slot, the same cubes in every slot."""
    slots, cubes = task.cubes
    generator = torch.Generator().manual_seed(3)
    mask = torch.zeros(task.clips[0], cubes, dtype=torch.bool)
    for row in mask:
        row[torch.randperm(cubes, generator=generator)[: int(0.9 * cubes)]] = True
    return mask.repeat(1, slots)
