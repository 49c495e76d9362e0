"""The network of a run: the newest checkpoint or a chosen one, the weights or their average."""

from __future__ import annotations

import pytest
import torch

from tests.support.saved_runs import save_run
from tests.support.tiny_networks import CONFIGS, tiny_weights
from train.run_weights import describe_model, newest_step, read_run_weights


def test_the_newest_checkpoint_is_read_or_that_of_a_step(tmp_path):
    first = save_run(tmp_path, "videomae_classifier", step=2)
    second = {name: value + 1 for name, value in first.items()}
    save_run(tmp_path, "videomae_classifier", step=5, weights=second)
    assert newest_step(str(tmp_path)) == 5
    found = read_run_weights(str(tmp_path))
    assert (found.state.step, found.averaged) == (5, False)
    assert (found.description.kind, found.description.config) == ("videomae_classifier", CONFIGS["videomae_classifier"])
    assert found.weights.keys() == second.keys()
    assert all(torch.equal(found.weights[name], second[name]) for name in second)
    older = read_run_weights(str(tmp_path), 2)
    assert all(torch.equal(older.weights[name], first[name]) for name in first)


def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(ValueError, match=r"holds no checkpoint$"):
        read_run_weights(str(tmp_path))
    assert newest_step(str(tmp_path)) is None
    save_run(tmp_path, "videomae_classifier", step=2)
    with pytest.raises(ValueError, match="no checkpoint of step 4; there are those of steps 2"):
        read_run_weights(str(tmp_path), 4)
    with pytest.raises(ValueError, match=r"no moving average of the weights: the run kept none \(train.ema\)"):
        read_run_weights(str(tmp_path), average=True)


def test_the_average_stands_for_the_weights_where_there_is_one(tmp_path):
    weights = tiny_weights("uniformerv2")
    average = {name: value + 2 for name, value in weights.items() if name.startswith("transformer.proj.")}
    save_run(tmp_path, "uniformerv2", average=average)
    found = read_run_weights(str(tmp_path))
    assert found.averaged
    for name, value in (weights | average).items():  # what is frozen has no average
        assert torch.equal(found.weights[name], value), name
    plain = read_run_weights(str(tmp_path), average=False)
    assert not plain.averaged
    assert all(torch.equal(plain.weights[name], weights[name]) for name in weights)


def test_runs_that_name_no_kind_are_masked_autoencoders():
    about = describe_model({"image_size": [32, 32], "width": 24, "heads": 2, "depth": 1})
    assert (about.kind, about.config.width, about.config.image_size) == ("videomae_pretrain", 24, (32, 32))
    with pytest.raises(ValueError, match=r"there is no model.colour"):
        describe_model({"kind": "uniformerv2", "colour": 3})
