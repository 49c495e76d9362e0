"""Weights files are written whole or not at all, read back to the bit, and refused where they are damaged."""

from __future__ import annotations

import os
import stat

import pytest
import torch

from model.saved import describe, load_model
from pipelines.weights import publish, read_weights, write_weights
from shards.store import NotFoundError
from tests.support.tiny_networks import tiny_network


def tensors():
    table = torch.arange(12.0).view(3, 4)
    return {"table": table, "row": table[1], "turned": table.t(), "half": table.half(), "count": torch.tensor(3)}


def test_tensors_come_back_with_their_text(tmp_path):
    write_weights(tmp_path / "a.safetensors", tensors(), {"kind": "x"})
    found = read_weights(tmp_path / "a.safetensors")
    assert found.metadata == {"kind": "x"}
    assert found.source == str(tmp_path / "a.safetensors")
    for name, value in tensors().items():
        assert found.tensors[name].dtype == value.dtype
        assert torch.equal(found.tensors[name], value)


def test_a_file_alone_is_enough_for_a_network(tmp_path):
    network = tiny_network("clip_text")
    write_weights(tmp_path / "text.safetensors", network.state_dict(), describe(network).to_metadata())
    loaded = load_model(read_weights(tmp_path / "text.safetensors"))
    ids = torch.tensor([[1, 5, 39, 0]])
    assert torch.equal(loaded(ids).embedded, network(ids).embedded)


def test_folders_are_made_and_others_may_read(tmp_path):
    before = os.umask(0o022)
    try:
        write_weights(tmp_path / "new/a.safetensors", tensors())
    finally:
        os.umask(before)
    path = tmp_path / "new/a.safetensors"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert [each.name for each in path.parent.iterdir()] == ["a.safetensors"]


def test_a_failure_leaves_what_was_there(tmp_path):
    path = tmp_path / "a.safetensors"
    write_weights(path, tensors())
    before = path.read_bytes()
    with pytest.raises(ZeroDivisionError), publish(path) as scratch:
        scratch.write_bytes(b"half" * (1 // 0))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-1], lambda data: data[:20], lambda data: b"", lambda data: b"x" * 99]
)
def test_damaged_files_are_refused_by_name(tmp_path, damage):
    path = tmp_path / "a.safetensors"
    write_weights(path, tensors())
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=r"a\.safetensors is no whole safetensors file"):
        read_weights(path)


def test_absent_files_are_named(tmp_path):
    with pytest.raises(NotFoundError, match=r"none\.safetensors"):
        read_weights(tmp_path / "none.safetensors")


def test_buckets_hold_weights_too(object_store):
    place = f"{object_store.make_bucket('weights')}/folder/a.safetensors"
    write_weights(place, tensors(), {"kind": "x"})
    found = read_weights(place)
    assert found.source == place
    assert torch.equal(found.tensors["turned"], tensors()["turned"])
