"""The contrastive and captioning stage: two sums, broken samples out of both, weights, what is frozen."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import cross_entropy

from model.contrastive import similarity
from model.objectives import VideoLanguage, VideoLanguageConfig
from tests.support.video_text import TINY, build, texts

CONFIG = VideoLanguageConfig(TINY)
HOLES = torch.tensor([True, False, True, True])


def batch(size=4, frames=3):
    return torch.randn(size, 3, frames, 16, 16, generator=torch.Generator().manual_seed(2)), texts(size)


def stage(**changes):
    return build(VideoLanguage, replace(CONFIG, **changes))


def gradients(objective):
    return {name: each.grad for name, each in objective.named_parameters() if each.grad is not None}


def assert_same_gradients(ours, expected):
    assert ours.keys() == expected.keys()
    for name, grad in ours.items():
        torch.testing.assert_close(grad, expected[name], atol=2e-6, rtol=1e-4, msg=name)


@pytest.mark.parametrize("frames", [3, 1])
def test_the_means_are_the_plain_formulas(frames):
    objective, (video, tokens) = stage(), batch(frames=frames)
    output = objective(video, tokens)
    model = objective.model
    features = model(video, tokens)
    logits, labels = similarity(features.video, features.text, model.logit_scale), torch.arange(4)
    contrast = (cross_entropy(logits, labels) + cross_entropy(logits.T, labels)) / 2
    scores = model.captioner(features.video_tokens, features.text_tokens[:, :-1])
    caption = cross_entropy(scores.flatten(0, 1), tokens[:, 1:].flatten(), ignore_index=0)
    torch.testing.assert_close(output.losses["contrastive"] / 4, contrast)
    torch.testing.assert_close(output.losses["captioning"] / output.counts["captioning"], caption)
    torch.testing.assert_close(output.weighted_mean(), contrast + caption)


def test_broken_samples_are_out_of_rows_columns_targets_and_gradients():
    objective, (video, tokens) = stage(), batch()
    broken = torch.where(HOLES[:, None, None, None, None], video, 0.0)
    output = objective(broken, tokens, HOLES)
    output.weighted_mean().backward()
    ours, _ = gradients(objective), objective.zero_grad()
    expected = objective(video[HOLES], tokens[HOLES])
    expected.weighted_mean().backward()
    for name, loss in expected.losses.items():
        torch.testing.assert_close(output.losses[name], loss)
        assert output.counts[name].item() == expected.counts[name].item()
    assert_same_gradients(ours, gradients(objective))


@pytest.mark.parametrize("captions", [True, False])
@pytest.mark.parametrize("valid", [None, HOLES, torch.zeros(4, dtype=torch.bool)])
def test_counts_are_known_before_the_networks_run(valid, captions):
    objective, (video, tokens) = stage(model=TINY if captions else replace(TINY, captioner=None)), batch()
    output, counted = objective(video, tokens, valid), objective.count(tokens, valid)
    assert counted.keys() == output.counts.keys() == output.losses.keys()
    assert {name: int(each) for name, each in counted.items()} == {n: int(c) for n, c in output.counts.items()}


def test_counts_are_where_valid_is_so_that_nothing_waits_for_it():
    counted = stage().count(texts(4), torch.ones(4, dtype=torch.bool, device="meta"))
    assert {each.device.type for each in counted.values()} == {"meta"}


def test_a_batch_without_a_valid_sample_gives_every_parameter_a_gradient_of_zero():
    """Ranks that average gradients wait for each parameter of each rank."""
    objective, (video, tokens) = stage(), batch()
    output = objective(video, tokens, torch.zeros(4, dtype=torch.bool))
    output.weighted_mean().backward()
    assert output.weighted_mean().item() == 0
    found = gradients(objective)
    assert found.keys() == {name for name, each in objective.named_parameters() if each.requires_grad}
    assert not any(grad.any() for grad in found.values())


def test_weights_weigh_the_means_and_leave_the_sums():
    video, tokens = batch()
    plain, weighted = (
        stage(**each)(video, tokens) for each in ({}, {"contrastive_weight": 0.5, "captioning_weight": 3.0})
    )
    assert weighted.losses["captioning"].item() == plain.losses["captioning"].item()
    means = {name: plain.losses[name] / plain.counts[name] for name in plain.losses}
    torch.testing.assert_close(weighted.weighted_mean(), 0.5 * means["contrastive"] + 3.0 * means["captioning"])
    doubled = {name: 2 * count for name, count in plain.counts.items()}
    torch.testing.assert_close(plain.weighted_mean(doubled), plain.weighted_mean() / 2)


def test_a_frozen_text_tower_gets_no_gradient_and_everything_else_does():
    objective = stage(freeze_text=True)
    objective(*batch()).weighted_mean().backward()
    found = gradients(objective)
    assert found
    assert not any(name.startswith("model.text.") for name in found)
    assert {name.split(".")[1] for name in found} == {"video", "captioner", "logit_scale"}


@pytest.mark.parametrize("captions", [True, False])
def test_every_parameter_that_is_trained_gets_a_gradient(captions):
    objective = stage(model=TINY if captions else replace(TINY, captioner=None))
    objective(*batch()).weighted_mean().backward()
    without = {name for name, each in objective.named_parameters() if each.grad is None or not each.grad.any()}
    assert without == {"model.text.text_mask_embedding"}
    assert not objective.model.text.text_mask_embedding.requires_grad


def test_parts_of_a_batch_do_not_add_up_and_the_stage_says_so():
    objective, (video, tokens) = stage(), batch()
    whole = objective(video, tokens)
    parts = [objective(video[part], tokens[part]) for part in (slice(0, 2), slice(2, 4))]
    assert not objective.parts_add_up
    summed = {name: sum(part.losses[name] for part in parts) for name in whole.losses}
    torch.testing.assert_close(summed["captioning"], whole.losses["captioning"])
    assert summed["contrastive"] < whole.losses["contrastive"] - 0.1


def test_the_chunk_changes_nothing():
    video, tokens = batch()
    one, all_at_once = (stage(chunk=chunk)(video, tokens).losses["contrastive"] for chunk in (1, 64))
    torch.testing.assert_close(one, all_at_once)


def test_the_factor_is_clamped_before_it_is_used():
    objective, (video, tokens) = stage(), batch()
    with torch.no_grad():
        objective.model.logit_scale.fill_(torch.tensor(100.0).log())
    at_the_edge = objective(video, tokens).losses["contrastive"]
    with torch.no_grad():
        objective.model.logit_scale.fill_(7.0)
    torch.testing.assert_close(objective(video, tokens).losses["contrastive"], at_the_edge)


@pytest.mark.parametrize("autocast", [False, True])
def test_a_batch_can_be_learnt_by_heart(autocast):
    objective, (video, tokens) = stage(), batch()
    optimizer = torch.optim.AdamW(objective.parameters(), lr=1e-2)
    losses = []
    for _ in range(40):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            loss = objective(video, tokens).weighted_mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"contrastive_weight": 0.0}, "contrastive_weight is 0.0"),
        ({"captioning_weight": -1.0}, "captioning_weight is -1.0"),
        ({"captioning_weight": float("nan")}, "captioning_weight is nan"),
        ({"chunk": 0}, "chunk is 0"),
    ],
)
def test_settings_that_train_nothing_are_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        replace(CONFIG, **changes)


def test_texts_that_do_not_fit_are_refused():
    objective, (video, tokens) = stage(), batch()
    with pytest.raises(ValueError, match="4 clips and 3 texts"):
        objective(video, tokens[:3])
    with pytest.raises(ValueError, match="context is 8"):
        objective(video, torch.cat([tokens, tokens], dim=1))


def test_an_invalid_clip_may_hold_anything():
    objective, (video, tokens) = stage(), batch()
    found = []
    for value in (0.0, torch.nan, torch.inf):
        video[1] = value
        objective.zero_grad()
        output = objective(video, tokens, HOLES)
        output.weighted_mean().backward()
        found.append((output.losses, gradients(objective)))
    assert bool(video[1].isinf().all())  # the batch is left as it is
    for losses, grads in found[1:]:
        for name, loss in losses.items():
            torch.testing.assert_close(loss, found[0][0][name])
        assert_same_gradients(grads, found[0][1])


@pytest.mark.parametrize("valid", [HOLES.long(), HOLES[:3], HOLES[:, None]])
def test_valid_is_one_boolean_per_sample(valid):
    objective, (video, tokens) = stage(), batch()
    for call in (lambda: objective(video, tokens, valid), lambda: objective.count(tokens, valid)):
        with pytest.raises(ValueError, match=r"valid is .*: a boolean of shape \(4,\) is taken"):
            call()


def test_tokens_of_one_text_alone_cannot_be_counted():
    with pytest.raises(ValueError, match=r"the tokens have shape \(8,\): \[B, L\] is taken"):
        stage().count(batch()[1][0])


def test_raw_pixels_stay_refused_beside_invalid_clips():
    video, tokens = batch()
    with pytest.raises(ValueError, match=r"the video is torch.uint8"):
        stage()(video.to(torch.uint8), tokens, HOLES)
