"""Cubes cut, chosen, joined again, and embedded as the public convolution does it."""

from __future__ import annotations

import pytest
import torch

from model.config import Grid, ViTConfig
from model.patches import CubeEmbedding, clip_grid, cut_cubes, join_cubes

CONFIG = ViTConfig(image_size=(16, 24), frames=6, patch_size=8, tubelet=3, width=12, heads=2)


def clips(batch=2):
    return torch.randn(batch, 3, 6, 16, 24, generator=torch.Generator().manual_seed(0))


def test_cubes_lie_time_first_then_row_then_column():
    video = clips()
    cubes = cut_cubes(video, 3, 8)
    assert cubes.shape == (2, 12, 3, 3, 8, 8)
    # Token 6 + 3 + 2: slot 1, row 1, column 2.
    assert torch.equal(cubes[:, 11], video[:, :, 3:6, 8:16, 16:24])
    assert torch.equal(cubes[:, 1], video[:, :, 0:3, 0:8, 8:16])


def test_joining_undoes_cutting():
    video = clips()
    assert torch.equal(join_cubes(cut_cubes(video, 3, 8), Grid(2, 2, 3)), video)
    with pytest.raises(ValueError, match="12 cubes"):
        join_cubes(cut_cubes(video, 3, 8), Grid(2, 2, 2))


def test_chosen_cubes_are_those_of_all_cubes():
    video = clips()
    keep = torch.tensor([[0, 5, 11], [3, 4, 10]])
    every = cut_cubes(video, 3, 8)
    expected = torch.stack([every[b, keep[b]] for b in range(2)])
    assert torch.equal(cut_cubes(video, 3, 8, keep), expected)


def test_embedding_is_the_convolution_and_touches_only_what_is_asked_for():
    embedding = CubeEmbedding(CONFIG)
    video = clips().requires_grad_()
    convolved = embedding.proj(video).flatten(2).transpose(1, 2)
    torch.testing.assert_close(embedding(video), convolved)
    keep = torch.tensor([[0, 5], [3, 4]])
    chosen = embedding(video, keep)
    torch.testing.assert_close(chosen, torch.stack([convolved[b, keep[b]] for b in range(2)]))
    chosen.sum().backward()
    touched = cut_cubes(video.grad, 3, 8).flatten(2).abs().sum(dim=2) > 0
    assert [torch.nonzero(row).flatten().tolist() for row in touched] == keep.tolist()


def test_half_precision_clips_meet_float_weights():
    embedding = CubeEmbedding(CONFIG)
    assert embedding(clips().bfloat16()).dtype == torch.float32


@pytest.mark.parametrize(
    "shape", [(2, 3, 3, 16, 24), (2, 3, 12, 16, 24), (2, 3, 6, 24, 16), (2, 3, 6, 16, 16), (2, 6, 3, 16, 24)]
)
def test_clips_of_another_size_are_refused_with_both_shapes(shape):
    with pytest.raises(ValueError, match=r"the model takes \[B, 3, 6, 16, 24\]"):
        CubeEmbedding(CONFIG)(torch.zeros(shape))


@pytest.mark.parametrize("shape", [(2, 3, 5, 16, 24), (2, 3, 6, 15, 24), (2, 3, 6, 16, 20)])
def test_clips_that_do_not_come_out_even_are_refused(shape):
    with pytest.raises(ValueError, match="multiples of 3 frames and 8 pixels"):
        clip_grid(torch.zeros(shape), 3, 8)
    with pytest.raises(ValueError, match=r"\[B, 3, T, H, W\]"):
        clip_grid(torch.zeros(shape[1:]), 3, 8)


@pytest.mark.parametrize("kind", [torch.uint8, torch.int64, torch.bool])
def test_raw_pixels_are_refused(kind):
    raw = clips().to(kind)
    for take in (CubeEmbedding(CONFIG), lambda video: clip_grid(video, 3, 8)):
        with pytest.raises(ValueError, match=f"the video is {kind}: floating point is taken, so normalise raw pixels"):
            take(raw)


def test_double_clips_need_double_weights():
    video = clips().double()
    with pytest.raises(
        ValueError, match=r"is torch.float64 and the weights are torch.float32: torch.float32, .* taken"
    ):
        CubeEmbedding(CONFIG)(video)
    assert CubeEmbedding(CONFIG).double()(video).dtype == torch.float64
    assert CubeEmbedding(CONFIG).double()(video.float()).dtype == torch.float64
    assert cut_cubes(video, 3, 8).dtype == torch.float64  # targets are cut without weights
