"""Settings of a loader as a person types them: of the right types, or refused by name with what is taken."""

from __future__ import annotations

import pytest

from pipelines.settings import BucketConfig, LabelConfig, LoaderConfig, MaskConfig
from tools.loader_settings import loader_config


def test_values_become_what_the_fields_are():
    texts = ["frames=8", "flip=1", "crop=random_resized", "crop_scale=[0.5,1]", "mask.ratio=0.5", "mask.kind=random"]
    texts += ["label.column=action", "cache_dir=null"]
    assert loader_config("data", texts, batch_size=4, workers=3) == LoaderConfig(
        "data",
        4,
        frames=8,
        flip=1.0,
        crop="random_resized",
        crop_scale=(0.5, 1.0),
        mask=MaskConfig(0.5, kind="random"),
        label=LabelConfig("action"),
        workers=3,
    )


def test_what_is_typed_goes_before_what_stands():
    assert loader_config("data", ["batch_size=8"], batch_size=4).batch_size == 8


def test_buckets_are_a_list_of_settings():
    texts = ['buckets=[{"where": "duration < 4", "frames": 8}, {"size": 64}]', "mix_by=batch"]
    config = loader_config("data", texts, batch_size=4)
    assert config.buckets == (BucketConfig("duration < 4", 8), BucketConfig(size=64))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("framess=8", "a loader has no setting 'framess'; taken are"),
        ("rank=1", "a loader has no setting 'rank'"),
        ("frames=8.5", "frames is 8.5; taken is int"),
        ("frames=true", "frames is True; taken is int"),
        ("crop=big", "crop is 'big'; taken is multiscale or random_resized"),
        ("crop_scale=[1]", r"crop_scale is \[1\]; taken is"),
        ("cache_dir=7", "cache_dir is 7; taken is str or null"),
        ("mask.part=0.5", "mask has no setting 'part'; taken are ratio, tubelet"),
        ("mask.ratio=much", "mask.ratio is 'much'; taken is float"),
        ("mask=0.5", "mask is 0.5; taken is settings of its own, such as ratio"),
        ("label.classes=a.txt", "label: .*column"),
        ("frames=0", "frames is 0; it must be at least 1"),
        ("buckets=[8]", r"buckets is \[8\]; taken is a list in JSON, each with some of where, frames"),
        ('buckets=[{"frame": 8}]', "buckets has no setting 'frame'; taken are where, frames"),
        ("frames", "is no setting: write NAME=VALUE"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(text: str, message: str):
    with pytest.raises(ValueError, match=message):
        loader_config("data", [text], batch_size=4)
