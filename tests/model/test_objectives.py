"""Masked video modelling from a batch to its sums: what counts, what adds up, what is learnt."""

from __future__ import annotations

import pytest
import torch

from model.config import VideoMAEConfig
from model.losses import reconstruction_target
from model.objectives import MaskedVideoModelling

CONFIG = VideoMAEConfig(
    image_size=(16, 16),
    frames=4,
    patch_size=8,
    width=24,
    depth=2,
    heads=3,
    decoder_width=12,
    decoder_depth=1,
    decoder_heads=2,
)


def objective(**changes):
    torch.manual_seed(0)
    return MaskedVideoModelling(CONFIG, **changes)


def batch(size=4):
    generator = torch.Generator().manual_seed(1)
    mask = torch.stack([torch.randperm(8, generator=generator) < 6 for _ in range(size)])
    return torch.randn(size, 3, 4, 16, 16, generator=generator), mask


def mean(output):
    return output.losses["reconstruction"] / output.counts["reconstruction"]


def test_loss_is_the_mean_square_to_the_masked_cubes_targets():
    stage, (video, mask) = objective(), batch()
    output = stage(video, mask)
    target = reconstruction_target(video, 2, 8)[mask].view(4, 6, -1)
    torch.testing.assert_close(mean(output), (output.prediction - target).square().mean())
    assert not output.prediction.requires_grad
    assert output.tokens.masked.shape == (4, 6)


def test_counts_are_where_valid_is_so_that_nothing_waits_for_it():
    stage, (_, mask) = objective(), batch()
    counted = stage.count(mask, torch.ones(4, dtype=torch.bool, device="meta"))
    assert counted["reconstruction"].device.type == "meta"


def test_plain_colours_can_be_the_target():
    stage, (video, mask) = objective(normalize_target=False), batch()
    output = stage(video, mask)
    target = reconstruction_target(video, 2, 8, normalized=False)[mask].view(4, 6, -1)
    torch.testing.assert_close(mean(output), (output.prediction - target).square().mean())


@pytest.mark.parametrize("valid", [None, torch.tensor([True, False, True, False]), torch.zeros(4, dtype=torch.bool)])
def test_counts_are_known_before_the_network_runs(valid):
    stage, (video, mask) = objective(), batch()
    output, counted = stage(video, mask, valid), stage.count(mask, valid)
    assert counted.keys() == output.counts.keys() == output.losses.keys() == {"reconstruction"}
    samples = 4 if valid is None else int(valid.sum())
    assert counted["reconstruction"].item() == output.counts["reconstruction"].item() == samples * 6 * 384


def test_broken_samples_are_out_of_loss_and_gradient():
    stage, (video, mask) = objective(), batch()
    valid = torch.tensor([True, False, True, True])
    stage(torch.where(valid[:, None, None, None, None], video, 0.0), mask, valid).losses["reconstruction"].backward()
    with_hole = [parameter.grad.clone() for parameter in stage.parameters()]
    stage.zero_grad()
    stage(video[valid], mask[valid]).losses["reconstruction"].backward()
    for ours, expected in zip(with_hole, stage.parameters(), strict=True):
        torch.testing.assert_close(ours, expected.grad, atol=1e-4, rtol=1e-4)


def test_a_batch_without_a_valid_sample_sums_to_nothing():
    stage, (video, mask) = objective(), batch()
    output = stage(video, mask, torch.zeros(4, dtype=torch.bool))
    output.losses["reconstruction"].backward()
    assert output.losses["reconstruction"].item() == 0
    assert not any(parameter.grad.any() for parameter in stage.parameters())


def test_micro_batches_add_up_to_the_batch():
    stage, (video, mask) = objective(), batch()
    valid = torch.tensor([True, False, True, True])
    whole = stage(video, mask, valid)
    parts = [stage(video[part], mask[part], valid[part]) for part in (slice(0, 1), slice(1, 4))]
    for name in whole.losses:
        torch.testing.assert_close(sum(part.losses[name] for part in parts), whole.losses[name])
        assert sum(int(part.counts[name]) for part in parts) == int(whole.counts[name])


def test_masks_that_cannot_train_are_refused():
    stage, (video, mask) = objective(), batch()
    with pytest.raises(ValueError, match="nothing to predict"):
        stage(video, torch.zeros_like(mask))
    with pytest.raises(ValueError, match="8 tokens"):
        stage(video, mask[:, :6])


@pytest.mark.parametrize("autocast", [False, True])
def test_a_batch_can_be_learnt_by_heart(autocast):
    stage, (video, mask) = objective(), batch()
    optimizer = torch.optim.AdamW(stage.parameters(), lr=3e-3)
    losses = []
    for _ in range(60):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            loss = mean(stage(video, mask))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
