"""The fields of towers read off shapes: places of blocks, widths that no weight tells, parts that are absent."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from model.clip_config import VIDEO_TEXT_PRESETS, AnsweringConfig
from model.inferred_configs import infer_config
from model.kinds import build_network
from tests.support.tiny_networks import CONFIGS, tiny_weights


@pytest.mark.parametrize("reduction", [1.5, 2.0, 1.3, 7.0])
def test_local_reductions_survive_rounding(reduction):
    config = replace(CONFIGS["uniformerv2"], local="single", local_reduction=reduction)
    inferred = infer_config("uniformerv2", tiny_weights("uniformerv2", config), {}).config
    assert (inferred.local, inferred.local_width) == ("single", config.local_width)


def test_global_blocks_are_the_last_unless_given():
    weights = tiny_weights("uniformerv2", replace(CONFIGS["uniformerv2"], global_blocks=(0, 2)))
    inferred = infer_config("uniformerv2", weights, {})
    assert inferred.config.global_blocks == (1, 2)
    assert inferred.assumed == {"image_size": [16, 16], "frames": 8, "heads": 1, "global_blocks": [1, 2]}
    given = infer_config("uniformerv2", weights, {"global_blocks": [0, 2]})
    assert given.config.global_blocks == (0, 2)
    assert "global_blocks" not in given.assumed


def test_a_captioner_that_is_given_as_none_is_none():
    weights = {name: value for name, value in tiny_weights("mm_full").items() if not name.startswith("captioner.")}
    given = {"video": {"frames": 4}, "captioner": None}
    assert infer_config("mm_full", weights, given).config == replace(CONFIGS["mm_full"], captioner=None)


@pytest.mark.parametrize(
    ("given", "width", "assumed"),
    [
        ({}, 64, {"video.embed_width": 64, "text.embed_width": 64}),
        ({"video": {"embed_width": 9}}, 9, {"text.embed_width": 9}),
        ({"text": {"embed_width": 9}}, 9, {"video.embed_width": 9}),
        ({"video": {"embed_width": 9}, "text": {"embed_width": 9}}, 9, {}),
    ],
)
def test_a_shared_width_that_no_weight_tells_is_the_texts_or_given(given, width, assumed):
    weights = tiny_weights("mm_vqa")
    del weights["video.visual_proj"], weights["text.text_projection"]
    inferred = infer_config("mm_vqa", weights, given)
    assert (inferred.config.video.embed_width, inferred.config.text.embed_width) == (width, width)
    assert {name: value for name, value in inferred.assumed.items() if name.endswith("embed_width")} == assumed


@pytest.mark.parametrize("preset", VIDEO_TEXT_PRESETS)
def test_published_sizes_of_question_answering_need_no_width(preset):
    towers = VIDEO_TEXT_PRESETS[preset]
    config = AnsweringConfig(towers.video, towers.text, towers.captioner, answers=1001)
    with torch.device("meta"):
        weights = build_network("mm_vqa", config).state_dict()
        del weights["video.visual_proj"], weights["text.text_projection"]
        inferred = infer_config("mm_vqa", weights, {"video": {"frames": towers.video.frames}})
    assert inferred.config == config
