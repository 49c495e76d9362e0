"""Predictions and masks turned back into videos that a person can look at."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from model.colours import IMAGENET_MEAN, IMAGENET_STD
from model.losses import STD_EPS, cube_pixels, cube_statistics, unnormalize
from model.masking import split_tokens
from model.patches import clip_grid, join_cubes

# Axes: B batch, T frames, H rows and W columns of pixels, N tokens, M masked tokens, V values of a cube
# (frame, row, column, colour).


def reconstruct(
    video: Float[Tensor, "B 3 T H W"],
    mask: Bool[Tensor, "B N"],
    prediction: Float[Tensor, "B M V"],
    *,
    tubelet: int,
    patch: int,
    mean: tuple[float, ...] = IMAGENET_MEAN,
    std: tuple[float, ...] = IMAGENET_STD,
    normalized: bool = True,
) -> Float[Tensor, "B 3 T H W"]:
    """Put predicted cubes into the masked places of a clip and leave the visible ones as they are.

    **The picture flatters the model.** A model trained on normalised cubes says nothing of a cube's own colour and
    contrast, so each predicted cube is given the *true* cube's mean and standard deviation, which the model never saw.
    Even a prediction of zero shows the right colours, blurred. Judge a model by its loss, not by this picture.

    Args:
        video: Clips normalised with ``mean`` and ``std``.
        mask: True where a cube is hidden.
        prediction: What the model says of the masked cubes, in ascending token order.
        tubelet: Frames in a cube.
        patch: Edge of a cube in pixels.
        mean: Means that the clips are normalised with.
        std: Standard deviations that the clips are normalised with.
        normalized: Whether the model was trained on normalised cubes; False takes the prediction as colours.

    Returns:
        Colours in [0, 1], float32.

    Raises:
        ValueError: Shapes that do not fit each other.
    """
    grid = clip_grid(video, tubelet, patch)
    pixels = cube_pixels(video, tubelet, patch, mean=mean, std=std)
    masked = split_tokens(mask, device=video.device).masked
    if mask.shape[1] != grid.tokens or prediction.shape != (*masked.shape, pixels.shape[2:].numel()):
        raise ValueError(
            f"video {tuple(video.shape)}, mask {tuple(mask.shape)} and prediction {tuple(prediction.shape)} do not "
            f"fit: {grid.tokens} tokens, {masked.shape[1]} masked, "
            f"{pixels.shape[2:].numel()} values of a cube are expected"
        )
    cubes = prediction.float().view(*masked.shape, *pixels.shape[2:])
    places = masked[:, :, None, None].expand_as(cubes)
    if normalized:
        truth = cube_statistics(pixels.gather(1, places))
        cubes = cubes * (truth.std + STD_EPS) + truth.mean
    return _to_video(pixels.scatter(1, places, cubes), video, tubelet, patch)


def hide_masked(
    video: Float[Tensor, "B 3 T H W"],
    mask: Bool[Tensor, "B N"],
    *,
    tubelet: int,
    patch: int,
    mean: tuple[float, ...] = IMAGENET_MEAN,
    std: tuple[float, ...] = IMAGENET_STD,
    shade: float = 0.5,
) -> Float[Tensor, "B 3 T H W"]:
    """Show what the encoder sees: masked cubes in one grey, the visible ones as they are.

    Args:
        video: Clips normalised with ``mean`` and ``std``.
        mask: True where a cube is hidden.
        tubelet: Frames in a cube.
        patch: Edge of a cube in pixels.
        mean: Means that the clips are normalised with.
        std: Standard deviations that the clips are normalised with.
        shade: The grey, from 0 (black) to 1 (white).

    Returns:
        Colours in [0, 1], float32.

    Raises:
        ValueError: The mask is not one of this clip's grid.
    """
    grid = clip_grid(video, tubelet, patch)
    if mask.shape != (video.shape[0], grid.tokens):
        raise ValueError(f"the mask has shape {tuple(mask.shape)} and the clips {grid.tokens} tokens in {grid}")
    pixels = cube_pixels(video, tubelet, patch, mean=mean, std=std)
    hidden = torch.where(mask.to(video.device)[:, :, None, None], shade, pixels)
    return _to_video(hidden, video, tubelet, patch)


def true_colours(
    video: Float[Tensor, "B 3 T H W"], mean: tuple[float, ...] = IMAGENET_MEAN, std: tuple[float, ...] = IMAGENET_STD
) -> Float[Tensor, "B 3 T H W"]:
    """Return normalised clips as colours in [0, 1], float32."""
    return unnormalize(video.float(), mean, std).clamp(0.0, 1.0)


def _to_video(pixels: Float[Tensor, "B N P 3"], video: Tensor, tubelet: int, patch: int) -> Float[Tensor, "B 3 T H W"]:
    cubes = pixels.transpose(2, 3).reshape(*pixels.shape[:2], 3, tubelet, patch, patch)
    return join_cubes(cubes, clip_grid(video, tubelet, patch)).clamp(0.0, 1.0)
