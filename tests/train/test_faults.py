"""What goes wrong in a whole run: one line and a status that say so, and the same command goes on to the last bit."""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from shards.layout import MANIFEST_NAME
from shards.store import Patience, open_store
from tests.support.object_store import ObjectStore
from tests.support.run_config import tiny_config
from tests.support.video_dataset import build_video_dataset
from train import metrics, sealed_storage
from train.__main__ import DONE, FAILED, INTERRUPTED, USAGE, start
from train.metrics import read_metrics
from train.step import TrainStep

STEPS = 8
"""With a checkpoint of every third step."""
TIMES = {"clips_per_s", "data_wait"}
LONG = pytest.mark.skipif(
    "VIDLOOM_EVERY_STAGE" not in os.environ, reason="a real store's seconds: set VIDLOOM_EVERY_STAGE=1"
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    build_video_dataset(folder / "set", folder / "scratch", clips=10)
    return folder / "set"


def config_of(out, dataset, **more):
    return tiny_config(out, data__train=str(dataset), data__stride=2, data__workers=1, train__log_every=1, **more)


def facts(folder, out=None):
    """Return the lines of a run and its last weights; those of a bucket are brought into the folder."""
    if out is not None:
        for name in ("metrics.jsonl", "final/model.safetensors"):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(open_store(out).read(name))
    lines = read_metrics(folder / "metrics.jsonl")
    assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
    rows = [{name: value for name, value in line.items() if name not in TIMES} for line in lines]
    return rows, (folder / "final/model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def whole(dataset, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole")
    assert start(config_of(out, dataset)) == DONE
    return facts(out)


def said_by(capsys):
    """Return the one error line."""
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("train: error:")]
    return line


def at_step(monkeypatch, number, act, take=TrainStep.__call__):
    """Have something happen before the step of a number, counted from 1."""

    def acting(self, batch, step, lr):
        if step + 1 == number:
            act(batch)
        return take(self, batch, step, lr)

    monkeypatch.setattr(TrainStep, "__call__", acting)


def full_disk(*_args, **_kwargs):
    raise OSError(errno.ENOSPC, "No space left on device")


def half_written(path, lines):
    with path.open("a", encoding="utf-8") as file:
        file.write(str(lines[0])[:20])
    full_disk()


@pytest.mark.parametrize("fault", [(sealed_storage, "save_file", full_disk), (metrics, "_append", half_written)])
def test_a_full_disk_ends_the_run_and_room_lets_it_go_on(dataset, whole, tmp_path, capsys, fault):
    """Of checkpoints from step 4 on; and of the lines of the log, of which half a line is left."""
    with pytest.MonkeyPatch.context() as patch:
        at_step(patch, 4, lambda _batch: patch.setattr(*fault))
        assert start(config_of(tmp_path, dataset)) == FAILED
    assert "No space left on device" in said_by(capsys)
    assert start(config_of(tmp_path, dataset)) == DONE
    assert facts(tmp_path) == whole


def test_a_loss_that_is_no_number_ends_the_run_and_its_last_checkpoint_stands(
    dataset, whole, tmp_path, capsys, monkeypatch
):
    with monkeypatch.context() as patch:
        at_step(patch, 5, lambda batch: batch.video.fill_(torch.inf))
        assert start(config_of(tmp_path, dataset)) == FAILED
    said = said_by(capsys)
    assert "loss null and gradient norm null at step 5" in said
    assert "lower optim.lr" in said
    assert start(config_of(tmp_path, dataset)) == DONE
    assert facts(tmp_path) == whole


def stopped_at(out, dataset, step):
    with pytest.MonkeyPatch.context() as patch:
        at_step(patch, step, lambda _batch: signal.raise_signal(signal.SIGTERM))
        assert start(config_of(out, dataset)) == INTERRUPTED


def flip(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(dataset, whole, tmp_path, capsys, caplog):
    stopped_at(tmp_path, dataset, 5)
    flip(tmp_path / "checkpoints/step-00000005/model.safetensors")
    assert start(config_of(tmp_path, dataset)) == DONE
    assert "step-00000005/model.safetensors is damaged" in caplog.text
    assert facts(tmp_path) == whole


def test_a_run_whose_checkpoints_are_all_damaged_does_not_begin_anew(dataset, tmp_path, capsys, caplog):
    stopped_at(tmp_path, dataset, 2)
    flip(tmp_path / "checkpoints/step-00000002/optim.safetensors")
    before = (tmp_path / "metrics.jsonl").read_bytes()
    assert start(config_of(tmp_path, dataset)) == USAGE
    assert "is whole; choose another out" in said_by(capsys)
    assert "step-00000002/optim.safetensors is damaged" in caplog.text
    assert (tmp_path / "metrics.jsonl").read_bytes() == before


def test_a_dataset_without_its_manifest_is_wrong_usage(dataset, tmp_path, capsys):
    shutil.copytree(dataset, tmp_path / "set")
    (tmp_path / "set" / MANIFEST_NAME).unlink()
    assert start(config_of(tmp_path / "run", tmp_path / "set")) == USAGE
    assert re.search(rf"{tmp_path}/set .*(manifest|dataset)", said_by(capsys))


def vanish(object_store, name):
    """Take a bucket away, also from under a checkpoint that is on its way there."""
    client = object_store.client()
    while True:
        for each in client.list_objects_v2(Bucket=name).get("Contents", []):
            client.delete_object(Bucket=name, Key=each["Key"])
        with suppress(client.exceptions.ClientError):
            client.delete_bucket(Bucket=name)
            return


@dataclass
class Faulty:
    """What tests of buckets share."""

    dataset: Path
    whole: tuple
    store: ObjectStore
    patch: pytest.MonkeyPatch


@pytest.fixture
def faulty(dataset, whole, object_store, monkeypatch):
    return Faulty(dataset, whole, object_store, monkeypatch)


@pytest.mark.slow
@LONG
def test_a_bucket_of_checkpoints_that_vanishes_ends_the_run(faulty, tmp_path, capsys):
    url = faulty.store.make_bucket("leaving")
    with faulty.patch.context() as patch:
        patch.setattr("train.beginning._PATIENCE", Patience(attempts=1))
        at_step(patch, 5, lambda _batch: vanish(faulty.store, "leaving"))
        assert start(config_of(f"{url}/run", faulty.dataset)) == FAILED
    assert "s3://leaving/run" in said_by(capsys)
    faulty.store.make_bucket("leaving")
    assert start(config_of(f"{url}/run", faulty.dataset)) == DONE
    assert facts(tmp_path, f"{url}/run") == faulty.whole


@pytest.mark.slow
@LONG
def test_a_bucket_of_clips_that_vanishes_ends_the_run_after_a_checkpoint(faulty, tmp_path, capsys):
    url = faulty.store.make_bucket("fleeting")

    def fill():
        for path in filter(Path.is_file, faulty.dataset.rglob("*")):
            open_store(f"{url}/set").put(path.relative_to(faulty.dataset).as_posix(), path.read_bytes())

    fill()
    told = {"data__cache_dir": None, "data__outage_seconds": 0.2}
    with faulty.patch.context() as patch:
        at_step(patch, 1, lambda _batch: vanish(faulty.store, "fleeting"))
        assert start(config_of(tmp_path, f"{url}/set", **told)) == FAILED
    assert "s3://fleeting/set" in said_by(capsys)
    assert (tmp_path / "checkpoints/latest").exists()
    faulty.store.make_bucket("fleeting")
    fill()
    assert start(config_of(tmp_path, f"{url}/set", **told)) == DONE
    assert facts(tmp_path) == faulty.whole
