"""A run's own checkpoint: the network below ``model``, the rest left by name, read and never written."""

from __future__ import annotations

import pytest
import torch

from model.layouts import read_checkpoint, write_checkpoint
from model.run_layout import RunLayout
from tests.support.tiny_networks import CONFIGS, tiny_weights

FRAMES = {"video": {"frames": 4}}
GIVEN = {"videomae_pretrain": {"image_size": [16, 24], "frames": 4}, "mm_full": FRAMES, "mm_vqa": FRAMES}


def run_entries(kind):
    return {f"model.{name}": value for name, value in tiny_weights(kind).items()}


@pytest.mark.parametrize("kind", RunLayout.reads)
def test_each_stages_network_is_read(kind):
    ours = tiny_weights(kind)
    reading = read_checkpoint(run_entries(kind), given=GIVEN[kind])
    assert (reading.layout, reading.kind, reading.config) == ("run", kind, CONFIGS[kind])
    assert (set(reading.used), reading.left, reading.fresh) == ({f"model.{name}" for name in ours}, {}, ())
    assert all(torch.equal(reading.weights[name], value) for name, value in ours.items())


@pytest.mark.parametrize("kind", RunLayout.reads)
@pytest.mark.parametrize("fault", ["missing", "extra", "misshapen"])
def test_each_faulty_key_is_named_with_its_prefix(kind, fault):
    entries = run_entries(kind)
    name = next(reversed(entries))
    shape = list(entries[name].shape)
    if fault == "missing":
        del entries[name]
        message = rf"1 missing \({name} "
    elif fault == "extra":
        entries["model.surprise"] = torch.zeros(3)
        message = r"1 unknown \(model\.surprise \[3\]\)"
    else:
        entries[name] = torch.zeros(*shape, 2)
        message = f"{name} "
    with pytest.raises(ValueError, match=message):
        read_checkpoint(entries, given=GIVEN[kind])


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (["model.encoder.norm.bias"], "videomae_pretrain"),
        (["mean", "model.video.visual_proj"], "mm_full"),
        (["model.video.visual_proj", "model.vqa_classifier.5.bias"], "mm_vqa"),
        (["model.blocks.0.norm1.bias"], None),
        (["encoder.norm.bias"], None),
    ],
)
def test_stages_are_told_by_their_towers(names, kind):
    assert RunLayout().kind_of(names) == kind


def test_a_size_that_cannot_be_told_is_named_with_its_prefix():
    entries = run_entries("mm_full")
    del entries["model.text.token_embedding.weight"]
    with pytest.raises(ValueError, match=r"model\.text\.token_embedding\.weight is missing"):
        read_checkpoint(entries)


def test_runs_checkpoints_are_not_written():
    with pytest.raises(ValueError, match="the layout run is read, and not written"):
        write_checkpoint("run", "mm_full", CONFIGS["mm_full"], tiny_weights("mm_full"))


def test_a_runs_checkpoint_is_read():
    ours = tiny_weights("mm_full")
    reading = read_checkpoint({f"model.{name}": value for name, value in ours.items()} | {"mean": torch.zeros(3)})
    assert (reading.layout, reading.kind) == ("run", "mm_full")
    assert reading.left == {"mean": "is of the stage, not of its network"}
    assert all(torch.equal(reading.weights[name], value) for name, value in ours.items())
