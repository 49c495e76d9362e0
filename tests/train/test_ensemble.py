"""Weight-space ensembles: a share of each weight that both networks have, and nothing else touched."""

from __future__ import annotations

import json

import pytest
import torch

from model.kinds import build_network
from model.saved import Description
from model.video_text import VideoTextModel
from pipelines.weights import read_weights, write_weights
from tests.support.saved_runs import save_run, towers_with_words
from tests.support.tiny_networks import EVERY_CONFIG, tiny_weights
from tests.support.video_text import build
from train.ensemble import Ensemble, ensemble_with
from train.export import export_run
from train.run_weights import read_run_weights


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The video tower of other weights, in a file."""
    torch.manual_seed(8)
    tower = build(VideoTextModel, towers_with_words()).video
    with torch.no_grad():
        for parameter in tower.parameters():
            parameter.copy_(torch.randn_like(parameter))
    path = tmp_path_factory.mktemp("other") / "tower.safetensors"
    write_weights(path, tower.state_dict(), Description("mm_video_encoder", tower.config).to_metadata())
    return str(path)


def weights_of(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_what_both_have_is_averaged_and_the_rest_stays(place, share):
    network = build(VideoTextModel, towers_with_words())
    before, other = weights_of(network), read_weights(place).tensors
    found = ensemble_with(network, place, share)
    assert set(found.weights) == {f"video.{name}" for name in other}
    for name, value in network.state_dict().items():
        theirs = other.get(name.removeprefix("video."))
        wanted = before[name] if theirs is None else (1 - share) * before[name] + share * theirs
        torch.testing.assert_close(value, wanted, msg=name)


def test_a_run_is_exported_as_an_ensemble(place, tmp_path):
    run = tmp_path / "run"
    network = build(VideoTextModel, towers_with_words())
    save_run(run, "mm_full", towers_with_words(), weights=network.state_dict(), data={"tokenizer": None})
    mixed = Ensemble(place, 0.5).of(read_run_weights(str(run))).weights
    name = "visual.class_embedding"
    theirs = read_weights(place).tensors[name]
    torch.testing.assert_close(mixed[f"video.{name}"], 0.5 * (network.state_dict()[f"video.{name}"] + theirs))
    torch.testing.assert_close(mixed["logit_scale"], network.state_dict()["logit_scale"])
    with pytest.raises(ValueError, match=r"do not go into .*/final: say where, with --out"):
        export_run(str(run), change=Ensemble(place).of)


def test_heads_are_averaged_class_by_class_and_the_export_says_so(tmp_path, caplog):
    """The other run has one class that ours has not, and the others in another order."""
    lists = {"ours": ["cat", "dog", "bee", "owl", "ant"], "other": ["owl", "cat", "fox", "ant", "dog"]}
    heads = {}
    for number, (name, classes) in enumerate(lists.items()):
        kept = tiny_weights("videomae_classifier")
        heads[name] = kept["head.bias"] = torch.arange(5.0) + 10 * number
        save_run(tmp_path / name, "videomae_classifier", weights=kept)
        (tmp_path / name / "classes.txt").write_text("".join(f"{each}\n" for each in classes))
    export_run(str(tmp_path / "ours"), to=str(tmp_path / "mixed"), change=Ensemble(f"{tmp_path}/other", 0.25).of)
    found = read_weights(str(tmp_path / "mixed/model.safetensors")).tensors["head.bias"]
    wanted = [
        0.75 * ours + 0.25 * heads["other"][lists["other"].index(name)] if name in lists["other"] else ours
        for name, ours in zip(lists["ours"], heads["ours"], strict=True)
    ]
    torch.testing.assert_close(found, torch.stack(wanted))
    assert f"| averaged with | 0.25 of {tmp_path}/other, after" in (tmp_path / "mixed/README.md").read_text()
    assert json.loads((tmp_path / "mixed/data.json").read_text())["joined"] == f"0.25 of {tmp_path}/other"
    (tmp_path / "other/classes.txt").unlink()
    ensemble_with(build_network("videomae_classifier", EVERY_CONFIG["videomae_classifier"]), f"{tmp_path}/other")
    assert "mind that the 5 classes are taken to be the same" in caplog.text


def test_what_is_no_ensemble_is_refused(place, tmp_path):
    network = build(VideoTextModel, towers_with_words())
    with pytest.raises(ValueError, match=r"the weight of the ensemble is 1\.5: 0 to 1 is taken"):
        ensemble_with(network, place, 1.5)
    with pytest.raises(ValueError, match=r"no ensemble with .*: a caption_decoder|no ensemble with .*does not start"):
        ensemble_with(network.captioner, place)
