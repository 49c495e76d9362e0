"""Checkpoint files are told apart by what is in them, and no code of theirs runs unasked."""

from __future__ import annotations

import argparse
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from pipelines.foreign_files import read_foreign, write_torch
from shards.store import NotFoundError


class Bomb:
    """An object whose unpickling creates a file."""

    def __init__(self, proof):
        self.proof = proof

    def __reduce__(self):
        return Path.touch, (self.proof,)


def weights():
    return {"a": torch.arange(300.0), "b": {"c": torch.ones(2)}}


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize("trust", [True, False])
def test_torch_files_are_read(tmp_path, new, trust):
    torch.save(weights(), tmp_path / "x.pth", _use_new_zipfile_serialization=new)
    found = read_foreign(tmp_path / "x.pth", trust=trust)
    assert torch.equal(found["a"], weights()["a"])
    assert torch.equal(found["b"]["c"], torch.ones(2))


def test_what_is_written_is_read(tmp_path):
    write_torch(tmp_path / "x.ckpt", {"state_dict": weights()["b"]})
    assert torch.equal(read_foreign(tmp_path / "x.ckpt", trust=False)["state_dict"]["c"], torch.ones(2))


def test_safetensors_are_known_whatever_their_name(tmp_path):
    save_file({"a": torch.ones(3)}, tmp_path / "x.bin")
    assert torch.equal(read_foreign(tmp_path / "x.bin", trust=False)["a"], torch.ones(3))


@pytest.mark.parametrize("new", [True, False])
def test_a_namespace_needs_trust(tmp_path, new):
    path = tmp_path / "x.pth"
    torch.save({"model": weights(), "args": argparse.Namespace(lr=3)}, path, _use_new_zipfile_serialization=new)
    with pytest.raises(ValueError, match=r"x\.pth holds more than tensors: to read its argparse\.Namespace.*--trust"):
        read_foreign(path, trust=False)
    assert read_foreign(path, trust=True)["args"].lr == 3


@pytest.mark.parametrize("save", [
    torch.save,
    lambda value, path: torch.save(value, path, _use_new_zipfile_serialization=False),
    lambda value, path: path.write_bytes(pickle.dumps(value)),
])  # fmt: skip
def test_a_bomb_does_not_go_off(tmp_path, save):
    path, proof = tmp_path / "x.bin", tmp_path / "proof"
    save({"model": Bomb(proof)}, path)
    with pytest.raises(ValueError, match=r"x\.bin holds more than tensors.*--trust") as caught:
        read_foreign(path, trust=False)
    assert "\n" not in str(caught.value)
    assert not proof.exists()


def test_an_archive_needs_trust(tmp_path):
    module = nn.Module()
    module.weight = nn.Parameter(torch.arange(3.0))
    torch.jit.script(module).save(tmp_path / "x.pt")
    with pytest.raises(ValueError, match=r"x\.pt is a TorchScript archive, which holds code: give --trust"):
        read_foreign(tmp_path / "x.pt", trust=False)
    assert torch.equal(read_foreign(tmp_path / "x.pt", trust=True)["weight"], torch.arange(3.0))


def test_a_damaged_archive_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.pt", "w") as archive:
        archive.writestr("x/constants.pkl", b"no")
    with pytest.raises(ValueError, match=r"x\.pt is no whole TorchScript archive"):
        read_foreign(tmp_path / "x.pt", trust=True)


@pytest.mark.parametrize("trust", [True, False])
@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9, 0.999])
def test_cut_files_are_refused_in_one_line(tmp_path, trust, new, share):
    path = tmp_path / "x.pth"
    torch.save(weights(), path, _use_new_zipfile_serialization=new)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ValueError, match=r"x\.pth (is|holds)") as caught:
        read_foreign(path, trust=trust)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"x\.pth is empty; safetensors, torch files"),
        (b"<!doctype html>", "it begins with b'<!doctype html>'; safetensors, torch files"),
        (b"version https://git-lfs.github.com/spec/v1\n", "it begins with b'version"),
        (b'{"a": 3}', "it begins with"),
        (b"PK\x03\x04 and no more", "cut off or damaged"),
        (b"\x80\x04no pickle", r"is no whole|holds more"),
    ],
)
@pytest.mark.parametrize("trust", [True, False])
def test_other_files_are_refused(tmp_path, data, message, trust):
    (tmp_path / "x.pth").write_bytes(data)
    with pytest.raises(ValueError, match=message) as caught:
        read_foreign(tmp_path / "x.pth", trust=trust)
    assert "\n" not in str(caught.value)


def test_a_zip_of_other_things_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.pth", "w") as archive:
        archive.writestr("a.txt", "x")
    with pytest.raises(ValueError, match=r"x\.pth is no whole checkpoint"):
        read_foreign(tmp_path / "x.pth", trust=False)


def test_a_list_is_no_checkpoint(tmp_path):
    torch.save([1, 2], tmp_path / "x.pth")
    with pytest.raises(ValueError, match=r"x\.pth holds a list; a mapping"):
        read_foreign(tmp_path / "x.pth", trust=False)


def test_objects_of_absent_packages_are_named(tmp_path):
    (tmp_path / "x.pth").write_bytes(b"\x80\x02cno_such_package\nThing\n.")
    with pytest.raises(ValueError, match="a package that is not installed: No module named 'no_such_package'"):
        read_foreign(tmp_path / "x.pth", trust=True)


def test_absent_files_are_named(tmp_path):
    with pytest.raises(NotFoundError, match="none"):
        read_foreign(tmp_path / "none.pth", trust=False)
