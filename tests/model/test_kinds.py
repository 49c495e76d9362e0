"""The kinds of networks: built by name, their configurations to plain values and back."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from model.answering import VideoQuestionAnswering
from model.clip_config import AnsweringConfig, TextConfig, UniFormerConfig, VideoTextConfig
from model.config import ClassifierConfig, Grid
from model.kinds import KINDS, build_network, config_of, find_kind
from model.plain import config_from_plain, config_to_plain
from tests.support.tiny_networks import CONFIGS, EVERY_CONFIG


@pytest.mark.parametrize("kind", KINDS)
def test_configurations_survive_json(kind):
    plain = json.loads(json.dumps(config_to_plain(EVERY_CONFIG[kind])))
    assert config_from_plain(find_kind(kind).config, plain) == EVERY_CONFIG[kind]


def test_optional_parts_survive_json():
    config = ClassifierConfig(base_grid=Grid(8, 14, 14))
    assert config_from_plain(ClassifierConfig, json.loads(json.dumps(config_to_plain(config)))) == config
    towers = VideoTextConfig(captioner=None)
    assert config_from_plain(VideoTextConfig, json.loads(json.dumps(config_to_plain(towers)))) == towers


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_built_of_its_configuration(kind):
    network = build_network(kind, EVERY_CONFIG[kind])
    assert type(network) is KINDS[kind].network
    assert network.config == EVERY_CONFIG[kind]
    assert config_of(kind, network) == EVERY_CONFIG[kind]


def test_a_classifier_over_answers_tells_its_sizes_whatever_it_was_built_of():
    network = VideoQuestionAnswering(CONFIGS["mm_full"], 6, dropout=0.25)
    assert config_of("mm_vqa", network) == replace(CONFIGS["mm_vqa"], answer_dropout=0.25)
    built = build_network("mm_vqa", replace(CONFIGS["mm_vqa"], answers=3, answer_dropout=0.0))
    assert (built.vqa_classifier[5].out_features, built.vqa_classifier[0].p) == (3, 0.0)


def test_absent_fields_keep_their_defaults_and_one_edge_is_a_square():
    config = config_from_plain(UniFormerConfig, {"image_size": 32, "global_mlp_ratio": 4, "local": "single"})
    assert config == UniFormerConfig(image_size=(32, 32), local="single")
    assert isinstance(config.global_mlp_ratio, float)


@pytest.mark.parametrize(
    ("config", "plain", "message"),
    [
        (TextConfig, {"colour": 3}, "there is no colour; fields are vocabulary, context,"),
        (TextConfig, {"depth": "many"}, "depth is 'many': a value of type int is taken"),
        (TextConfig, {"depth": True}, "depth is True"),
        (TextConfig, {"depth": 2.5}, "depth is 2.5"),
        (UniFormerConfig, {"frozen": 1}, "frozen is 1: a value of type bool is taken"),
        (UniFormerConfig, {"image_size": [16, 16, 16]}, "image_size is .*: 2 whole numbers are taken"),
        (UniFormerConfig, {"global_blocks": "last"}, "global_blocks is 'last': a list of whole numbers are taken"),
        (UniFormerConfig, {"local": 3}, "local is 3: a value of type str is taken"),
        (UniFormerConfig, {"local": "triple"}, "none, single, double"),
        (AnsweringConfig, {"answers": 0}, "answers is 0"),
        (AnsweringConfig, {"answer_dropout": 1}, "answer_dropout is 1.0: it must be at least 0 and below 1"),
        (AnsweringConfig, {"captioner": None}, "captioner is None: question answering reads its features"),
        (AnsweringConfig, {"text": {"embed_width": 7}}, "video.embed_width is 512 and text.embed_width 7"),
        (VideoTextConfig, {"text": 3}, "text is 3: its fields are taken, by name"),
        (VideoTextConfig, {"text": {"colour": 3}}, "there is no text.colour"),
    ],
)
def test_wrong_fields_are_refused_by_name(config, plain, message):
    with pytest.raises(ValueError, match=message):
        config_from_plain(config, plain)


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match=r"cannot build a 'vit': supported are videomae_pretrain,"):
        build_network("vit", None)
