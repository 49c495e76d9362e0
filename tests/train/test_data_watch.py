"""What loaders were busy with: the interval alone, by loader, and a word on what is waited for."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pipelines import meter
from pipelines.meter import QueueDepth, StageMeter, StageReading
from shards.store import open_store
from train.data_watch import DataWatch
from train.metrics import Pace, RunLog, log_folder
from train.parallel import Ranks
from train.state import TrainState
from train.step import StepResult


@pytest.fixture
def clock(monkeypatch):
    """The meters' clock, which stands still until it is set."""
    now = SimpleNamespace(seconds=0.0)
    monkeypatch.setattr(meter.time, "perf_counter", lambda: now.seconds)
    return now


def loader(*, threads=8):
    found = StageMeter()
    found.employ(("store",), threads)
    return SimpleNamespace(meter=found, passes={})


def test_only_the_last_interval_counts(clock):
    clips = loader()
    clips.meter.add("store", StageReading(5, 100.0, 10**9))
    watch = DataWatch({"video": clips})
    clock.seconds = 10.0
    clips.meter.add("store", StageReading(1, 40.0, 20 * 10**6))
    clips.meter.add("decode", StageReading(1, 1.0))
    clips.meter.watch({"fetched": lambda: QueueDepth(2, 3, 4)})
    watch.turn()
    assert watch.scalars() == {
        "busy/store": 0.5,
        "mb_per_s/store": 2.0,
        "busy/decode": 0.1,
        "queue/ready": 0.0,
        "queue/fetched": 2.0,
    }
    clock.seconds = 20.0
    watch.turn()
    assert watch.scalars() == {"queue/ready": 0.0, "queue/fetched": 2.0}


def test_the_blame_names_the_loader_that_is_waited_for(clock):
    clips, images = loader(), loader()
    watch = DataWatch({"video": clips, "images": images})
    assert watch.blame() == ""
    clock.seconds = 10.0
    clips.meter.add("decode", StageReading(9, 9.0))
    clips.meter.add("wait", StageReading(9, 1.0))
    watch.turn()
    assert watch.blame() == "decode 90 % busy"
    images.meter.add("store", StageReading(9, 72.0))
    images.meter.add("wait", StageReading(9, 4.0))
    clock.seconds = 20.0
    watch.turn()
    assert watch.blame() == "images: store 90 % busy"
    assert watch.scalars()["images/busy/store"] == 0.9


def test_a_run_says_it_in_its_log_and_draws_it(clock, tmp_path, caplog):
    clips = loader()
    watch = DataWatch({"video": clips})
    ranks = Ranks(0, 1, torch.device("cpu"))
    pace = Pace(total_steps=10, epoch_samples=16, log_every=1)
    start = TrainState({}, step=0, samples=0, loader={})
    with (
        caplog.at_level(logging.INFO),
        log_folder(open_store(tmp_path / "run")) as folder,
        RunLog(folder, ranks, start, pace, watch) as log,
    ):
        clock.seconds = 10.0
        clips.meter.add("store", StageReading(1, 76.0, 10**9))
        clips.meter.add("wait", StageReading(1, 5.0))
        result = StepResult({"a": torch.tensor(1.0)}, torch.tensor(1.0), torch.tensor(0), skipped=torch.tensor(False))  # noqa: FBT003 - a tensor's value
        log.add(TrainState({}, step=1, samples=4, loader={}), result, ["k"], 0.1)
    assert "(store 95 % busy)" in caplog.text
    board = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    assert board.Scalars("data/busy/store")[0].value == pytest.approx(0.95)
    assert board.Scalars("data/mb_per_s/store")[0].value == pytest.approx(100.0)


def test_passes_over_the_datasets_of_a_mix_are_drawn():
    clips, images = (SimpleNamespace(meter=StageMeter(), passes=passes) for passes in ({"a": 1.5, "b": 0.25}, {}))
    watch = DataWatch({"video": clips, "images": images})
    found = {name: value for name, value in watch.scalars().items() if "passes" in name}
    assert found == {"passes/a": 1.5, "passes/b": 0.25}
    assert {name for name in DataWatch({"images": clips}).scalars() if "passes" in name} == {
        "images/passes/a",
        "images/passes/b",
    }
