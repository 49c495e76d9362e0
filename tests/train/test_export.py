"""A run's network as a folder of its own: whole, described, with a page that tells what it is."""

from __future__ import annotations

import json

import pytest
import torch

from model.saved import load_model
from pipelines.weights import read_weights
from shards.store import open_store
from tests.support.saved_runs import DIGEST, save_run, tiny_words, towers_with_words
from tests.support.tiny_networks import CONFIGS, EVERY_CONFIG
from train import export
from train.export import export_run
from train.run_files import keep_run_files

LINES = [
    {"step": 2, "loss": 3.5, "loss/contrastive": 2.5},
    {"step": 3, "loss": 1.25, "lr": 1.0},
    {"step": 4, "loss": 9.0},
]


@pytest.mark.parametrize("kind", ["videomae_pretrain", "videomae_classifier", "uniformerv2", "coordination"])
def test_the_weights_are_a_file_of_ours(tmp_path, kind):
    weights = save_run(tmp_path, kind)
    written = export_run(str(tmp_path))
    assert written.place == f"{tmp_path}/final"
    assert sorted(written.files) == sorted(path.name for path in (tmp_path / "final").iterdir())
    network = load_model(read_weights(tmp_path / "final" / "model.safetensors"))
    assert network.config == EVERY_CONFIG[kind]
    assert all(torch.equal(value, weights[name]) for name, value in network.state_dict().items())


def test_the_folder_says_what_the_network_takes(tmp_path):
    save_run(tmp_path, "uniformerv2", data={"colours": "half", "sampling": "segment", "crop": "random_resized"})
    export_run(str(tmp_path))
    about = json.loads((tmp_path / "final" / "data.json").read_text())
    assert about["data"] == {
        "frames": 4,
        "stride": 2,
        "size": 16,
        "sampling": "segment",
        "crop": "random_resized",
        "colours": "half",
        "rate": 2.0,
        "resample": "bilinear",
    }
    assert (about["kind"], about["stage"], about["step"], about["digests"]) == ("uniformerv2", "sft", 3, [DIGEST])
    assert about["files"]["README.md"]["bytes"] == (tmp_path / "final" / "README.md").stat().st_size


def test_the_page_tells_what_it_is(tmp_path):
    save_run(tmp_path, "videomae_classifier", init={"model": "runs/mvm", "trust": False})
    keep_run_files(open_store(tmp_path), classes=tuple("abcde"))
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in LINES))
    export_run(str(tmp_path))
    page = (tmp_path / "final" / "README.md").read_text()
    for told in (
        "# videomae_classifier after 3 steps of stage sft",
        "| samples | 12 |",
        f"| digest of the data | {DIGEST} |",
        "| trained on | s3://corpus/clips |",
        "| loss at the end | loss 1.25 |",
        "| began with | model: runs/mvm |",
        "| classes | 5, named in classes.txt |",
        "those of the last step",
        "load_model(",
        "## Licence",
        '"head_scale": 0.001',
    ):
        assert told in page
    assert (tmp_path / "final" / "classes.txt").read_text() == "a\nb\nc\nd\ne\n"


def test_towers_take_their_vocabulary_with_them(tmp_path):
    save_run(tmp_path, "mm_full", towers_with_words())
    with pytest.raises(ValueError, match=r"no tokenizer.json and data.tokenizer is null"):
        export_run(str(tmp_path))
    assert not (tmp_path / "final").exists()
    keep_run_files(open_store(tmp_path), tokenizer=tiny_words())
    assert "tokenizer.json" in export_run(str(tmp_path)).files
    assert (tmp_path / "final" / "tokenizer.json").read_text() == tiny_words().to_json()


def test_a_vocabulary_that_was_named_is_found(tmp_path):
    (tmp_path / "words.json").write_text(tiny_words().to_json())
    save_run(tmp_path / "run", "mm_full", towers_with_words(), data={"tokenizer": str(tmp_path / "words.json")})
    assert "tokenizer.json" in export_run(str(tmp_path / "run")).files


def test_a_step_an_average_and_a_place_can_be_chosen(tmp_path):
    weights = save_run(tmp_path / "run", "videomae_classifier", step=2, average={"head.bias": torch.full((5,), 7.0)})
    save_run(tmp_path / "run", "videomae_classifier", step=5)
    kept = export_run(str(tmp_path / "run"), step=2, to=str(tmp_path / "kept"))
    plain = export_run(str(tmp_path / "run"), step=2, average=False, to=str(tmp_path / "plain"))
    assert (kept.step, kept.averaged, plain.averaged) == (2, True, False)
    assert torch.equal(read_weights(f"{kept.place}/model.safetensors").tensors["head.bias"], torch.full((5,), 7.0))
    assert torch.equal(read_weights(f"{plain.place}/model.safetensors").tensors["head.bias"], weights["head.bias"])
    assert "moving average" in (tmp_path / "kept" / "README.md").read_text()


def test_the_same_checkpoint_gives_the_same_bytes(tmp_path):
    save_run(tmp_path, "videomae_classifier")
    places = [tmp_path / name for name in ("one", "two")]
    for place in places:
        export_run(str(tmp_path), to=str(place))
    for path in places[0].iterdir():
        assert path.read_bytes() == (places[1] / path.name).read_bytes(), path.name


def test_a_full_disk_leaves_the_earlier_export(tmp_path, monkeypatch):
    save_run(tmp_path, "videomae_classifier", step=2)
    export_run(str(tmp_path))
    save_run(tmp_path, "videomae_classifier", step=4)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(export, "model_card", full)
    with pytest.raises(OSError, match="No space left"):
        export_run(str(tmp_path))
    assert json.loads((tmp_path / "final" / "data.json").read_text())["step"] == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoints", "final"]


def test_weights_of_another_network_are_not_passed_on(tmp_path):
    weights = save_run(tmp_path / "other", "videomae_classifier")
    del weights["head.bias"]
    save_run(tmp_path / "run", "videomae_classifier", CONFIGS["videomae_classifier"], weights=weights)
    with pytest.raises(
        ValueError, match=r"does not hold the network that its settings describe: 1 missing \(head.bias"
    ):
        export_run(str(tmp_path / "run"))
