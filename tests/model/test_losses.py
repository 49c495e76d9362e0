"""The reconstruction target value by value, and losses that add up."""

from __future__ import annotations

import pytest
import torch

from model.losses import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    MaskedLoss,
    blank_invalid,
    masked_mse,
    reconstruction_target,
    unnormalize,
)


def normalized_clips(seed=0, shape=(2, 3, 4, 16, 24)):
    colours = torch.rand(shape, generator=torch.Generator().manual_seed(seed))
    spread = (1, 3, 1, 1, 1)
    return colours, (colours - torch.tensor(IMAGENET_MEAN).view(spread)) / torch.tensor(IMAGENET_STD).view(spread)


def test_plain_target_is_the_colours_by_frame_row_column_colour():
    colours, video = normalized_clips()
    target = reconstruction_target(video, 2, 8, normalized=False)
    assert target.shape == (2, 12, 3 * 2 * 8 * 8)
    frame, row, column, colour = 1, 5, 2, 2
    index = ((frame * 8 + row) * 8 + column) * 3 + colour
    # Token 6 + 3 + 1: slot 1, row 1, column 1.
    torch.testing.assert_close(target[:, 10, index], colours[:, colour, 2 + frame, 8 + row, 8 + column])


def test_target_normalises_each_cube_and_colour_by_its_unbiased_deviation():
    colours, video = normalized_clips()
    target = reconstruction_target(video, 2, 8).view(2, 12, 128, 3)
    cube = colours[1, 2, 0:2, 8:16, 0:8].flatten()
    expected = (cube - cube.mean()) / (cube.std(unbiased=True) + 1e-6)
    torch.testing.assert_close(target[1, 3, :, 2], expected, atol=1e-5, rtol=1e-5)


def test_a_constant_cube_has_a_finite_target():
    target = reconstruction_target(torch.zeros(1, 3, 2, 8, 8), 2, 8)
    assert bool(target.isfinite().all())


def test_target_of_chosen_cubes_is_part_of_the_whole_and_has_no_gradient():
    _, video = normalized_clips()
    keep = torch.tensor([[1, 7], [0, 11]])
    chosen = reconstruction_target(video.requires_grad_(), 2, 8, keep)
    whole = reconstruction_target(video, 2, 8)
    assert not chosen.requires_grad
    torch.testing.assert_close(chosen, torch.stack([whole[b, keep[b]] for b in range(2)]))


def test_no_cubes_make_an_empty_target():
    _, video = normalized_clips()
    assert reconstruction_target(video, 2, 8, torch.zeros(2, 0, dtype=torch.int64)).shape == (2, 0, 384)


def test_target_stays_exact_under_autocast_and_for_half_precision_clips():
    _, video = normalized_clips()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(reconstruction_target(video, 2, 8), reconstruction_target(video.clone(), 2, 8))
        assert reconstruction_target(video.bfloat16(), 2, 8).dtype == torch.float32


def test_unnormalising_gives_the_colours_back():
    colours, video = normalized_clips()
    torch.testing.assert_close(unnormalize(video), colours)


def test_loss_is_the_mean_square_over_valid_samples():
    generator = torch.Generator().manual_seed(1)
    prediction, target = torch.randn(3, 5, 7, generator=generator), torch.randn(3, 5, 7, generator=generator)
    valid = torch.tensor([True, False, True])
    loss = masked_mse(prediction, target, valid)
    assert loss.count.item() == 2 * 5 * 7
    torch.testing.assert_close(loss.mean, (prediction[valid] - target[valid]).square().mean())
    torch.testing.assert_close(masked_mse(prediction, target).mean, (prediction - target).square().mean())


def test_an_invalid_sample_gets_no_gradient():
    prediction = torch.randn(2, 5, 7, requires_grad=True)
    masked_mse(prediction, torch.zeros(2, 5, 7), torch.tensor([True, False])).total.backward()
    assert bool(prediction.grad[0].abs().sum() > 0)
    assert not prediction.grad[1].any()


def test_losses_of_parts_add_up_to_that_of_the_whole():
    prediction, target = torch.randn(4, 5, 7), torch.randn(4, 5, 7)
    valid = torch.tensor([True, False, True, True])
    parts = [masked_mse(prediction[i : i + 2], target[i : i + 2], valid[i : i + 2]) for i in (0, 2)]
    joint = MaskedLoss(parts[0].total + parts[1].total, parts[0].count + parts[1].count)
    torch.testing.assert_close(joint.mean, masked_mse(prediction, target, valid).mean)


def test_loss_of_half_precision_predictions_is_summed_in_float32():
    prediction = torch.full((1, 100, 100), 1.0, dtype=torch.bfloat16)
    assert masked_mse(prediction, torch.zeros(1, 100, 100)).total.item() == 10_000


def test_shapes_that_differ_are_refused():
    with pytest.raises(ValueError, match=r"\(2, 5, 7\).*\(2, 4, 7\)"):
        masked_mse(torch.zeros(2, 5, 7), torch.zeros(2, 4, 7))


@pytest.mark.parametrize("valid", [torch.ones(4), torch.ones(3, dtype=torch.bool), torch.ones(4, 1, dtype=torch.bool)])
def test_valid_is_one_boolean_per_sample(valid):
    with pytest.raises(ValueError, match=r"valid is .*: a boolean of shape \(4,\) is taken"):
        masked_mse(torch.zeros(4, 2, 3), torch.zeros(4, 2, 3), valid)


@pytest.mark.parametrize("shape", [(3,), (3, 2), (3, 3, 2, 4, 4)])
def test_invalid_clips_are_blanked_and_others_left(shape):
    video = torch.full(shape, torch.nan)
    video[1] = 2.0
    blank = blank_invalid(video, torch.tensor([False, True, False]))
    assert torch.equal(blank, torch.zeros(shape).index_fill(0, torch.tensor([1]), 2.0))
    assert video[0].isnan().all()


def test_nothing_is_copied_where_all_clips_are_valid():
    video = torch.randn(3, 2)
    assert blank_invalid(video, None) is video
    assert blank_invalid(video, torch.ones(3, dtype=torch.bool)) is video
    with pytest.raises(ValueError, match=r"a boolean of shape \(3,\) is taken"):
        blank_invalid(video, torch.ones(2, dtype=torch.bool))
