"""A name leads to weights: a run, its export, a checkpoint, a file of ours, a published file."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from model.saved import describe
from pipelines.weights import write_weights
from tests.support.saved_runs import save_run
from tests.support.tiny_networks import CONFIGS, tiny_entries, tiny_network, tiny_weights
from train.clip_needs import ClipNeeds
from train.export import export_run
from train.sources import open_source

KIND = "videomae_classifier"


def same(found, weights):
    assert found.keys() == weights.keys()
    return all(torch.equal(found[name], weights[name]) for name in weights)


def test_a_run_is_its_export_until_it_has_gone_on(tmp_path):
    run = str(tmp_path / "run")
    weights = save_run(run, KIND, step=2)
    assert open_source(run).place.endswith("checkpoints/step-00000002")
    export_run(run)
    found = open_source(f"{run}/")
    assert found.place.endswith("run/final/model.safetensors")
    assert same(found.weights, weights)
    assert (found.description.kind, found.description.config) == (KIND, CONFIGS[KIND])
    save_run(run, KIND, step=4, weights={name: value + 1 for name, value in weights.items()})
    later = open_source(run)
    assert later.place.endswith("checkpoints/step-00000004")
    assert not same(later.weights, weights)


def test_a_checkpoint_and_a_file_of_it_are_that_checkpoint(tmp_path):
    weights = save_run(tmp_path, KIND, step=12)
    save_run(tmp_path, KIND, step=20, weights={name: value + 1 for name, value in weights.items()})
    for name in ("checkpoints/step-00000012", "checkpoints/step-00000012/model.safetensors"):
        found = open_source(f"{tmp_path}/{name}")
        assert same(found.weights, weights)
        assert found.needs == ClipNeeds(4, 2, 16, "dense", "multiscale", "imagenet")


def test_the_average_is_taken_and_said_to_be(tmp_path):
    average = {"head.bias": torch.full((5,), 7.0)}
    save_run(tmp_path, KIND, average=average)
    found = open_source(str(tmp_path))
    assert found.place.endswith("step-00000003 (moving average)")
    assert torch.equal(found.weights["head.bias"], average["head.bias"])


def test_an_export_is_taken_alone(tmp_path):
    weights = save_run(tmp_path / "run", KIND, data={"colours": "half", "sampling": "segment"})
    export_run(str(tmp_path / "run"), to=str(tmp_path / "final"))
    for place in ("final", "final/model.safetensors"):
        found = open_source(f"{tmp_path}/{place}")
        assert same(found.weights, weights)
        assert found.needs == ClipNeeds(4, 2, 16, "segment", "multiscale", "half")
    (tmp_path / "final" / "model.safetensors").write_bytes(b"0" * 100)
    with pytest.raises(ValueError, match=r"model.safetensors is damaged"):
        open_source(f"{tmp_path}/final")


def test_a_file_of_ours_is_enough(tmp_path):
    network = tiny_network("mm_full")
    write_weights(tmp_path / "towers.safetensors", network.state_dict(), describe(network).to_metadata())
    found = open_source(str(tmp_path / "towers.safetensors"))
    assert (found.description.kind, found.folder) == ("mm_full", None)
    assert same(found.weights, network.state_dict())
    weights = tiny_weights("mm_full") | {"more": torch.zeros(1)}
    write_weights(tmp_path / "more.safetensors", weights, describe(network).to_metadata())
    with pytest.raises(ValueError, match=r"does not hold the network that it describes: 1 unknown \(more"):
        open_source(str(tmp_path / "more.safetensors"))


def test_published_files_are_recognised(tmp_path):
    entries = tiny_entries("clip", "mm_full")
    save_file({name: value.contiguous() for name, value in entries.items()}, tmp_path / "clip.safetensors")
    drawn = torch.get_rng_state()
    found = open_source(str(tmp_path / "clip.safetensors"))
    assert torch.equal(torch.get_rng_state(), drawn)
    assert found.description.kind == "mm_full"
    assert "video.visual.transformer.temporal_cls_token" in found.fresh
    assert not set(found.fresh) & set(found.weights)
    torch.save({"model": tiny_entries("videomae", KIND)}, tmp_path / "vit.pth")
    assert open_source(str(tmp_path / "vit.pth")).description.kind == KIND


def test_files_that_run_code_need_trust(tmp_path):
    torch.save({"model": tiny_entries("videomae", KIND), "args": pytest.approx}, tmp_path / "vit.pth")
    with pytest.raises(ValueError, match="if you trust its source"):
        open_source(str(tmp_path / "vit.pth"))
    assert open_source(str(tmp_path / "vit.pth"), trust=True).left_out == {"args": "lies beside the weights"}


def test_what_is_no_place_of_weights_says_what_is(tmp_path):
    with pytest.raises(ValueError, match=r"is no run: it holds neither final/data.json nor checkpoints; taken are"):
        open_source(str(tmp_path / "nothing"))
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match=r"a.safetensors: these keys are not of any layout.*vidloom convert"):
        open_source(str(tmp_path / "a.safetensors"))
