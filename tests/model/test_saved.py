"""A weights file of ours says what it holds, and nothing else is needed to load it."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from model.answering import VideoQuestionAnswering
from model.saved import FIELD, Description, describe, is_described, load_model
from tests.support.tiny_networks import CONFIGS, EVERY_CONFIG, randomize, tiny_network


@dataclass(frozen=True)
class Stored:
    """A file that was read."""

    metadata: dict
    tensors: dict
    source: str = "here.safetensors"


def stored(kind):
    network = tiny_network(kind)
    return Stored(describe(network).to_metadata(), network.state_dict())


@pytest.mark.parametrize("kind", EVERY_CONFIG)
def test_a_file_is_enough_to_load_its_network(kind):
    file = stored(kind)
    assert is_described(file.metadata)
    network = load_model(file)
    assert not network.training
    assert network.config == EVERY_CONFIG[kind]
    assert all(torch.equal(value, file.tensors[name]) for name, value in network.state_dict().items())


def test_a_classifier_built_by_hand_is_described_with_its_answers():
    network = randomize(VideoQuestionAnswering(CONFIGS["mm_full"], 11)).eval()
    again = load_model(Stored(describe(network).to_metadata(), network.state_dict()))
    assert again.vqa_classifier[5].out_features == 11
    video, ids = torch.ones(1, 3, 4, 16, 16), torch.tensor([[5, 39]])
    with torch.no_grad():
        assert torch.equal(again(video, ids), network(video, ids))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "has version 2; this code reads version 1"),
        ({"kind": "vit"}, "damaged: cannot build a 'vit'"),
        ({"kind": ["vit"]}, "the description in here.safetensors is damaged"),
        ({"config": [1]}, "damaged"),
        ({"config": {"width": 0}}, "width is 0"),
    ],
)
def test_a_wrong_description_is_refused(change, message):
    file = stored("clip_text")
    with pytest.raises(ValueError, match=message):
        load_model(Stored({FIELD: json.dumps(json.loads(file.metadata[FIELD]) | change)}, file.tensors))


def test_a_description_without_a_field_is_refused():
    about = json.loads(stored("clip_text").metadata[FIELD])
    del about["kind"]
    with pytest.raises(ValueError, match="damaged: 'kind'"):
        Description.from_metadata({FIELD: json.dumps(about)}, source="here")


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"format": "pt"}, "here does not say what network it holds"),
        ({FIELD: "{"}, "damaged"),
        ({FIELD: "[]"}, "damaged"),
    ],
)
def test_files_without_a_description_are_refused(metadata, message):
    with pytest.raises(ValueError, match=message):
        Description.from_metadata(metadata, source="here")


def test_tensors_of_another_network_are_named():
    file = stored("clip_text")
    tensors = {**file.tensors, "ln_final.bias": torch.zeros(3), "more": torch.zeros(2)}
    del tensors["ln_final.weight"]
    wrong = (
        r"1 missing \(ln_final.weight \[64\]\), 1 unknown \(more \[2\]\), "
        r"1 of another shape \(ln_final.bias is \[3\] and should be \[64\]\)"
    )
    with pytest.raises(ValueError, match=wrong):
        load_model(Stored(file.metadata, tensors))


def test_other_networks_have_no_description():
    with pytest.raises(ValueError, match="a Linear is none of the networks"):
        describe(nn.Linear(2, 2))
