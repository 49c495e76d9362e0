"""Sizes that the presets must have, and sizes that are refused."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from model.config import PRESETS, ClassifierConfig, Grid, VideoMAEConfig, ViTConfig, preset
from model.videomae import VideoMAEClassifier, VideoMAEPretrain


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("name", "depth", "sizes"),
    [
        ("vit_s", 4, (24_029_376, 21_879_936, 2_075_520, 73_728)),
        ("vit_s", 8, (25_808_064, 21_879_936, None, 73_728)),
        ("vit_b", 4, (94_210_944, 86_227_200, 7_688_448, 294_912)),
        ("vit_b", 8, (101_307_264, 86_227_200, None, 294_912)),
        ("vit_l", 12, (342_996_992, 303_860_736, 38_611_456, 524_288)),
        ("vit_l", 4, (317_782_016, 303_860_736, 13_396_480, 524_288)),
        ("vit_h", 8, (658_266_880, 631_607_040, 26_003_968, 655_360)),
        ("vit_h", 4, (645_659_392, 631_607_040, 13_396_480, 655_360)),
    ],
)
def test_pretraining_networks_have_the_published_sizes(name, depth, sizes):
    total, encoder, decoder, between = sizes
    with torch.device("meta"):
        network = VideoMAEPretrain(preset(name, decoder_depth=depth))
    assert parameters(network) == total
    assert parameters(network.encoder) == encoder
    assert decoder is None or parameters(network.decoder) == decoder
    assert parameters(network.encoder_to_decoder) == between


@pytest.mark.parametrize(("name", "depth"), [("vit_s", 4), ("vit_b", 4), ("vit_l", 12), ("vit_h", 8)])
def test_presets_have_the_decoder_depths_of_the_public_scripts(name, depth):
    assert preset(name).decoder_depth == depth


@pytest.mark.parametrize(
    ("name", "classes", "total"),
    [
        ("vit_s", 400, 22_033_936),
        ("vit_s", 710, 22_153_286),
        ("vit_b", 400, 86_534_800),
        ("vit_b", 710, 86_773_190),
        ("vit_l", 400, 304_270_736),
        ("vit_l", 710, 304_588_486),
        ("vit_h", 400, 632_119_440),
        ("vit_h", 710, 632_516_550),
    ],
)
@pytest.mark.parametrize("mean_pooling", [True, False])
def test_classification_networks_have_the_published_sizes(name, classes, total, mean_pooling):
    shared = {field.name: getattr(preset(name), field.name) for field in dataclasses.fields(ViTConfig)}
    with torch.device("meta"):
        network = VideoMAEClassifier(ClassifierConfig(**shared, classes=classes, mean_pooling=mean_pooling))
    assert parameters(network) == total


def test_tiny_is_small_enough_for_a_cpu():
    with torch.device("meta"):
        assert parameters(VideoMAEPretrain(preset("vit_tiny"))) < 3_000_000


def test_grid_counts_slots_rows_and_columns():
    config = ViTConfig(image_size=(32, 48), frames=6, patch_size=8, tubelet=3)
    assert config.grid == Grid(2, 4, 6)
    assert config.grid.tokens == 48
    assert config.cube_values == 3 * 3 * 8 * 8


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"frames": 7}, "frames is 7 and tubelet 2"),
        ({"image_size": (224, 220)}, "224x220 pixels and patch_size 16"),
        ({"image_size": (0, 224)}, "0x224"),
        ({"heads": 7}, "width is 768 and heads 7"),
        ({"decoder_heads": 5}, "decoder_width is 384 and decoder_heads 5"),
        ({"depth": 0}, "depth is 0"),
        ({"decoder_depth": -1}, "decoder_depth is -1"),
        ({"drop_path": 1.0}, "drop_path is 1.0"),
    ],
)
def test_sizes_that_do_not_fit_are_refused_by_name(changes, named):
    with pytest.raises(ValueError, match=named):
        VideoMAEConfig(**changes)


def test_a_classifier_needs_classes_and_a_sane_dropout():
    with pytest.raises(ValueError, match="classes is 0"):
        ClassifierConfig(classes=0)
    with pytest.raises(ValueError, match=r"head_dropout is 1\.5"):
        ClassifierConfig(head_dropout=1.5)


def test_presets_take_overrides_and_refuse_unknown_names():
    assert preset("vit_b", frames=8).frames == 8
    assert PRESETS["vit_b"].frames == 16
    with pytest.raises(ValueError, match=r"unknown model 'vit_x'.*vit_tiny"):
        preset("vit_x")
    with pytest.raises(TypeError, match="colour"):
        preset("vit_b", colour="red")
