"""Tokens by time slot, against what the networks' own features are made of."""

from __future__ import annotations

import pytest
import torch

from tests.support.evaluated import EVERY_CONFIG
from tests.support.tiny_networks import tiny_network
from train.clip_features import clip_features
from train.evaluate.tokens import clip_tokens, frame_features, slot_tokens

SLOTS = {"videomae_pretrain": 2, "videomae_classifier": 2, "uniformerv2": 4, "mm_full": 4}


def clips(kind):
    wide = kind.startswith("videomae")
    return torch.randn(2, 3, 4, 16, 24 if wide else 16, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
@pytest.mark.parametrize("kind", SLOTS)
def test_slots_in_the_order_of_time(kind):
    network, video = tiny_network(kind), clips(kind)
    tokens = slot_tokens(network, video)
    assert tokens.shape[:2] == (2, SLOTS[kind])
    torch.testing.assert_close(clip_tokens(network, video), tokens.flatten(1, 2))
    torch.testing.assert_close(slot_tokens(network, video[1:]), tokens[1:])
    assert frame_features(network, video).shape == (2, SLOTS[kind], tokens.shape[-1])


@torch.no_grad()
def test_they_are_what_features_are_made_of():
    pretrain, classifier = tiny_network("videomae_pretrain"), tiny_network("videomae_classifier")
    video = clips("videomae_pretrain")
    torch.testing.assert_close(clip_tokens(pretrain, video).mean(dim=1), clip_features(pretrain, video))
    torch.testing.assert_close(frame_features(pretrain, video).mean(dim=1), clip_features(pretrain, video))
    pooled = classifier.fc_norm(clip_tokens(classifier, video).mean(dim=1))
    torch.testing.assert_close(pooled, clip_features(classifier, video))
    towers = tiny_network("mm_full")
    video = clips("mm_full")
    torch.testing.assert_close(frame_features(towers, video), towers.encode_video(video).tokens[:, :, 0])


def test_networks_of_several_encoders_have_none():
    network = tiny_network("coordination", EVERY_CONFIG["coordination"])
    with pytest.raises(ValueError, match="a CoordinatedClassifier has no tokens of one video encoder"):
        slot_tokens(network, torch.zeros(1, 3, 4, 16, 16))
