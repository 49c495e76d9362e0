"""The page beside exported weights: what it draws from a run's state, and what it leaves open."""

from __future__ import annotations

import pytest

from model.saved import Description
from tests.support.tiny_networks import EVERY_CONFIG
from train.clip_needs import ClipNeeds
from train.model_card import CardFacts, data_digests, model_card
from train.state import TrainState


def card(kind, stage, **changes):
    settings = {"stage": stage, "data": {"train": "clips", "images": "pictures"}}
    facts = {
        "state": TrainState(settings, 1200, 4800, {"video": {"digests": ["a", "b"]}, "images": {"digests": ["c"]}}),
        "description": Description(kind, EVERY_CONFIG[kind]),
        "needs": ClipNeeds(4, 2, 16, "dense", "multiscale", "imagenet"),
        "parameters": 12345,
        "averaged": True,
        "losses": {},
        "classes": None,
    }
    return model_card(CardFacts(**facts | changes))


def test_digests_are_found_in_any_loader_s_state():
    assert data_digests({"digests": ["a"], "settings": {"frames": 4}}) == ["a"]
    assert data_digests({"video": {"digests": ["a", "b"]}, "images": {"digests": ["c"]}}) == ["a", "b", "c"]
    assert data_digests(None) == []


@pytest.mark.parametrize(
    ("kind", "stage", "use"),
    [
        ("videomae_pretrain", "mvm", "features = model.encode_video(clips)"),
        ("mm_full", "vlc", 'model.encode_text(["a dog"])'),
        ("videomae_classifier", "sft", "model.classify(clips)"),
        ("coordination", "cma", "model.classify(clips)"),
    ],
)
def test_each_kind_says_how_it_is_used(kind, stage, use):
    page = card(kind, stage)
    assert page.startswith(f"# {kind} after 1,200 steps of stage {stage}\n")
    assert use in page
    for row in (
        "| weights | the moving average of those of the steps |",
        "| trained on | clips, pictures |",
        "| digest of the data | a, b, c |",
        "| loss at the end | not known |",
        "12,345 parameters",
    ):
        assert row in page
    assert "classes.txt" not in page


def test_losses_and_classes_are_told_where_there_are_any():
    page = card("uniformerv2", "sft", losses={"loss": 1.25, "loss/classification": 1.25}, classes=400)
    assert "| loss at the end | loss 1.25, loss/classification 1.25 |" in page
    assert "| classes | 400, named in classes.txt |" in page
