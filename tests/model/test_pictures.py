"""Videos put together from predictions and masks, pixel by pixel."""

from __future__ import annotations

import pytest
import torch

from model.losses import IMAGENET_MEAN, IMAGENET_STD, reconstruction_target
from model.masking import split_tokens
from model.pictures import hide_masked, reconstruct, true_colours

SIZES = {"tubelet": 2, "patch": 8}


def example():
    generator = torch.Generator().manual_seed(0)
    colours = torch.rand(2, 3, 4, 16, 24, generator=generator)
    spread = (1, 3, 1, 1, 1)
    video = (colours - torch.tensor(IMAGENET_MEAN).view(spread)) / torch.tensor(IMAGENET_STD).view(spread)
    mask = torch.stack([torch.randperm(12, generator=generator) < 7 for _ in range(2)])
    return colours, video, mask


def hidden_pixels(mask):
    return mask.view(2, 2, 1, 2, 1, 3, 1).expand(2, 2, 2, 2, 8, 3, 8).reshape(2, 1, 4, 16, 24).expand(2, 3, 4, 16, 24)


@pytest.mark.parametrize("normalized", [True, False])
def test_a_perfect_prediction_gives_the_original(normalized):
    colours, video, mask = example()
    perfect = reconstruction_target(video, 2, 8, split_tokens(mask).masked, normalized=normalized)
    torch.testing.assert_close(
        reconstruct(video, mask, perfect, **SIZES, normalized=normalized), colours, atol=1e-4, rtol=0
    )


def test_visible_cubes_stay_and_a_zero_prediction_shows_the_true_mean():
    colours, video, mask = example()
    picture = reconstruct(video, mask, torch.zeros(2, 7, 384), **SIZES)
    hidden = hidden_pixels(mask)
    torch.testing.assert_close(picture[~hidden], colours[~hidden])
    token = int(split_tokens(mask).masked[0, 0])
    slot, row, column = token // 6, token // 3 % 2, token % 3
    place = (slice(2 * slot, 2 * slot + 2), slice(8 * row, 8 * row + 8), slice(8 * column, 8 * column + 8))
    expected = colours[0][:, *place].mean(dim=(1, 2, 3), keepdim=True)
    torch.testing.assert_close(picture[0][:, *place], expected.expand(3, 2, 8, 8), atol=1e-5, rtol=0)


def test_colours_stay_between_black_and_white_and_in_float32():
    _, video, mask = example()
    picture = reconstruct(video, mask, torch.full((2, 7, 384), 99.0, dtype=torch.bfloat16), **SIZES)
    assert picture.dtype == torch.float32
    assert picture.min() >= 0
    assert picture.max() == 1


def test_masked_cubes_are_grey():
    colours, video, mask = example()
    picture = hide_masked(video, mask, **SIZES, shade=0.25)
    hidden = hidden_pixels(mask)
    assert bool((picture[hidden] == 0.25).all())
    torch.testing.assert_close(picture[~hidden], colours[~hidden])


def test_true_colours_undo_the_normalisation():
    colours, video, _ = example()
    torch.testing.assert_close(true_colours(video), colours)


def test_shapes_that_do_not_fit_are_refused():
    _, video, mask = example()
    with pytest.raises(ValueError, match="12 tokens, 7 masked, 384 values"):
        reconstruct(video, mask, torch.zeros(2, 8, 384), **SIZES)
    with pytest.raises(ValueError, match="12 tokens, 6 masked"):
        reconstruct(video, torch.tensor([[True, False] * 6, [True, False] * 6]), torch.zeros(2, 7, 384), **SIZES)
    with pytest.raises(ValueError, match="12 tokens"):
        hide_masked(video, mask[:, :6], **SIZES)
