"""The supervised stages from a batch to its sums: what counts, what adds up, what learns."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import cross_entropy, one_hot

from model.classification import CrossModelClassification, Mix, SupervisedClassification, classification_loss
from model.clip_config import UniFormerClassifierConfig
from model.config import ClassifierConfig
from model.coordination import CoordinatedClassifier
from model.coordination_config import CoordinationConfig
from model.uniformer import UniFormerClassifier
from model.videomae import VideoMAEClassifier
from model.views import view_clip

VIT = ClassifierConfig(
    image_size=(16, 16), frames=4, patch_size=8, width=16, depth=2, heads=2, classes=5, head_scale=1.0
)
UNIFORMER = UniFormerClassifierConfig(
    image_size=(16, 16), frames=4, patch_size=8, width=16, depth=2, heads=2, global_blocks=(1,), classes=5
)
CMA = CoordinationConfig(VIT, (UNIFORMER,), head_width=8, dropout=0.0)
STAGES = {
    "VideoMAE": lambda **k: SupervisedClassification(VIT, **k),
    "UniFormerV2": lambda **k: SupervisedClassification(replace(UNIFORMER, head_dropout=0.0, global_dropout=0.0), **k),
    "cross-model": lambda **k: CrossModelClassification(CMA, **k),
}
every_stage = pytest.mark.parametrize("build", STAGES.values(), ids=STAGES)
LABEL = torch.tensor([0, 4, 2, 3])
VALID = torch.tensor([True, False, True, True])


def stage_of(build, **changes):
    torch.manual_seed(0)
    return build(**changes)


def clips():
    return torch.randn(4, 3, 4, 16, 16, generator=torch.Generator().manual_seed(1))


def test_the_network_is_the_configured_one():
    assert isinstance(SupervisedClassification(VIT).model, VideoMAEClassifier)
    assert isinstance(SupervisedClassification(UNIFORMER).model, UniFormerClassifier)
    assert isinstance(CrossModelClassification(CMA).model, CoordinatedClassifier)


@every_stage
def test_loss_is_the_cross_entropy_of_valid_samples(build):
    stage, video = stage_of(build), clips()
    output = stage(video, LABEL, VALID)
    mean = output.losses["classification"] / output.counts["classification"]
    torch.testing.assert_close(mean, cross_entropy(output.scores[VALID], LABEL[VALID]))
    assert output.counts["classification"] == 3
    assert not output.scores.requires_grad
    scores = stage.model(video)
    assert torch.equal(output.scores[VALID], getattr(scores, "scores", scores)[VALID])


@every_stage
def test_counts_are_known_before(build):
    stage = stage_of(build)
    assert stage.parts_add_up
    for valid in (None, VALID):
        assert stage.count(LABEL, valid) == stage(clips(), LABEL, valid).counts


@every_stage
def test_sums_and_gradients_of_parts_add_up(build):
    stage, video = stage_of(build), clips()
    whole = stage(video, LABEL, VALID)
    whole.losses["classification"].backward()
    grads = {name: each.grad.clone() for name, each in stage.named_parameters() if each.grad is not None}
    stage.zero_grad()
    parts = [stage(video[half], LABEL[half], VALID[half]) for half in (slice(0, 1), slice(1, 4))]
    sums = [part.losses["classification"] for part in parts]
    torch.testing.assert_close(sum(sums), whole.losses["classification"])
    sum(sums).backward()
    for name, grad in grads.items():
        torch.testing.assert_close(stage.get_parameter(name).grad, grad)


def test_an_invalid_sample_pulls_at_nothing():
    stage, video = stage_of(STAGES["VideoMAE"]), clips()
    grads = []
    for label in (LABEL, torch.tensor([0, -1, 2, 3])):
        stage.zero_grad()
        stage(video, label, VALID).losses["classification"].backward()
        grads.append(stage.model.head.weight.grad.clone())
        video = video.clone()
        video[1] += 1.0
    torch.testing.assert_close(*grads)


def learnt(stage, output):
    stage.zero_grad()
    output.losses["classification"].backward()
    return {name: each.grad.clone() for name, each in stage.named_parameters() if each.grad is not None}


@every_stage
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_what_an_invalid_clip_holds_reaches_no_gradient(build, bad):
    stage, video = stage_of(build).eval(), clips()
    rest = learnt(stage, stage(video[VALID], LABEL[VALID]))
    video[1, :, 2:] = bad
    shown = [video]
    if isinstance(stage, CrossModelClassification):
        shown.append([view_clip(video, CMA.masked_colours, wanted) for wanted in CMA.formats])
    for each in shown:
        grads = learnt(stage, stage(each, LABEL, VALID))
        assert grads.keys() == rest.keys()
        for name, grad in grads.items():
            torch.testing.assert_close(grad, rest[name], msg=name)


def test_nothing_valid_makes_a_loss_of_zero():
    stage = stage_of(STAGES["VideoMAE"])
    output = stage(clips(), LABEL, torch.zeros(4, dtype=torch.bool))
    output.losses["classification"].backward()
    assert output.losses["classification"] == output.counts["classification"] == 0
    assert not stage.model.head.weight.grad.any()


def test_cross_model_attention_takes_a_view_for_each_encoder():
    stage, video = stage_of(STAGES["cross-model"]), clips()
    views = [view_clip(video, CMA.masked_colours, wanted) for wanted in CMA.formats]
    assert torch.equal(stage(video, LABEL).scores, stage(views, LABEL).scores)


def test_a_few_steps_of_cross_model_attention_lower_the_loss():
    stage, video = stage_of(STAGES["cross-model"]), clips()
    learning = [parameter for parameter in stage.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=3e-2)
    losses = []
    for _ in range(25):
        loss = stage(video, LABEL).losses["classification"]
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.3 * losses[0]


def test_smoothing_is_torchs():
    scores = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    smooth = classification_loss(scores, LABEL, VALID, label_smoothing=0.1)
    torch.testing.assert_close(smooth.mean, cross_entropy(scores[VALID], LABEL[VALID], label_smoothing=0.1))
    with pytest.raises(ValueError, match=r"label_smoothing is 1\.0"):
        SupervisedClassification(VIT, label_smoothing=1.0)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_mixed_clip_has_both_classes_by_weight(smoothing):
    scores, other = torch.randn(4, 5), torch.tensor([1, 4, 0, 3])
    weight = torch.tensor([0.25, 0.5, 1.0, 0.7])
    target = weight[:, None] * one_hot(LABEL, 5) + (1 - weight[:, None]) * one_hot(other, 5)
    loss = classification_loss(scores, LABEL, label_smoothing=smoothing, mix=Mix(other, weight))
    torch.testing.assert_close(loss.mean, cross_entropy(scores, target, label_smoothing=smoothing))


@every_stage
def test_what_is_mixed_with_nothing_is_as_it_was(build):
    stage, video = stage_of(build, label_smoothing=0.1).eval(), clips()
    plain = stage(video, LABEL, VALID)
    mixed = stage(video, LABEL, VALID, Mix(LABEL.flip(0), torch.ones(4)))
    torch.testing.assert_close(mixed.losses["classification"], plain.losses["classification"], rtol=0, atol=0)


def test_a_class_that_there_is_not_is_refused_in_a_mix_too():
    with pytest.raises(ValueError, match=r"classes from 2 to 5: 0 to 4 are taken"):
        classification_loss(torch.randn(4, 5), LABEL, mix=Mix(torch.tensor([5, 4, 2, 3]), torch.ones(4)))


def test_loss_is_taken_in_float32():
    scores = torch.randn(4, 5, generator=torch.Generator().manual_seed(0)).bfloat16()
    loss = classification_loss(scores, LABEL)
    assert loss.total.dtype == torch.float32
    torch.testing.assert_close(loss.mean, cross_entropy(scores.float(), LABEL))


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (torch.zeros(3, dtype=torch.int64), r"shape \(3,\) and type torch.int64: \(4,\) and int64 are taken"),
        (torch.zeros(4), "type torch.float32"),
        (torch.tensor([0, 1, 2, 5]), "classes from 0 to 5: 0 to 4 are taken"),
        (torch.tensor([0, 1, 2, -1]), "classes from -1 to 2"),
    ],
)
def test_labels_that_do_not_fit_are_refused(label, message):
    with pytest.raises(ValueError, match=message):
        classification_loss(torch.zeros(4, 5), label)


@every_stage
@pytest.mark.parametrize("valid", [VALID.long(), VALID.float(), VALID[:3], VALID[:, None], VALID[0]])
def test_valid_is_one_boolean_per_sample(build, valid):
    stage = stage_of(build)
    for call in (lambda: stage(clips(), LABEL, valid), lambda: stage.count(LABEL, valid)):
        with pytest.raises(ValueError, match=r"valid is .*: a boolean of shape \(4,\) is taken"):
            call()
