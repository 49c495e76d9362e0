"""Where the modules of cross-model attention sit by default, what does not fit, and what they add."""

from __future__ import annotations

from dataclasses import replace

import pytest

from model.clip_config import UniFormerClassifierConfig
from model.config import ClassifierConfig
from model.coordination_config import (
    COORDINATION_PRESETS,
    CoordinationConfig,
    coordination_preset,
    count_additions,
)

MASKED = ClassifierConfig(width=128, depth=12, heads=2, classes=7)
MULTIMODAL = UniFormerClassifierConfig(width=192, depth=12, heads=3, classes=7)
CONFIG = CoordinationConfig(MASKED, (MULTIMODAL,))


def test_stages_are_spread_evenly_and_end_with_the_last_block():
    assert CONFIG.stage_places == (2, 5, 8, 11)
    assert CONFIG.stage_sources(0) == (8, 9, 10, 11)
    assert coordination_preset("internvideo_d").stage_places == (7, 15, 23, 31)
    few = replace(CONFIG, masked=replace(MASKED, depth=2))
    assert few.stage_places == (0, 1)
    assert few.stage_sources(0) == (9, 11)


def test_an_encoder_with_other_global_blocks_is_spread_over_the_same_places():
    many = replace(MULTIMODAL, global_blocks=tuple(range(4, 12)))
    one = replace(MULTIMODAL, global_blocks=(6,))
    config = replace(CONFIG, multimodal=(MULTIMODAL, many, one))
    assert config.stage_places == (2, 5, 8, 11)
    assert config.stage_sources(1) == (5, 7, 9, 11)
    assert config.stage_sources(2) == (6, 6, 6, 6)


def test_places_and_sources_can_be_chosen():
    config = replace(CONFIG, places=(3, 4), sources=(0, 7))
    assert (config.stage_places, config.stage_sources(0)) == ((3, 4), (0, 7))


@pytest.mark.parametrize(
    ("named", "change"),
    [
        ("multimodal is empty", {"multimodal": ()}),
        ("masked.mean_pooling is off", {"masked": replace(MASKED, mean_pooling=False)}),
        (r"masked.classes is 7 and multimodal\[0\].classes 8", {"multimodal": (replace(MULTIMODAL, classes=8),)}),
        ("an encoder's width is 128 and head_width 48", {"head_width": 48}),
        ("head_width is 0", {"head_width": 0}),
        ("dropout is 1.0", {"dropout": 1.0}),
        ("mlp_ratio is 0.001", {"mlp_ratio": 0.001}),
        ("gate is 'sigmoid': one of scalar, channel", {"gate": "sigmoid"}),
        ("places is \\(\\) and masked.depth 12", {"places": ()}),
        ("places is \\(3, 3\\)", {"places": (3, 3)}),
        ("places is \\(3, 12\\)", {"places": (3, 12)}),
        ("sources is \\(1,\\) and places", {"sources": (1,)}),
        ("sources is \\(0, 1, 2, 12\\)", {"sources": (0, 1, 2, 12)}),
    ],
)
def test_what_does_not_fit_is_named(named, change):
    with pytest.raises(ValueError, match=named):
        replace(CONFIG, **change)


def test_additions_grow_with_the_encoders_and_the_ratio():
    one, two = (count_additions(replace(CONFIG, multimodal=(MULTIMODAL,) * number)) for number in (1, 2))
    assert two.parameters - 3 == 2 * (one.parameters - 2)
    assert two.multiply_accumulates == 2 * one.multiply_accumulates
    thin = count_additions(replace(CONFIG, mlp_ratio=1.0))
    assert one.parameters - thin.parameters == 4 * 3 * (2 * 128 * 128 + 128) + 3 * (2 * 192 * 192 + 192)
    assert count_additions(replace(CONFIG, gate="channel")).parameters == one.parameters + 2 * (4 * 127 + 191)


def test_additions_of_the_published_pairings():
    """The figures that the decision note gives."""
    added = {name: count_additions(config) for name, config in COORDINATION_PRESETS.items()}
    assert {name: each.parameters for name, each in added.items()} == {
        "coordination_tiny": 1_335_752,
        "internvideo_d": 89_219_596,
        "internvideo_t": 178_439_191,
    }
    assert added["internvideo_d"].multiply_accumulates == 161_455_079_424


def test_an_unknown_preset_is_named():
    assert coordination_preset("coordination_tiny", dropout=0.5).dropout == 0.5
    with pytest.raises(ValueError, match="unknown model 'internvideo_x': known are coordination_tiny"):
        coordination_preset("internvideo_x")
