"""Checkpoints: whole or not there, checked when read, the newest few kept, in folders and object stores."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys

import pytest
import torch

from shards.store import StoreError, open_store
from train.checkpoint import Checkpoints, DamagedCheckpointError
from train.state import TrainState

MODEL = {"a.weight": torch.arange(6.0).view(2, 3), "b": torch.tensor(2.5)}
OPTIM = {"a.weight/exp_avg": torch.ones(2, 3), "a.weight/step": torch.tensor(3.0)}


def state(step):
    return TrainState({"stage": "mvm"}, step=step, samples=4 * step, loader={"samples": 4 * step})


@pytest.fixture
def saves(tmp_path):
    return Checkpoints(open_store(tmp_path / "run"), keep=2)


def folder(tmp_path, step):
    return tmp_path / "run" / "checkpoints" / f"step-{step:08d}"


def test_what_is_saved_is_read_back(saves, tmp_path):
    saves.save(state(5), MODEL, OPTIM)
    assert sorted(path.name for path in folder(tmp_path, 5).iterdir()) == [
        "model.safetensors",
        "optim.safetensors",
        "state.json",
    ]
    found = saves.newest()
    assert found.state == state(5)
    assert found.source.endswith("checkpoints/step-00000005")
    for saved, read in ((MODEL, found.model), (OPTIM, found.optim)):
        assert saved.keys() == read.keys()
        assert all(torch.equal(saved[name], read[name]) for name in saved)


def test_a_new_run_has_none(saves):
    assert saves.steps() == []
    assert saves.newest() is None


def test_the_newest_few_stay(saves, tmp_path):
    for step in (1, 2, 3, 10):
        saves.save(state(step), MODEL, OPTIM)
    assert saves.steps() == [3, 10]
    assert sorted(path.name for path in (tmp_path / "run/checkpoints").iterdir()) == ["step-00000003", "step-00000010"]


def test_saving_lists_the_checkpoints_once(saves, monkeypatch):
    saves.save(state(1), MODEL, OPTIM)
    listed = []
    real = type(saves.store).list
    monkeypatch.setattr(type(saves.store), "list", lambda self, prefix="": listed.append(prefix) or real(self, prefix))
    saves.save(state(2), MODEL, OPTIM)
    assert listed == ["checkpoints/"]


def test_a_damaged_one_is_passed_over_aloud(saves, tmp_path, caplog):
    saves.save(state(1), MODEL, OPTIM)
    saves.save(state(2), MODEL, OPTIM)
    path = folder(tmp_path, 2) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert saves.newest().state.step == 1
    assert "step-00000002/model.safetensors is damaged" in caplog.text


def test_a_later_damaged_one_goes_when_the_run_has_gone_back(saves, tmp_path):
    saves.save(state(1), MODEL, OPTIM)
    saves.save(state(9), MODEL, OPTIM)
    (folder(tmp_path, 9) / "optim.safetensors").unlink()
    saves.save(state(4), MODEL, OPTIM)
    assert saves.steps() == [1, 4]


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda place: (place / "optim.safetensors").unlink(), "optim.safetensors is absent"),
        (lambda place: (place / "state.json").write_text("{"), "state.json is no JSON"),
        (lambda place: os.truncate(place / "optim.safetensors", 10), "optim.safetensors is damaged: .*'bytes': 10"),
    ],
)
def test_harm_is_named(saves, tmp_path, harm, message):
    saves.save(state(2), MODEL, OPTIM)
    harm(folder(tmp_path, 2))
    with pytest.raises(DamagedCheckpointError, match=message):
        saves.read(2)
    with pytest.raises(DamagedCheckpointError, match=r"no checkpoint under .* is whole; choose another out"):
        saves.newest()


def test_a_list_without_a_file_is_damage(saves, tmp_path):
    saves.save(state(2), MODEL, OPTIM)
    place = folder(tmp_path, 2) / "state.json"
    sealed = json.loads(place.read_text())
    del sealed["files"]["optim.safetensors"]
    place.write_text(json.dumps(sealed))
    with pytest.raises(DamagedCheckpointError, match=r"does not list 'optim\.safetensors'"):
        saves.read(2)


def test_another_format_is_not_passed_over(saves, tmp_path):
    saves.save(state(1), MODEL, OPTIM)
    saves.save(state(2), MODEL, OPTIM)
    place = folder(tmp_path, 2) / "state.json"
    place.write_text(place.read_text().replace('"format": 1', '"format": 7'))
    with pytest.raises(ValueError, match="has format 7"):
        saves.newest()


def test_saving_a_step_again_replaces_it(saves):
    saves.save(state(2), MODEL, OPTIM)
    saves.save(state(2), {"a.weight": torch.zeros(1)}, OPTIM)
    assert saves.newest().model["a.weight"].tolist() == [0.0]


def test_a_failed_write_leaves_what_was_there(saves, tmp_path, monkeypatch):
    saves.save(state(1), MODEL, OPTIM)

    def full_disk(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("train.checkpoint.save_file", full_disk)
    with pytest.raises(OSError, match="No space left"):
        saves.save(state(2), MODEL, OPTIM)
    assert [path.name for path in (tmp_path / "run/checkpoints").iterdir()] == ["step-00000001"]


KILLED = """
import os, signal, sys
import torch
import train.checkpoint as checkpoint
from shards.store import open_store
from train.state import TrainState
real = getattr(os, "fsync")
left = int(sys.argv[2])
def fsync(handle):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    real(handle)
os.fsync = fsync
saves = checkpoint.Checkpoints(open_store(sys.argv[1]), keep=2)
saves.save(TrainState({}, step=2, samples=8, loader={}), {"w": torch.zeros(9)}, {"w/step": torch.zeros(())})
"""


@pytest.mark.parametrize("syncs", [0, 2, 4])
def test_a_killed_writer_leaves_the_one_before(saves, tmp_path, syncs):
    saves.save(state(1), MODEL, OPTIM)
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "run"), str(syncs)], check=False)
    assert done.returncode == -signal.SIGKILL
    # The last sync is that of the parent folder: the checkpoint stands there already, whole.
    assert saves.newest().state.step == (2 if syncs == 4 else 1)
    saves.save(state(3), MODEL, OPTIM)
    names = [path.name for path in (tmp_path / "run/checkpoints").iterdir()]
    assert all(re.fullmatch(r"step-\d{8}", name) for name in names)


def test_object_stores_hold_them_too(object_store, monkeypatch):
    store = open_store(object_store.make_bucket("checkpoints") + "/run")
    saves = Checkpoints(store, keep=1)
    uploads = []
    monkeypatch.setattr(type(store), "put_file", _noting(uploads, type(store).put_file))
    saves.save(state(1), MODEL, OPTIM)
    saves.save(state(2), MODEL, OPTIM)
    assert saves.steps() == [2]
    assert [name.rpartition("/")[2] for name in uploads[:3]] == ["model.safetensors", "optim.safetensors", "state.json"]
    assert torch.equal(saves.newest().model["a.weight"], MODEL["a.weight"])
    # A half-written one has no state.json and so is none.
    store.put("checkpoints/step-00000009/model.safetensors", b"half")
    assert saves.newest().state.step == 2
    store.put("checkpoints/step-00000002/optim.safetensors", b"other")
    with pytest.raises(DamagedCheckpointError, match=r"s3://.*optim.safetensors is damaged"):
        saves.read(2)


def _noting(names, real):
    def put_file(self, name, path, **kwargs):
        names.append(name)
        return real(self, name, path, **kwargs)

    return put_file


def test_an_unwritable_place_is_an_error_by_name(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises((StoreError, NotADirectoryError, FileExistsError), match="file"):
        Checkpoints(open_store(tmp_path / "file"), keep=1).save(state(1), MODEL, OPTIM)
