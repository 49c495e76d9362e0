"""The objective of each stage: built as the settings say, fed with what it takes of a batch."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from model.classification import CrossModelClassification, Mix, SupervisedClassification
from model.objectives import MaskedVideoModelling, VideoLanguage
from tests.support.stages import UNIFORMER, Words, stage_batch, stage_config
from train.objectives import build_objective, counts_of, inputs_of
from train.parallel import Ranks

ALONE = Ranks(0, 1, torch.device("cpu"))
KINDS = {
    "mvm": MaskedVideoModelling,
    "vlc": VideoLanguage,
    "sft": SupervisedClassification,
    "cma": CrossModelClassification,
}
every_stage = pytest.mark.parametrize("stage", KINDS)


def built(stage, **settings):
    return build_objective(stage_config(stage, **settings), ALONE, Words())


@every_stage
def test_each_stage_has_its_objective(stage):
    assert type(built(stage)) is KINDS[stage]


@every_stage
def test_counts_are_those_that_the_objective_returns(stage):
    objective = built(stage).eval()
    batch = stage_batch(stage_config(stage), broken=(1, 6))
    output = objective(**inputs_of(stage, batch))
    counts = counts_of(objective, batch)
    assert {name: int(count) for name, count in counts.items()} == {n: int(c) for n, c in output.counts.items()}


def test_settings_reach_the_objective():
    assert built("mvm").normalize_target is True
    assert built("mvm", objective__normalize_target=False).normalize_target is False
    weighed = built("vlc", objective__contrastive_weight=2.0, objective__captioning_weight=0.5, objective__chunk=3)
    assert weighed.weights == {"contrastive": 2.0, "captioning": 0.5}
    assert weighed.config.chunk == 3
    for stage in ("sft", "cma"):
        assert built(stage, objective__label_smoothing=0.1).label_smoothing == 0.1


def test_a_frozen_text_tower_asks_for_no_gradient():
    objective = built("vlc", objective__freeze_text=True)
    assert not any(parameter.requires_grad for parameter in objective.model.text.parameters())
    assert all(parameter.requires_grad for parameter in objective.model.video.parameters())


def test_a_frozen_backbone_asks_for_no_gradient_and_stays_at_rest():
    objective = built("sft", model=replace(UNIFORMER, local="single"), objective__freeze_backbone=True).train()
    transformer = objective.model.transformer
    assert not any(parameter.requires_grad for parameter in transformer.resblocks.parameters())
    assert not transformer.resblocks.training
    assert all(parameter.requires_grad for parameter in transformer.dec.parameters())


def test_a_backbone_that_clip_has_not_begun_is_not_frozen():
    with pytest.raises(ValueError, match=r"freeze_backbone=true.*model\.kind=videomae_classifier has none"):
        built("sft", objective__freeze_backbone=True)


def test_the_tokenizer_fits_the_text_tower():
    class Many(Words):
        vocabulary = 31

    class Long(Words):
        context = 9

    class Padded(Words):
        padding_id = 7

    config = stage_config("vlc")
    with pytest.raises(ValueError, match=r"31 ids and model\.text\.vocabulary=30: give model\.text\.vocabulary=31"):
        build_objective(config, ALONE, Many())
    with pytest.raises(ValueError, match=r"rows of 9 tokens and model\.text\.context=8"):
        build_objective(config, ALONE, Long())
    with pytest.raises(ValueError, match=r"stage=vlc needs a tokenizer"):
        build_objective(config, ALONE)
    assert build_objective(config, ALONE, Padded()).config.model.padding_id == 7


@pytest.mark.parametrize(
    ("stage", "lacking", "setting"),
    [
        ("mvm", "mask", "mask_ratio"),
        ("vlc", "tokens", "tokenizer"),
        ("sft", "label", "label"),
        ("cma", "label", "label"),
    ],
)
def test_a_batch_that_lacks_what_the_stage_needs_is_refused(stage, lacking, setting):
    batch = replace(stage_batch(stage_config(stage)), **{lacking: None})
    for take in (lambda: inputs_of(stage, batch), lambda: counts_of(built(stage), batch)):
        with pytest.raises(ValueError, match=rf"stage={stage} needs {lacking} .* see data\.{setting}"):
            take()


def test_a_mix_goes_with_the_inputs():
    batch = stage_batch(stage_config("sft"))
    mix = Mix(batch.label, torch.ones(8))
    assert inputs_of("sft", batch, mix)["mix"] is mix
    assert "mix" not in inputs_of("sft", batch)
