"""A clip as cubes of pixels, back again, and the linear map that makes tokens of cubes."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.functional import linear

from model.config import Grid, ViTConfig

# Axes: B batch, T frames, H rows and W columns of pixels, N tokens (time slowest, then row, then column),
# K chosen tokens, t p q frames, rows and columns inside a cube, D width.


def clip_grid(video: Float[Tensor, "B 3 T H W"], tubelet: int, patch: int) -> Grid:
    """Return the grid of cubes that a clip is cut into.

    Args:
        video: Clips.
        tubelet: Frames in a cube.
        patch: Edge of a cube in pixels.

    Raises:
        ValueError: The clip is no [B, 3, T, H, W], or its frames or pixels do not come out even.
    """
    if video.ndim != 5 or video.shape[1] != 3:  # noqa: PLR2004 - the five axes and three colours of the legend
        raise ValueError(f"the video has shape {tuple(video.shape)}: [B, 3, T, H, W] is taken")
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
    grid = clip_grid(video, tubelet, patch)
    batch = video.shape[0]
    split = video.reshape(batch, 3, grid.slots, tubelet, grid.rows, patch, grid.columns, patch)
    cubes = split.permute(0, 2, 4, 6, 1, 3, 5, 7)
    if keep is None:
        return cubes.reshape(batch, grid.tokens, 3, tubelet, patch, patch)
    sample = torch.arange(batch, device=video.device)[:, None]
    slot = keep // (grid.rows * grid.columns)
    row = keep // grid.columns % grid.rows
    return cubes[sample, slot, row, keep % grid.columns]


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
            ValueError: The clip has other frames or pixels than the model is built for.
        """
        config = self.config
        if tuple(video.shape[1:]) != (3, config.frames, *config.image_size):
            height, width = config.image_size
            raise ValueError(
                f"the video has shape {tuple(video.shape)} and the model takes "
                f"[B, 3, {config.frames}, {height}, {width}]: "
                "give such clips, or build the model with other frames and image_size"
            )
        cubes = cut_cubes(video, config.tubelet, config.patch_size, keep).flatten(2)
        return linear(cubes.to(self.proj.weight.dtype), self.proj.weight.flatten(1), self.proj.bias)
