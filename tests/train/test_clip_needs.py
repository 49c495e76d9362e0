"""What networks need of their clips: taken from runs, from exports, or from the kind of network."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from model.config import preset
from model.saved import Description
from pipelines.settings import COLOURS
from tests.support.tiny_networks import CONFIGS, COORDINATION
from train.clip_needs import ClipNeeds
from train.data_config import DataConfig

NEEDS = ClipNeeds(4, 2, 16, "segment", "squash", "half")


def test_a_run_says_them_and_earlier_runs_had_one_way():
    data = {"train": "x", "frames": 8, "stride": 3, "size": 112}
    assert ClipNeeds.of_run(data) == ClipNeeds(8, 3, 112, "dense", "multiscale", "imagenet")
    later = data | {"sampling": "bin", "crop": "squash", "colours": "clip", "flip": 0.5}
    assert ClipNeeds.of_run(later) == ClipNeeds(8, 3, 112, "bin", "squash", "clip")
    default = DataConfig(train="x")
    assert (default.sampling, default.crop, default.colours) == ("dense", "multiscale", "imagenet")


def test_an_export_says_them():
    assert ClipNeeds.from_plain(NEEDS.to_plain(), source="x") == NEEDS
    by_time = replace(NEEDS, sampling="fps", rate=4.0, resample="bicubic")
    assert ClipNeeds.from_plain(by_time.to_plain(), source="x") == by_time
    earlier = {name: value for name, value in NEEDS.to_plain().items() if name not in {"rate", "resample"}}
    assert ClipNeeds.from_plain(earlier, source="x") == NEEDS
    with pytest.raises(ValueError, match="here does not say what clips the network takes: 'size' is missing"):
        ClipNeeds.from_plain({"frames": 4, "stride": 2}, source="here")
    with pytest.raises(ValueError, match="colours 'sepia'; known are imagenet, clip, half"):
        ClipNeeds.from_plain(NEEDS.to_plain() | {"colours": "sepia"}, source="here")


@pytest.mark.parametrize(
    ("kind", "colours", "sampling", "size"),
    [
        ("videomae_pretrain", "imagenet", "dense", (16, 24)),
        ("videomae_classifier", "imagenet", "dense", (16, 24)),
        ("uniformerv2", "half", "segment", 16),
        ("mm_full", "clip", "bin", 16),
        ("mm_video_encoder", "clip", "bin", 16),
    ],
)
def test_a_kind_has_its_own(kind, colours, sampling, size):
    needs = ClipNeeds.of_network(Description(kind, CONFIGS[kind]))
    assert (needs.colours, needs.sampling, needs.size, needs.frames) == (colours, sampling, size, 4)


def test_coordination_takes_what_its_masked_encoder_takes_and_texts_take_none():
    assert ClipNeeds.of_network(Description("coordination", COORDINATION)).colours == "imagenet"
    assert ClipNeeds.of_network(Description("clip_text", CONFIGS["clip_text"])) is None
    assert ClipNeeds.of_network(Description("videomae_pretrain", preset("vit_b"))).size == 224


def test_bytes_are_normalised_and_floats_are_left():
    clips = torch.randint(0, 256, (2, 3, 4, 8, 8), dtype=torch.uint8)
    scale = COLOURS["half"]
    wanted = (clips[:, 1].double() / 255 - scale.mean[1]) / scale.std[1]
    found = NEEDS.normalise(clips)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found[:, 1].double(), wanted, rtol=1e-6, atol=1e-6)
    floats = torch.randn(2, 3, 4, 8, 8)
    assert NEEDS.normalise(floats) is floats


@pytest.mark.parametrize(
    "clips", [torch.zeros(2, 4, 3, 8, 8), torch.zeros(3, 4, 8, 8), torch.zeros(1, 3, 4, 8, 8).int()]
)
def test_other_clips_are_refused(clips):
    with pytest.raises(ValueError, match=r"\[B, 3, T, H, W\] is taken"):
        NEEDS.normalise(clips)
