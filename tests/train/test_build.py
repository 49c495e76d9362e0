"""Putting a run together: what the parts are told, and which checkpoints a run goes on from."""

from __future__ import annotations

import json
import logging

import pytest
import torch

from shards.store import NotFoundError, Patience
from tests.support.fake_loader import FakeLoader
from tests.support.run_config import tiny_config
from train import beginning, build, loaders, loop
from train.config import DataConfig
from train.parallel import Ranks

ALONE = Ranks(0, 1, torch.device("cpu"))


def train_to_end(config):
    with build.prepare(config, ALONE) as run:
        assert loop.train(run)


def test_a_new_run_does_not_overwrite_an_old_one(fake, tmp_path):
    train_to_end(tiny_config(tmp_path, train__max_steps=3))
    with pytest.raises(ValueError, match=r"holds checkpoints up to step 3 and train\.resume=false; choose another out"):
        train_to_end(tiny_config(tmp_path, train__resume=False))


def test_another_model_or_data_is_refused_by_name(fake, tmp_path):
    train_to_end(tiny_config(tmp_path, train__max_steps=3))
    with pytest.raises(ValueError, match=r"step-00000003 does not fit this run: .*model\.width was 24, is 48"):
        train_to_end(tiny_config(tmp_path, model__width=48, data__stride=2))


def test_changed_settings_are_told(fake, tmp_path, caplog):
    train_to_end(tiny_config(tmp_path, train__max_steps=3))
    caplog.set_level(logging.INFO)
    train_to_end(tiny_config(tmp_path, train__max_steps=3, optim__weight_decay=0.1))
    assert "optim.weight_decay was 0.05, is 0.1" in caplog.text
    assert "going on from" in caplog.text


def test_another_device_is_told_once(fake, tmp_path, caplog):
    train_to_end(tiny_config(tmp_path, train__max_steps=3))
    place = tmp_path / "checkpoints/step-00000003/state.json"
    saved = json.loads(place.read_text())
    assert (saved["device"], len(saved.pop("sha256"))) == ("cpu", 64)
    place.write_text(json.dumps(saved | {"device": "cuda"}))
    train_to_end(tiny_config(tmp_path, train__max_steps=4))
    assert "the device was cuda, is cpu" in caplog.text
    caplog.clear()
    train_to_end(tiny_config(tmp_path, train__max_steps=5))
    assert "the device was" not in caplog.text


def test_the_store_of_a_run_under_way_is_given_time(fake, tmp_path):
    with build.prepare(tiny_config(tmp_path), ALONE) as run:
        assert run.saves.store.patience.attempts > 2 * Patience().attempts
        assert run.folder.store.patience == run.saves.store.patience


def test_a_batch_that_is_more_than_there_is_is_told(fake, tmp_path, caplog):
    config = tiny_config(tmp_path, train__max_steps=3)
    with build.prepare(config, ALONE) as run:
        assert "more than" not in caplog.text
        run.feeds.video.order.samples_per_epoch = 3
        beginning.mention_repeats(config, run.feeds)
    assert "data.batch_size=4 is more than the 3 clips of an epoch: batches hold clips more than once" in caplog.text


def test_machines_that_share_lanes_of_a_bucket_are_told(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    remote = tiny_config(tmp_path, data__train="s3://bucket/set", data__lanes=8)
    for config, world in ((tiny_config(tmp_path, data__lanes=8), 128), (remote, 64)):
        beginning.mention_lanes(config, Ranks(0, world, ALONE.device))
        assert not caplog.text
    beginning.mention_lanes(remote, Ranks(0, 128, ALONE.device))
    assert "data.lanes=8 is less than the 16 machines" in caplog.text
    assert "give data.lanes=16, from the start" in caplog.text


def test_drops_that_will_come_again_are_forgotten(fake, tmp_path):
    """The run stopped at sample 12; four ranks before, one now."""
    train_to_end(tiny_config(tmp_path, train__max_steps=3))
    (tmp_path / "drops").mkdir(exist_ok=True)
    for rank in (0, 3):
        lines = [
            json.dumps({"position": at, "key": "a\u2028b"}, ensure_ascii=False) for at in (rank, 8 + rank, 12 + rank)
        ]
        (tmp_path / f"drops/rank-0000{rank}.jsonl").write_text("\n".join(lines) + '\n{"positi')
    with build.prepare(tiny_config(tmp_path), ALONE):
        for rank in (0, 3):
            text = (tmp_path / f"drops/rank-0000{rank}.jsonl").read_text()
            drops = [json.loads(line) for line in text.removesuffix("\n").split("\n")]
            assert drops == [{"position": at, "key": "a\u2028b"} for at in (rank, 8 + rank)]


def test_without_max_steps_a_run_has_the_recipes_epochs(fake, tmp_path):
    with build.prepare(tiny_config(tmp_path, train__max_steps=None), ALONE) as run:
        assert run.rates.total_steps == run.pace.total_steps == 801 * 3


def test_the_loader_is_told_the_runs_settings(fake, tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(
        loaders, "build_loader", lambda config, state=None: told.append(config) or FakeLoader(batch_size=4)
    )
    config = tiny_config(tmp_path, data__workers=3, train__seed=5, data__mask_ratio=0.75, data__decoder_mask_ratio=0.5)
    with build.prepare(config, ALONE):
        pass
    (given,) = told
    same = set(DataConfig.__dataclass_fields__) & set(type(given).__dataclass_fields__)
    for name in same - {"label", "packing", "buckets"}:
        assert getattr(given, name) == getattr(config.data, name)
    assert (given.packing, given.buckets) == (None, ())
    assert (given.source, given.seed, given.device, given.world) == ("nowhere", 5, "cpu", 1)
    assert (given.mask.ratio, given.mask.tubelet, given.mask.patch, given.mask.kind) == (0.75, 2, 16, "tube")
    assert given.mask.decoder_ratio == 0.5
    assert given.drop_log == str(tmp_path / "drops/rank-00000.jsonl")


def test_a_dataset_to_be_judged_on_must_be_there_before_the_run_starts(fake, tmp_path):
    config = tiny_config(tmp_path / "run", data__val=str(tmp_path / "nowhere"), train__eval_every=2)
    with pytest.raises(NotFoundError, match="nowhere"):
        train_to_end(config)
    assert not (tmp_path / "run/metrics.jsonl").exists()
