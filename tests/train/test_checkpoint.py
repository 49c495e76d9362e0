"""Checkpoints: whole or not there, written beside the training, checked when read, in folders and object stores."""

from __future__ import annotations

import errno
import json
import os
import re
import resource
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest
import torch
from safetensors.torch import save_file

from shards.store import Patience, StoreError, open_store
from train import checkpoint_files, sealed_storage
from train.checkpoint import Checkpoints, DamagedCheckpointError
from train.checkpoint_files import Keeping, seal
from train.state import TrainState

TENSORS = {
    "model/a.weight": torch.arange(6.0).view(2, 3),
    "model/b": torch.tensor(2.5),
    "model/count": torch.tensor(7),
    "optim/a.weight/exp_avg": torch.ones(2, 3, dtype=torch.bfloat16),
    "optim/a.weight/step": torch.tensor(3.0),
    "optim/none": torch.zeros(0, 4),
}
FILES = ["model.safetensors", "optim.safetensors", "state.json", "tensors.json"]


def state(step):
    return TrainState({"stage": "mvm"}, step=step, samples=4 * step, loader={"samples": 4 * step})


@pytest.fixture
def saves(tmp_path):
    with Checkpoints(open_store(tmp_path / "run"), keep=2) as saves:
        yield saves


def save(saves, step, tensors=TENSORS):
    saves.save(state(step), tensors)
    saves.finish()


def folder(tmp_path, step):
    return tmp_path / "run" / "checkpoints" / f"step-{step:08d}"


def names(place):
    return sorted(path.name for path in place.iterdir())


def empty():
    return {name: torch.zeros_like(value) for name, value in TENSORS.items()}


def assert_read(tensors):
    assert tensors.keys() == TENSORS.keys()
    for name, value in TENSORS.items():
        assert tensors[name].dtype == value.dtype
        assert torch.equal(tensors[name], value)


def test_what_is_saved_is_read_back(saves, tmp_path):
    save(saves, 5)
    assert names(folder(tmp_path, 5)) == FILES
    found, into = saves.newest(), empty()
    assert (found.step, found.state) == (5, state(5))
    assert found.source.endswith("checkpoints/step-00000005")
    assert found.has("optim")
    assert not found.has("ema")
    saves.load(found, into)
    assert_read(into)
    for step in (5, None):
        assert_read(saves.read(step).tensors)


def test_equal_tensors_make_equal_files_without_pickles(saves, tmp_path):
    save(saves, 1)
    save(saves, 2, dict(reversed(TENSORS.items())))
    for name in FILES[:2]:
        one, two = ((folder(tmp_path, step) / name).read_bytes() for step in (1, 2))
        assert one == two
    for name in FILES[2:]:
        json.loads((folder(tmp_path, 1) / name).read_text())


def test_a_new_run_has_none(saves):
    assert saves.steps() == []
    assert saves.newest() is None
    with pytest.raises(ValueError, match=r"run holds no checkpoint"):
        saves.read()


def test_the_newest_few_stay_and_the_latest_is_named(saves, tmp_path):
    for step in (1, 2, 3, 10):
        save(saves, step)
    assert saves.steps() == [3, 10]
    assert names(tmp_path / "run/checkpoints") == ["latest", "step-00000003", "step-00000010"]
    assert (tmp_path / "run/checkpoints/latest").read_text() == "step-00000010\n"


@pytest.mark.parametrize(
    ("keeping", "last", "kept"),
    [
        (Keeping(2), 9, {7, 9}),
        (Keeping(1, 3), 9, {3, 6, 9}),
        (Keeping(2, 4), 9, {4, 7, 9}),
        (Keeping(1, 6), 7, {6, 7}),  # 9 is one that the run has gone back from
    ],
)
def test_every_so_many_steps_one_stays_for_ever(keeping, last, kept):
    assert keeping.keeps([3, 4, 6, 7, 9], last) == kept


def test_saving_lists_the_checkpoints_once(saves, monkeypatch):
    save(saves, 1)
    listed = []
    real = type(saves.store).list
    monkeypatch.setattr(type(saves.store), "list", lambda self, prefix="": listed.append(prefix) or real(self, prefix))
    save(saves, 2)
    assert listed.count("checkpoints/") == 1


@contextmanager
def held(monkeypatch):
    """Hold the background thread at its first file until the block ends."""
    at_work, go_on, real = threading.Event(), threading.Event(), sealed_storage.save_file

    def wait_and_save(*args):
        at_work.set()
        assert go_on.wait(20)
        real(*args)

    monkeypatch.setattr(sealed_storage, "save_file", wait_and_save)
    try:
        yield at_work
    finally:
        go_on.set()


def test_the_run_goes_on_while_a_checkpoint_is_written(saves, tmp_path, monkeypatch):
    tensors = {name: value.clone() for name, value in TENSORS.items()}
    with held(monkeypatch) as at_work:
        saves.save(state(1), tensors)
        assert at_work.wait(20)
        for value in tensors.values():
            value.fill_(9)
        assert saves.steps() == []
        assert names(tmp_path / "run/checkpoints") == [".writing-00000001"]
    saves.finish()
    assert_read(saves.read(1).tensors)


def test_the_end_of_the_block_waits_for_the_last_one(tmp_path, monkeypatch):
    with Checkpoints(open_store(tmp_path / "run")) as saves, held(monkeypatch):
        saves.save(state(1), TENSORS)
    assert saves.steps() == [1]


def full_disk(*_args, **_kwargs):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_failed_write_is_told_at_the_next_save_and_leaves_what_was_there(saves, tmp_path, monkeypatch):
    save(saves, 1)
    with monkeypatch.context() as patch:
        patch.setattr(sealed_storage, "save_file", full_disk)
        saves.save(state(2), TENSORS)
        with pytest.raises(
            StoreError, match=r"cannot write .*step-00000002/model.safetensors: .*No space left"
        ) as told:
            saves.save(state(3), TENSORS)
    assert told.value.errno == errno.ENOSPC
    assert names(tmp_path / "run/checkpoints") == ["latest", "step-00000001"]
    save(saves, 4)
    assert saves.newest().step == 4


def test_a_failed_write_is_told_at_the_end_of_the_block_or_logged_beside_what_ended_it(tmp_path, monkeypatch, caplog):
    def save_and(error):
        with Checkpoints(open_store(tmp_path / "run")) as saves:
            saves.save(state(1), TENSORS)
            if error is not None:
                raise error

    monkeypatch.setattr(sealed_storage, "save_file", full_disk)
    with pytest.raises(StoreError, match="No space left"):
        save_and(None)
    with pytest.raises(ValueError, match="the data fail"):
        save_and(ValueError("the data fail"))
    assert "the last checkpoint was not written: cannot write" in caplog.text


def test_a_disk_that_takes_no_more_is_an_error_by_name(saves, tmp_path):
    """The kernel refuses to write more than so many bytes to a file, as it refuses on a full disk."""
    save(saves, 1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, limits[1]))
    try:
        with pytest.raises(StoreError, match=r"step-00000002/model.safetensors: .*[Ff]ile too large"):
            save(saves, 2, {"model/a": torch.zeros(1 << 16)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert saves.newest().step == 1
    assert names(tmp_path / "run/checkpoints") == ["latest", "step-00000001"]


@pytest.mark.parametrize("harm", [lambda latest: latest.write_text("step-00000099\n"), lambda latest: latest.unlink()])
def test_a_latest_that_leads_nowhere_does_no_harm(saves, tmp_path, harm):
    save(saves, 2)
    latest = tmp_path / "run/checkpoints/latest"
    harm(latest)
    assert saves.newest().step == 2
    save(saves, 3)
    assert latest.read_text() == "step-00000003\n"


def test_a_damaged_one_is_passed_over_aloud(saves, tmp_path, caplog):
    save(saves, 1)
    save(saves, 2)
    path = folder(tmp_path, 2) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert saves.newest().step == 1
    assert "step-00000002/model.safetensors is damaged" in caplog.text


def test_a_later_damaged_one_goes_when_the_run_has_gone_back(saves, tmp_path):
    save(saves, 1)
    save(saves, 9)
    (folder(tmp_path, 9) / "optim.safetensors").unlink()
    save(saves, 4)
    assert saves.steps() == [1, 4]


def unlisted(file):
    def take_out(place):
        sealed = json.loads((place / "state.json").read_text())
        del sealed["files"][file], sealed["sha256"]
        (place / "state.json").write_text(json.dumps(sealed))

    return take_out


def flipped(file, after=b"", byte=b"x"):
    """Put another byte in the place of one in a file."""

    def change(place):
        data = (place / file).read_bytes()
        at = data.rindex(after) + len(after) if after else len(data) - 1
        assert data[at : at + 1] != byte
        (place / file).write_bytes(data[:at] + byte + data[at + 1 :])

    return change


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda place: (place / "optim.safetensors").unlink(), "optim.safetensors is absent"),
        (lambda place: (place / "state.json").write_text("{"), "state.json is no JSON"),
        (lambda place: (place / "state.json").write_text("[]"), "state.json holds no object"),
        (flipped("state.json", b'"samples": ', b"9"), "state.json is damaged: it does not say what was written"),
        (flipped("optim.safetensors"), r"optim.safetensors is damaged: .*'sha256'"),
        (lambda place: os.truncate(place / "optim.safetensors", 10), "optim.safetensors is damaged: .*'bytes': 10"),
        (lambda place: os.truncate(place / "tensors.json", 10), "tensors.json is damaged: .*'bytes': 10"),
    ],
)
def test_harm_is_named(saves, tmp_path, harm, message):
    save(saves, 2)
    harm(folder(tmp_path, 2))
    with pytest.raises(DamagedCheckpointError, match=message):
        saves.read(2)
    with pytest.raises(DamagedCheckpointError, match=r"no checkpoint under .* is whole; choose another out"):
        saves.newest()


def test_a_seal_that_is_absent_is_damage(saves, tmp_path):
    save(saves, 2)
    unlisted("optim.safetensors")(folder(tmp_path, 2))
    with pytest.raises(DamagedCheckpointError, match=r"does not list 'optim\.safetensors'"):
        saves.read(2)


def forged(place, name, data):
    """Put other bytes into a file, with a seal that fits them."""
    (place / name).write_bytes(data)
    sealed = json.loads((place / "state.json").read_text())
    sealed["files"][name] = seal(place / name)
    del sealed["sha256"]
    (place / "state.json").write_text(json.dumps(sealed))


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("tensors.json", b"[1]", "is no list of tensors"),
        ("tensors.json", b'{"model/b": {"shape": []}}', "is no list of tensors: 'pieces'"),
        ("tensors.json", b'{"model/b": {"dtype": "load", "shape": [], "pieces": []}}', "no type 'load'"),
        ("model.safetensors", b"\x80\x04pickle", "model.safetensors: "),
    ],
)
def test_files_that_hold_something_else_are_named(saves, tmp_path, name, data, message):
    save(saves, 2)
    forged(folder(tmp_path, 2), name, data)
    with pytest.raises(DamagedCheckpointError, match=message):
        saves.read(2)


def test_another_format_is_not_passed_over(saves, tmp_path):
    save(saves, 1)
    save(saves, 2)
    place = folder(tmp_path, 2) / "state.json"
    place.write_text(place.read_text().replace('"format": 2', '"format": 7'))
    with pytest.raises(ValueError, match="has format 7"):
        saves.newest()


def test_a_checkpoint_of_format_1_is_read(saves, tmp_path):
    """Two files of whole tensors, sealed, and no list of them."""
    place = folder(tmp_path, 3)
    place.mkdir(parents=True)
    sections = {"model": {}, "optim": {}}
    for name, value in TENSORS.items():
        section, _, key = name.partition("/")
        sections[section][key] = value
    for section, tensors in sections.items():
        save_file(tensors, place / f"{section}.safetensors")
    seals = {path.name: seal(path) for path in place.iterdir()}
    (place / "state.json").write_text(json.dumps(state(3).to_json() | {"format": 1, "files": seals}))
    assert_read(saves.read().tensors)
    found, into = saves.newest(), empty()
    saves.load(found, into)
    assert (found.step, found.state) == (3, state(3))
    assert_read(into)
    save(saves, 4)
    assert saves.steps() == [3, 4]


def test_what_does_not_fit_is_named(saves, caplog):
    save(saves, 2)
    into = empty() | {"model/b": torch.zeros(3), "model/c": torch.zeros(1), "model/count": torch.tensor(7.0)}
    del into["model/a.weight"]
    with pytest.raises(ValueError, match="does not fit this run in 4 tensors: ") as told:
        saves.load(saves.newest(), into)
    for message in (
        "model/c is not in the checkpoint",
        "model/a.weight is not in this run",
        "model/b is float32 [] there and float32 [3] here",
        "model/count is int64 [] there and float32 [] here",
    ):
        assert message in str(told.value)
    model = {name: value for name, value in empty().items() if name.startswith("model/")}
    saves.load(saves.newest(), model)
    assert "holds optim, which this run has no use for" in caplog.text
    assert torch.equal(model["model/b"], TENSORS["model/b"])


def test_saving_a_step_again_replaces_it(saves, tmp_path):
    save(saves, 2)
    save(saves, 2, {"model/a.weight": torch.zeros(1)})
    assert saves.read(2).tensors["model/a.weight"].tolist() == [0.0]
    assert names(folder(tmp_path, 2)) == ["model.safetensors", "state.json", "tensors.json"]


def test_only_named_tensors_are_taken(saves):
    with pytest.raises(TypeError, match="step: a checkpoint takes tensors, named SECTION/NAME"):
        save(saves, 1, {"step": torch.tensor(1)})


KILLED = """
import os, signal, sys
import torch
from shards.store import open_store
from train.checkpoint import Checkpoints
from train.state import TrainState
real = os.fsync
def killed(left):
    def fsync(handle):
        nonlocal left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        real(handle)
    return fsync
for syncs in map(int, sys.argv[2:]):
    child = os.fork()
    if not child:
        os.fsync = killed(syncs)
        with Checkpoints(open_store(f"{sys.argv[1]}/{syncs}"), keep=2) as saves:
            saves.save(TrainState({}, step=2), {"model/w": torch.zeros(9), "optim/w/step": torch.zeros(())})
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
"""


def test_a_writer_that_is_killed_leaves_the_one_before(tmp_path):
    """Each of five syncs but the last comes before the checkpoint appears: two files, two lists, their folder."""
    newest = {1: 1, 4: 1, 5: 2}
    runs = {syncs: Checkpoints(open_store(tmp_path / str(syncs)), keep=2) for syncs in newest}
    for saves in runs.values():
        save(saves, 1)
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), *map(str, newest)], check=True)
    for syncs, saves in runs.items():
        place = tmp_path / str(syncs) / "checkpoints"
        assert (".writing-00000002" in names(place)) == (newest[syncs] == 1)
        assert saves.newest().step == newest[syncs]
        save(saves, 3)
        assert all(re.fullmatch(r"step-\d{8}|latest", name) for name in names(place))


def test_object_stores_hold_them_too(object_store, monkeypatch):
    store = open_store(object_store.make_bucket("checkpoints") + "/run")
    uploads = []
    for put in ("put", "put_file"):
        monkeypatch.setattr(type(store), put, _noting(uploads, getattr(type(store), put)))
    with Checkpoints(store) as saves:
        for step in (1, 2, 2):
            save(saves, step)
        assert saves.steps() == [2]
        assert [name.rpartition("/")[2] for name in uploads[:5]] == [*FILES[:2], "tensors.json", "state.json", "latest"]
        found, into = saves.newest(), empty()
        saves.load(found, into)
        assert_read(into)
        # A half-written one has no state.json and so is none.
        store.put("checkpoints/step-00000009/model.safetensors", b"half")
        assert_read(saves.read().tensors)
        store.put("checkpoints/step-00000002/optim.safetensors", b"other")
        with pytest.raises(DamagedCheckpointError, match=r"s3://.*optim.safetensors is damaged"):
            saves.read(2)


def _noting(uploads, real):
    def put(self, name, *args, **kwargs):
        uploads.append(name)
        return real(self, name, *args, **kwargs)

    return put


def test_a_bucket_that_vanishes_is_an_error_and_a_new_one_takes_the_next(object_store):
    url = object_store.make_bucket("vanishing")
    with Checkpoints(open_store(f"{url}/run", patience=Patience(attempts=1))) as saves:
        save(saves, 1)
        client = object_store.client()
        for each in client.list_objects_v2(Bucket="vanishing")["Contents"]:
            client.delete_object(Bucket="vanishing", Key=each["Key"])
        client.delete_bucket(Bucket="vanishing")
        with pytest.raises(StoreError, match=r"cannot .* s3://vanishing/run/checkpoints"):
            save(saves, 2)
        client.create_bucket(Bucket="vanishing")
        save(saves, 3)
        assert saves.steps() == [3]
        assert_read(saves.read().tensors)


def test_an_unwritable_place_is_an_error_by_name(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises((StoreError, NotADirectoryError, FileExistsError), match="file"):
        save(Checkpoints(open_store(tmp_path / "file")), 1)


def test_a_file_of_another_rank_that_is_not_here_is_named(saves):
    """As where several machines each have a folder of their own under the same name."""
    files = checkpoint_files.CheckpointFiles(saves.store)
    files.clear(4)
    with pytest.raises(
        StoreError, match=r"model-00001-of-00002.safetensors is not here.*an out that all machines share"
    ):
        files.publish(4, {"model-00001-of-00002.safetensors": {"bytes": 3}}, {"state.json": b"{}"})
    assert saves.steps() == []
