"""Stages: what each of them trains, the settings that it has, and what it refuses."""

from __future__ import annotations

from dataclasses import replace

import pytest

from model.clip_config import VIDEO_TEXT_PRESETS
from model.contrastive import CHUNK
from model.coordination_config import COORDINATION_PRESETS
from model.kinds import KINDS
from tests.support.run_config import made
from tests.support.stages import COORDINATION, UNIFORMER, VIT, stage_config
from train.stages import (
    MODEL_KINDS,
    STAGES,
    CoordinationSettings,
    MaskedSettings,
    SupervisedSettings,
    VideoLanguageSettings,
    clips_of,
    kind_of,
)


def test_kinds_are_those_of_weights_files():
    assert {kind: KINDS[kind].config for kind in MODEL_KINDS} == MODEL_KINDS
    assert {kind for stage in STAGES.values() for kind in stage.kinds} == set(MODEL_KINDS)


def test_rows_held_at_once_are_the_losss_own():
    assert VideoLanguageSettings().chunk == CHUNK


def test_the_clips_of_a_network():
    towers, both = VIDEO_TEXT_PRESETS["video_text_tiny"], COORDINATION_PRESETS["coordination_tiny"]
    assert (clips_of(towers).where, clips_of(towers).frames) == ("model.video", 4)
    assert (clips_of(both).where, clips_of(both).frames) == ("model.masked", 16)
    assert clips_of(VIT).image_size == (16, 16)
    assert [kind_of(model) for model in (towers, both, VIT, UNIFORMER)] == [
        *("mm_full", "coordination", "videomae_classifier", "uniformerv2")
    ]


@pytest.mark.parametrize(
    ("settings", "values", "message"),
    [
        (VideoLanguageSettings, {"contrastive_weight": 0}, r"objective\.contrastive_weight=0 must be a number above 0"),
        (VideoLanguageSettings, {"captioning_weight": float("nan")}, r"captioning_weight=nan .*model\.captioner=null"),
        (VideoLanguageSettings, {"chunk": 0}, r"objective\.chunk=0 must be a whole number"),
        (SupervisedSettings, {"label_smoothing": 1.0}, r"label_smoothing=1\.0 must be at least 0, below 1"),
        (SupervisedSettings, {"mixup": -0.1}, r"objective\.mixup=-0\.1 must be 0 or more"),
        (CoordinationSettings, {"cutmix": float("inf")}, r"objective\.cutmix=inf must be 0 or more"),
        (CoordinationSettings, {"mix_probability": 1.5}, r"mix_probability=1\.5 must be at least 0 and at most 1"),
        (CoordinationSettings, {"switch_probability": -1}, r"switch_probability=-1 must be"),
    ],
)
def test_settings_out_of_range_name_the_key(settings, values, message):
    with pytest.raises(ValueError, match=message):
        settings(**values)


@pytest.mark.parametrize(
    ("stage", "settings", "message"),
    [
        ("mvm", {"model": VIT}, r"stage=mvm trains videomae_pretrain, and model\.kind=videomae_classifier; choose"),
        (
            "sft",
            {"model": COORDINATION},
            r"stage=sft trains videomae_classifier or uniformerv2 or mm_vqa, and .*=coordination",
        ),
        ("cma", {"objective": MaskedSettings()}, r"objective=MaskedSettings.* must be CoordinationSettings"),
        ("sft", {"data__images": "pictures"}, r"stage=sft takes no data\.images=pictures"),
        ("sft", {"data__label": None}, r"stage=sft needs data\.label"),
        ("cma", {"data__label": None}, r"stage=cma needs data\.label"),
        ("mvm", {"data__label": "kind"}, r"stage=mvm takes no data\.label=kind: it has no use for it"),
        ("vlc", {"data__label": "kind", "data__classes": "x"}, r"stage=vlc takes no data\.label=kind"),
        ("sft", {"data__tokenizer": "bpe"}, r"stage=sft takes no data\.tokenizer=bpe"),
        ("vlc", {"data__repeats": 2}, r"stage=vlc takes no data\.repeats=2"),
        ("mvm", {"data__colours": "clip"}, r"stage=mvm takes data\.colours=imagenet only, not clip"),
        ("vlc", {"train__accumulate": 2}, r"stage=vlc takes no train\.accumulate=2: contrasting parts"),
        ("sft", {"train__eval_every": 5}, r"train\.eval_every=5 needs data\.val"),
        ("vlc", {"init__masked": "a"}, r"stage=vlc has one network: give init\.model"),
        ("vlc", {"data__frames": 5}, r"model\.video\.frames=3 and data\.frames=5 must be equal"),
        ("cma", {"data__size": 32}, r"model\.masked\.image_size=\[16, 16\] and data\.size=32"),
        ("mvm", {"optim__warmup_steps": None, "train__epochs": 3}, r"warmup_epochs=40\.0 .*train\.epochs=3"),
    ],
)
def test_what_does_not_suit_a_stage_is_refused_by_name(stage, settings, message):
    with pytest.raises(ValueError, match=message):
        stage_config(stage, **settings)


def test_single_frames_do_not_come_in_twos():
    given = ["stage=vlc", "model=video_text_tiny", "data.size=112", "data.train=x", "data.images=pictures"]
    assert made(*given, "data.frames=4").data.images == "pictures"
    with pytest.raises(ValueError, match=r"data\.images=pictures gives single frames, and model\.video\.temporal_down"):
        made(*given, "data.frames=4", "model.video.temporal_downsample=true")


def test_ranks_that_contrast_have_equal_shares():
    config = stage_config("vlc", data__images="pictures", data__image_batch_size=6)
    config.require_shares(2)
    with pytest.raises(ValueError, match=r"data\.batch_size=8 does not divide by 3 ranks.*data\.batch_size=6"):
        config.require_shares(3)
    with pytest.raises(ValueError, match=r"data\.image_batch_size=6 does not divide by 4 ranks"):
        config.require_shares(4)
    with pytest.raises(ValueError, match=r"data\.image_batch_size=1 over 2 rank\(s\) leaves a rank 0 sample"):
        replace(config, data=replace(config.data, image_batch_size=1)).require_shares(2)


@pytest.mark.parametrize("stage", STAGES)
def test_the_plain_form_names_the_kind(stage):
    config = stage_config(stage)
    assert config.as_dict()["model"]["kind"] == config.model_kind
    assert config.rules is STAGES[stage]
