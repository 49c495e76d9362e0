"""Masked video modelling from a batch to its sums: what counts, what adds up, what is learnt."""

from __future__ import annotations

from dataclasses import replace

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


def learnt(stage, output):
    """The gradients of a loss, which are finite whatever broken samples hold."""
    stage.zero_grad()
    output.losses["reconstruction"].backward()
    grads = [parameter.grad.clone() for parameter in stage.parameters()]
    assert all(grad.isfinite().all() for grad in grads)
    return grads


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_what_a_broken_sample_holds_reaches_no_gradient(bad):
    stage, (video, mask) = objective(), batch()
    valid = torch.tensor([True, False, True, True])
    video[1, :, 2:] = bad
    spared = decoder_masks(mask)
    for spare in (None, spared):
        rest = learnt(stage, stage(video[valid], mask[valid], None, None if spare is None else spare[valid]))
        output = stage(video, mask, valid, spare)
        assert output.prediction.isfinite().all()
        torch.testing.assert_close(learnt(stage, output), rest, atol=1e-4, rtol=1e-4)
    assert video[1].sum().isfinite().logical_not(), "the caller's clips are left as they are"


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_what_a_broken_packed_clip_holds_reaches_no_gradient(bad):
    stage, (clips, masks) = objective(), packed()
    clips[2][:, 1:] = bad
    valid = torch.tensor([True, True, False, True])
    whole = [number for number in range(4) if number != 2]
    rest = learnt(stage, stage.forward_packed([clips[n] for n in whole], [masks[n] for n in whole]))
    output = stage.forward_packed(clips, masks, valid)
    torch.testing.assert_close(learnt(stage, output), rest, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("valid", [torch.ones(4), torch.ones(3, dtype=torch.bool), torch.ones(4, 1, dtype=torch.bool)])
def test_valid_is_one_boolean_per_clip(valid):
    stage, (video, mask) = objective(), batch()
    for call in (lambda: stage(video, mask, valid), lambda: stage.forward_packed(list(video), list(mask), valid)):
        with pytest.raises(ValueError, match=r"valid is .*: a boolean of shape \(4,\) is taken"):
            call()


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


def decoder_masks(mask):
    """Keep a third of the masked cubes from the decoder, other ones in each sample."""
    order = torch.argsort(torch.rand(mask.shape, generator=torch.Generator().manual_seed(3)) - mask.float(), dim=1)
    return torch.zeros_like(mask).scatter(1, order[:, :2], value=True)


def test_the_loss_is_that_of_the_cubes_that_the_decoder_predicts():
    stage, (video, mask) = objective(), batch()
    spared = decoder_masks(mask)
    assert (spared & mask).sum(dim=1).tolist() == [2] * 4
    output = stage(video, mask, None, spared)
    target = reconstruction_target(video, 2, 8)[mask & ~spared].view(4, 4, -1)
    torch.testing.assert_close(mean(output), (output.prediction - target).square().mean())
    assert stage.count(mask, None, spared) == output.counts == {"reconstruction": torch.tensor(4 * 4 * 384)}


def test_cubes_that_the_decoder_does_without_do_not_reach_it():
    stage, (video, mask) = objective(), batch()
    shown = []
    stage.model.decoder.blocks[0].register_forward_pre_hook(lambda _m, given: shown.append(given[0].shape[1]))
    stage(video, mask, None, decoder_masks(mask))
    assert shown == [2 + 4]


def packed():
    generator = torch.Generator().manual_seed(4)
    clips = [torch.randn(3, *size, generator=generator) for size in ((4, 16, 16), (2, 16, 24), (4, 16, 16), (8, 8, 8))]
    ratios = (0.75, 0.5, 0.25, 0.75)
    counts = (8, 6, 8, 4)
    masks = [torch.randperm(n, generator=generator) < int(r * n) for n, r in zip(counts, ratios, strict=True)]
    return clips, masks


@pytest.mark.parametrize("valid", [None, torch.tensor([True, False, True, True])])
@pytest.mark.parametrize("normalize_target", [True, False])
def test_packed_sums_counts_and_gradients_are_those_of_the_clips_one_by_one(valid, normalize_target):
    stage, (clips, masks) = objective(normalize_target=normalize_target), packed()
    output = stage.forward_packed(clips, masks, valid)
    assert stage.count_packed(masks, valid) == output.counts
    output.losses["reconstruction"].backward()
    together = [parameter.grad.clone() for parameter in stage.parameters()]
    stage.zero_grad()
    sums = {"reconstruction": 0.0}
    for number, (clip, mask) in enumerate(zip(clips, masks, strict=True)):
        alone = stage.forward_packed([clip], [mask])
        if valid is None or valid[number]:
            torch.testing.assert_close(alone.predictions[0], output.predictions[number], atol=1e-5, rtol=1e-5)
            alone.losses["reconstruction"].backward()
            sums["reconstruction"] += float(alone.losses["reconstruction"].detach())
    assert float(output.losses["reconstruction"].detach()) == pytest.approx(sums["reconstruction"], rel=1e-5)
    for ours, parameter in zip(together, stage.parameters(), strict=True):
        torch.testing.assert_close(ours, parameter.grad, atol=1e-4, rtol=1e-4)


def test_a_pack_of_equal_clips_has_the_batchs_loss_also_with_decoder_masks():
    stage, (video, mask) = objective(), batch()
    spared = decoder_masks(mask)
    valid = torch.tensor([True, False, True, True])
    whole = stage(video, mask, valid, spared)
    pack = stage.forward_packed(list(video), list(mask), valid, list(spared))
    torch.testing.assert_close(pack.losses["reconstruction"], whole.losses["reconstruction"])
    assert pack.counts == whole.counts == stage.count_packed(list(mask), valid, list(spared))
    torch.testing.assert_close(torch.stack(pack.predictions), whole.prediction, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("spare", [False, True])
def test_packed_clips_add_up_to_plain_batches_of_one(spare):
    """Each clip through a network of its own size that has the same weights and takes no packs."""
    torch.manual_seed(0)
    stage, (clips, masks) = MaskedVideoModelling(replace(CONFIG, resize_positions=False)), packed()
    spared = [mask & (torch.cumsum(mask, dim=0) == 1) & (mask.sum() > 2) if spare else mask & False for mask in masks]
    pack = stage.forward_packed(clips, masks, None, spared)
    mean(pack).backward()
    total, count, added = 0.0, 0, [torch.zeros_like(parameter) for parameter in stage.parameters()]
    for clip, mask, skip in zip(clips, masks, spared, strict=True):
        frames, *size = clip.shape[1:]
        alone = MaskedVideoModelling(replace(CONFIG, frames=frames, image_size=tuple(size)))
        alone.load_state_dict(stage.state_dict())
        output = alone(clip[None], mask[None], None, skip[None] if spare else None)
        output.losses["reconstruction"].backward()
        total += float(output.losses["reconstruction"].detach())
        count += int(output.counts["reconstruction"])
        added = [one + parameter.grad for one, parameter in zip(added, alone.parameters(), strict=True)]
    assert any(skip.any() for skip in spared) == spare
    assert int(pack.counts["reconstruction"]) == count
    assert float(pack.losses["reconstruction"].detach()) == pytest.approx(total, rel=1e-5)
    for gradient, parameter in zip(added, stage.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, gradient / count, atol=1e-6, rtol=1e-4)


def test_a_packed_clip_that_hides_nothing_is_named():
    stage, (clips, masks) = objective(), packed()
    masks[2] = torch.zeros(8, dtype=torch.bool)
    with pytest.raises(ValueError, match="clip 2 hides no token"):
        stage.forward_packed(clips, masks)


@pytest.mark.parametrize("count", [1, 3])
def test_another_number_of_masks_than_of_clips_is_refused(count):
    video, mask = batch()
    with pytest.raises(ValueError, match=f"masks of {count} clips: one mask per clip"):
        objective()(video, mask[:count])
