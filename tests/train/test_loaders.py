"""The loaders of a run: what each stage tells them, one vocabulary for both, classes that fit the network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import pytest
import torch

from pipelines.colours import Colours
from pipelines.part_settings import MaskKind
from pipelines.settings import Crop, LabelConfig, LoaderConfig, MixBy, Sampling, SourceConfig, TokenConfig
from pipelines.settings import DecoderChoice as Decoder
from pipelines.split import SplitBy
from tests.support.stages import COORDINATION, stage_config
from train import data_config
from train.config import DataConfig
from train.loaders import clip_settings, image_settings, require_classes, vocabulary_of
from train.mix_config import MixSource
from train.parallel import Ranks

SECOND = Ranks(1, 2, torch.device("cpu"))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (data_config.SAMPLINGS, Sampling),
        (data_config.CROPS, Crop),
        (data_config.COLOURS, Colours),
        (data_config.MASK_KINDS, MaskKind),
        (data_config.DECODERS, Decoder),
        (data_config.MIXED_BY, MixBy),
        (data_config.HELD_OUT_BY, SplitBy),
    ],
)
def test_choices_are_the_loaders(ours, theirs):
    assert sorted(ours) == sorted(get_args(theirs))


def test_a_loader_is_told_all_that_its_settings_share_with_the_runs():
    changed = {
        "lanes": 3,
        "window": 2,
        "workers": 0,
        "cache_dir": "/x",
        "cache_bytes": 9,
        "outage_seconds": 7.0,
        "decoder": "host",
        "stride": 3,
        "sampling": "span",
        "crop": "random_resized",
        "crop_scale": (0.5, 0.9),
        "crop_ratio": (0.9, 1.1),
        "flip": 0.5,
        "repeats": 2,
        "clips": 3,
        "rate": 5.0,
        "variable_rate": "frames",
        "resample": "bicubic",
        "randaugment": "rand-m7-n4-mstd0.5-inc1",
        "erasing": 0.25,
        "mix_by": "batch",
        "whole_batches": True,
    }
    config = stage_config("sft", train__seed=5, **{f"data__{name}": value for name, value in changed.items()})
    given = clip_settings(config, SECOND)
    own = {"label", "packing", "buckets"}  # a column, a choice, a list here, parts there
    shared = (set(DataConfig.__dataclass_fields__) & set(LoaderConfig.__dataclass_fields__)) - own
    assert set(changed) <= shared
    assert {name: getattr(given, name) for name in shared} == {name: getattr(config.data, name) for name in shared}
    assert (given.source, given.seed, given.rank, given.world, given.device) == ("nowhere", 5, 1, 2, "cpu")


def test_each_stage_gets_its_part_of_a_sample():
    parts = {
        stage: [
            name for name in ("mask", "tokens", "label") if getattr(clip_settings(stage_config(stage), SECOND), name)
        ]
        for stage in ("mvm", "vlc", "sft", "cma")
    }
    assert parts == {"mvm": ["mask"], "vlc": ["tokens"], "sft": ["label"], "cma": ["label"]}
    labelled = clip_settings(stage_config("cma", data__classes="names.txt"), SECOND)
    assert labelled.label == LabelConfig("class", "names.txt", limit=5)
    texts = clip_settings(stage_config("vlc", data__tokenizer="words.json"), SECOND)
    assert texts.tokens == TokenConfig("words.json", context=8, vocabulary=30)


def test_datasets_of_a_mix_are_told_with_what_is_taken_of_each():
    mix = [MixSource("a", 2.0, name="first", where="duration >= 2"), MixSource("b", 1.0, 3, frames=4, stride=1)]
    given = clip_settings(stage_config("mvm", data=replace(stage_config("mvm").data, train=None, mix=mix)), SECOND)
    assert given.source == (
        SourceConfig("a", 2.0, name="first", where="duration >= 2"),
        SourceConfig("b", 1.0, 3, frames=4, stride=1),
    )


def test_images_are_single_frames_cut_their_own_way():
    config = stage_config("vlc", data__images="pictures", data__image_batch_size=6, data__crop="squash")
    clips = clip_settings(config, SECOND)
    images = image_settings(config, clips, "words.json")
    assert images.tokens == replace(clips.tokens, tokenizer="words.json")
    same = replace(images, source=clips.source, batch_size=8, frames=3, crop="squash", crop_scale=clips.crop_scale)
    assert replace(same, tokens=clips.tokens) == clips
    assert (images.source, images.batch_size, images.frames) == ("pictures", 6, 1)
    assert (images.crop, images.crop_scale) == ("random_resized", (0.9, 1.0))
    bicubic = stage_config("vlc", data__images="pictures", data__image_resample="bicubic")
    assert clip_settings(bicubic, SECOND).resample == "bilinear"
    assert image_settings(bicubic, clip_settings(bicubic, SECOND), "words.json").resample == "bicubic"


def test_a_vocabulary_that_was_made_serves_both_loaders():
    made = SimpleNamespace(tokenizer=SimpleNamespace(to_json=lambda: '{"version": "1.0"}'))
    with vocabulary_of(made, stage_config("vlc")) as place:
        assert Path(place).read_text() == '{"version": "1.0"}'
    with vocabulary_of(made, stage_config("vlc", data__tokenizer="s3://words.json")) as place:
        assert place == "s3://words.json"


@pytest.mark.parametrize(("stage", "key"), [("sft", "model.classes"), ("cma", "model.masked.classes")])
def test_another_number_of_classes_is_refused_with_the_key(stage, key):
    config = stage_config(stage)
    require_classes(config, SimpleNamespace(classes=tuple("abcde")))
    require_classes(config, SimpleNamespace(classes=None))
    with pytest.raises(ValueError, match=rf"nowhere has 3 classes in class, and {key}=5; give {key}=3, or"):
        require_classes(config, SimpleNamespace(classes=tuple("abc")))
    assert COORDINATION.masked.classes == 5
