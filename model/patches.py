"""A clip as cubes of pixels, back again, and the linear map that makes tokens of cubes."""

from __future__ import annotations

from typing import Final

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from model.config import Grid, ViTConfig
from model.linear import linear

# Axes: B batch, T frames, H rows and W columns of pixels, N tokens (time slowest, then row, then column),
# K chosen tokens, t p q frames, rows and columns inside a cube, D width.

CLIP_TYPES: Final = (torch.float32, torch.bfloat16, torch.float16)
"""Types of pixels that every network takes, whatever the type of its weights."""


def require_floating(video: Float[Tensor, "..."]) -> None:
    """Refuse raw pixels.

    Raises:
        ValueError: The pixels are not floating point.
    """
    if not video.is_floating_point():
        raise ValueError(
            f"the video is {video.dtype}: floating point is taken, so normalise raw pixels first, (value / 255 - mean) "
            "/ std"
        )


def to_weights(pixels: Float[Tensor, "..."], weight: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Bring pixels to the type of the weights that they are multiplied with.

    Raises:
        ValueError: The pixels are neither of a type that every network takes nor of the weights' own.
    """
    require_floating(pixels)
    if pixels.dtype not in (*CLIP_TYPES, weight.dtype):
        taken = dict.fromkeys([*CLIP_TYPES, weight.dtype])
        raise ValueError(
            f"the video is {pixels.dtype} and the weights are {weight.dtype}: {', '.join(map(str, taken))} are taken"
        )
    return pixels.to(weight.dtype)


def clip_grid(video: Float[Tensor, "B 3 T H W"], tubelet: int, patch: int) -> Grid:
    """Return the grid of cubes that a clip is cut into.

    Args:
        video: Clips.
        tubelet: Frames in a cube.
        patch: Edge of a cube in pixels.

    Raises:
        ValueError: The clip is no [B, 3, T, H, W] in floating point, or its frames or pixels do not come out even.
    """
    if video.ndim != 5 or video.shape[1] != 3:  # noqa: PLR2004 - the five axes and three colours of the legend
        raise ValueError(f"the video has shape {tuple(video.shape)}: [B, 3, T, H, W] is taken")
    require_floating(video)
    frames, height, width = video.shape[2:]
    if frames % tubelet or height % patch or width % patch:
        raise ValueError(
            f"the video has {frames} frames of {height}x{width} pixels: they must be multiples of "
            f"{tubelet} frames and {patch} pixels"
        )
    return Grid(frames // tubelet, height // patch, width // patch)


def cut_cubes(
    video: Float[Tensor, "B 3 T H W"], tubelet: int, patch: int, keep: Int64[Tensor, "B K"] | None = None
) -> Float[Tensor, "B K 3 t p p"]:
    """Cut clips into cubes, all of them or the chosen ones only.

    Args:
        video: Clips.
        tubelet: Frames in a cube.
        patch: Edge of a cube in pixels.
        keep: Token numbers that are wanted of each sample; None takes all in token order.

    Raises:
        ValueError: The clip does not come out even.
    """
    if keep is None:
        grid = clip_grid(video, tubelet, patch)
        return _as_cubes(video, tubelet, patch, grid).reshape(video.shape[0], grid.tokens, 3, tubelet, patch, patch)
    return pick_cubes(video, tubelet, patch, torch.arange(video.shape[0], device=video.device)[:, None], keep)


def pick_cubes(
    video: Float[Tensor, "B 3 T H W"],
    tubelet: int,
    patch: int,
    sample: Int64[Tensor, "..."],
    token: Int64[Tensor, "..."],
) -> Float[Tensor, "... 3 t p p"]:
    """Cut single cubes out of clips of one size.

    Args:
        video: Clips.
        tubelet: Frames in a cube.
        patch: Edge of a cube in pixels.
        sample: For each wanted cube the number of its clip.
        token: For each wanted cube its token number in the clip.

    Raises:
        ValueError: The clips do not come out even.
    """
    grid = clip_grid(video, tubelet, patch)
    slot = token // (grid.rows * grid.columns)
    row = token // grid.columns % grid.rows
    return _as_cubes(video, tubelet, patch, grid)[sample, slot, row, token % grid.columns]


def _as_cubes(video: Tensor, tubelet: int, patch: int, grid: Grid) -> Float[Tensor, "B t' h' w' 3 t p p"]:
    split = video.reshape(video.shape[0], 3, grid.slots, tubelet, grid.rows, patch, grid.columns, patch)
    return split.permute(0, 2, 4, 6, 1, 3, 5, 7)


def join_cubes(cubes: Float[Tensor, "B N 3 t p p"], grid: Grid) -> Float[Tensor, "B 3 T H W"]:
    """Put all cubes of a clip, in token order, back into frames: the inverse of ``cut_cubes``.

    Args:
        cubes: All N cubes of each clip.
        grid: How they lie.

    Raises:
        ValueError: The number of cubes is not the grid's.
    """
    batch, count, colours, tubelet, patch, _ = cubes.shape
    if count != grid.tokens:
        raise ValueError(f"there are {count} cubes and {grid} has {grid.tokens}")
    split = cubes.reshape(batch, grid.slots, grid.rows, grid.columns, colours, tubelet, patch, patch)
    frames = split.permute(0, 4, 1, 5, 2, 6, 3, 7)
    return frames.reshape(batch, colours, grid.slots * tubelet, grid.rows * patch, grid.columns * patch)


class CubeEmbedding(nn.Module):
    """A linear map from each cube to a token; only the cubes that are asked for are touched.

    It is the 3-D convolution with kernel = stride of the public models, written as a matrix product, and its weight
    keeps the convolution's name and layout (D, 3, t, p, p).
    """

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.config = config
        kernel = (config.tubelet, config.patch_size, config.patch_size)
        self.proj = nn.Conv3d(3, config.width, kernel_size=kernel, stride=kernel)

    def forward(
        self, video: Float[Tensor, "B 3 T H W"], keep: Int64[Tensor, "B K"] | None = None
    ) -> Float[Tensor, "B K D"]:
        """Embed all cubes, or the chosen ones.

        Raises:
            ValueError: The clip has other frames or pixels than the model is built for, or pixels of another type.
        """
        config = self.config
        if tuple(video.shape[1:]) != (3, config.frames, *config.image_size):
            height, width = config.image_size
            raise ValueError(
                f"the video has shape {tuple(video.shape)} and the model takes "
                f"[B, 3, {config.frames}, {height}, {width}]: "
                "give such clips, or build the model with other frames and image_size"
            )
        return self.embed(cut_cubes(video, config.tubelet, config.patch_size, keep))

    def embed(self, cubes: Float[Tensor, "B K 3 t p p"]) -> Float[Tensor, "B K D"]:
        """Embed cubes that are cut already.

        Raises:
            ValueError: Pixels of another type than ``to_weights`` takes.
        """
        return linear(to_weights(cubes.flatten(2), self.proj.weight), self.proj.weight.flatten(1), self.proj.bias)
