"""Mixup and CutMix: which clips meet, with what weight, and that ranks see what one process sees."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch

from tests.support.fake_loader import fake_batch
from train.mixing import Box, draw_mix, mix_batch, mixes, partners, require_whole_pairs


@dataclass(frozen=True)
class Settings:
    """What a stage would say."""

    mixup: float = 0.0
    cutmix: float = 0.0
    mix_probability: float = 1.0
    switch_probability: float = 0.5


MIXUP, CUTMIX = Settings(mixup=0.8), Settings(cutmix=1.0)
BOTH = Settings(mixup=0.8, cutmix=1.0)


def labelled(positions=range(8), broken=()):
    batch = fake_batch(positions, broken=set(broken))
    return replace(batch, label=torch.tensor([position % 5 for position in positions]))


def drawn(settings, count=400):
    return [draw_mix(settings, (32, 48), seed=3, step=step) for step in range(count)]


def test_mixup_blends_neighbours():
    batch = labelled()
    mixed = mix_batch(batch, MIXUP, seed=0, step=1)
    weight = draw_mix(MIXUP, (32, 32), seed=0, step=1).weight
    assert 0 < weight < 1
    swapped = [1, 0, 3, 2, 5, 4, 7, 6]
    torch.testing.assert_close(mixed.batch.video, weight * batch.video + (1 - weight) * batch.video[swapped])
    assert mixed.mix.label.tolist() == batch.label[swapped].tolist()
    assert mixed.mix.weight.tolist() == pytest.approx([weight] * 8)
    assert mixed.batch.label is batch.label


def test_cutmix_pastes_one_box_into_all_frames_and_weighs_by_area():
    batch = labelled()
    mixed = mix_batch(batch, CUTMIX, seed=0, step=5)
    box = draw_mix(CUTMIX, (32, 32), seed=0, step=5).box
    inside = torch.zeros(32, 32, dtype=torch.bool)
    inside[box.top : box.bottom, box.left : box.right] = True
    assert 0 < box.area < 32 * 32
    other = batch.video[[1, 0, 3, 2, 5, 4, 7, 6]]
    assert torch.equal(mixed.batch.video, torch.where(inside, other, batch.video))
    assert mixed.mix.weight.tolist() == pytest.approx([1 - box.area / 1024] * 8)


@pytest.mark.parametrize("settings", [MIXUP, CUTMIX])
def test_a_clip_without_a_valid_partner_stays_as_it_is(settings):
    batch = labelled(broken={2, 4, 5})
    poisoned = batch.video.clone()
    poisoned[2] = torch.nan
    mixed = mix_batch(replace(batch, video=poisoned), settings, seed=0, step=5)
    assert torch.equal(mixed.batch.video[3], batch.video[3])
    assert mixed.mix.weight[2:6].tolist() == [1.0] * 4
    assert mixed.mix.label[3] == batch.label[3]
    assert bool(mixed.batch.video[batch.valid].isfinite().all())
    assert not torch.equal(mixed.batch.video[0], batch.video[0])


@pytest.mark.parametrize("settings", [MIXUP, CUTMIX])
def test_shares_of_ranks_are_mixed_as_the_whole(settings):
    whole = mix_batch(labelled(), settings, seed=7, step=2)
    for share in (range(4), range(4, 8)):
        mixed = mix_batch(labelled(share), settings, seed=7, step=2)
        rows = slice(share[0], share[-1] + 1)
        assert torch.equal(mixed.batch.video, whole.batch.video[rows])
        assert torch.equal(mixed.mix.label, whole.mix.label[rows])
        assert torch.equal(mixed.mix.weight, whole.mix.weight[rows])


def test_a_clip_is_not_mixed_with_its_own_repeat():
    assert partners(8, 1).tolist() == [1, 0, 3, 2, 5, 4, 7, 6]
    assert partners(8, 2).tolist() == [2, 3, 0, 1, 6, 7, 4, 5]
    with pytest.raises(ValueError, match="6 rows with 2 for each clip are no whole pairs"):
        partners(6, 2)


def test_weights_follow_their_beta_distribution():
    """Beta(0.8, 0.8) has the mean 1/2 and the variance 1 / (4 (2 * 0.8 + 1))."""
    weights = torch.tensor([draw.weight for draw in drawn(MIXUP, 4000)])
    assert float(weights.mean()) == pytest.approx(0.5, abs=0.02)
    assert float(weights.var()) == pytest.approx(1 / (4 * 2.6), abs=0.005)


def test_cutmix_and_mixup_take_turns_by_probability():
    assert all(draw.box is None for draw in drawn(MIXUP))
    assert all(draw.box is not None for draw in drawn(CUTMIX))
    share = sum(draw.box is not None for draw in drawn(replace(BOTH, switch_probability=0.2))) / 400
    assert share == pytest.approx(0.2, abs=0.06)


def test_some_steps_mix_nothing():
    settings = replace(MIXUP, mix_probability=0.3)
    idle = [draw.weight == 1 for draw in drawn(settings)]
    assert sum(idle) / 400 == pytest.approx(0.7, abs=0.07)
    batch = labelled()
    # The step's own draw decides for the batch.
    step = next(step for step in range(400) if draw_mix(settings, (32, 32), seed=0, step=step).weight == 1)
    mixed = mix_batch(batch, settings, seed=0, step=step)
    assert mixed.mix is None
    assert mixed.batch is batch


def test_boxes_stay_inside_and_draws_differ_by_seed():
    for draw in drawn(CUTMIX):
        assert 0 <= draw.box.top <= draw.box.bottom <= 32
        assert 0 <= draw.box.left <= draw.box.right <= 48
    assert draw_mix(CUTMIX, (32, 48), seed=4, step=0) != drawn(CUTMIX, 1)[0]
    assert Box(1, 3, 2, 7).area == 10


@pytest.mark.parametrize(
    ("settings", "expected"),
    [(Settings(), False), (MIXUP, True), (CUTMIX, True), (replace(BOTH, mix_probability=0.0), False)],
)
def test_what_mixes(settings, expected):
    assert mixes(settings) is expected


@pytest.mark.parametrize(("batch_size", "world"), [(6, 2), (7, 1), (8, 3)])
def test_shares_that_cut_a_pair_are_refused(batch_size, world):
    with pytest.raises(ValueError, match=rf"batch_size={batch_size} over {world} rank.*a multiple of {2 * world}"):
        require_whole_pairs(batch_size, world)


def test_shares_of_whole_pairs_are_taken():
    require_whole_pairs(8, 2)
    require_whole_pairs(8, 4)


def test_a_batch_without_labels_is_refused():
    with pytest.raises(ValueError, match="without labels cannot be mixed"):
        mix_batch(fake_batch(range(4)), MIXUP, seed=0, step=0)
