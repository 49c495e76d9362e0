"""One clip as another network takes it: other frames, another size, normalised with other colours."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from model.colours import ClipFormat, Colours

# Axes: B batch, T and S frames, H and h rows, W and w columns of pixels.


def view_clip(video: Float[Tensor, "B 3 T H W"], colours: Colours, wanted: ClipFormat) -> Float[Tensor, "B 3 S h w"]:
    """Show a clip to a network that takes another format; what fits already is left as it is, to the bit.

    Frames: of T, frame floor((2 i + 1) T / (2 S)) becomes frame i, the middle of its share; a clip that is too short
    repeats frames. Size: bilinear, smoothed where it shrinks, the whole picture, whatever its aspect ratio. Colours:
    normalised anew.

    Args:
        video: A normalised clip.
        colours: What it is normalised with.
        wanted: What the network takes.

    Raises:
        ValueError: The video is no batch of clips of three colours in floating point.
    """
    if video.ndim != 5 or video.shape[1] != 3 or not video.is_floating_point():  # noqa: PLR2004 - B 3 T H W
        raise ValueError(
            f"the video has shape {tuple(video.shape)} and type {video.dtype}: "
            "[B, 3, T, H, W] in floating point is taken"
        )
    frames, size = video.shape[2], tuple(video.shape[3:])
    if frames != wanted.frames:
        places = torch.arange(1, 2 * wanted.frames, 2, device=video.device) * frames // (2 * wanted.frames)
        video = video[:, :, places]
    if size != wanted.image_size:
        video = _resize(video, wanted.image_size)
    return video if colours == wanted.colours else _recolour(video, colours, wanted.colours)


def _resize(video: Float[Tensor, "B 3 T H W"], size: tuple[int, int]) -> Float[Tensor, "B 3 T h w"]:
    pictures: Tensor = interpolate(video.flatten(1, 2), size=size, mode="bilinear", antialias=True)
    return pictures.view(*video.shape[:3], *size)


def _recolour(video: Float[Tensor, "B 3 T H W"], colours: Colours, wanted: Colours) -> Float[Tensor, "B 3 T H W"]:
    mean, std, new_mean, new_std = (
        video.new_tensor(values).view(1, 3, 1, 1, 1) for values in (colours.mean, colours.std, wanted.mean, wanted.std)
    )
    return video * (std / new_std) + (mean - new_mean) / new_std
