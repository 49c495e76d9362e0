"""The meter: stages add up over threads, intervals are differences, and the blame falls on the slowest stage."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from pipelines import dali_rows, pixels
from pipelines.loader import LoaderConfig, build_loader
from pipelines.meter import MeterReading, QueueDepth, StageMeter, StageReading
from pipelines.stream import RangedShard
from shards.store import open_store
from tests.support.clip_datasets import build_clip_dataset


def test_stages_add_up_over_threads():
    meter = StageMeter()

    def work() -> None:
        for _ in range(200):
            meter.add("fetch", StageReading(1, 0.5, 10))
            meter.change_ready(1)
            meter.change_ready(-1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    reading = meter.snapshot()
    assert reading.stage("fetch") == StageReading(800, 400.0, 8000)
    assert reading.ready == 0


def test_an_interval_is_the_difference_of_two_readings():
    meter = StageMeter()
    meter.add("decode", StageReading(2, 1.0))
    first = meter.snapshot()
    meter.add("decode", StageReading(3, 2.5))
    meter.add("wait", StageReading(1, 0.25))
    meter.change_ready(2)
    later = meter.snapshot()
    interval = later.since(first)
    assert interval.stage("decode") == StageReading(3, 2.5)
    assert interval.stage("wait") == StageReading(1, 0.25)
    assert interval.stage("augment") == StageReading()
    assert interval.ready == 2
    assert interval.elapsed == pytest.approx(later.elapsed - first.elapsed)
    assert first.stage("decode").calls == 2, "a reading must not change afterwards"


def test_a_stage_that_raises_is_timed_and_raises():
    meter = StageMeter()
    with pytest.raises(KeyError), meter.stage("decode"):
        raise KeyError("x")
    reading = meter.snapshot().stage("decode")
    assert reading.calls == 1
    assert reading.seconds >= 0


def reading(wait: float, **seconds: float) -> MeterReading:
    stages = {name: StageReading(1, value) for name, value in ({"wait": wait} | seconds).items()}
    return MeterReading(10.0, 0, stages, {"store": 8, "decode": 2, "augment": 1})


def test_a_stage_is_busy_by_the_part_of_its_threads_time():
    found = reading(1.0, store=40.0, decode=20.5, augment=1.0)
    assert [found.busy(name) for name in ("store", "decode", "augment", "look")] == [0.5, 1.0, 0.1, 0.0]
    assert found.wait_share == 0.1


@pytest.mark.parametrize(
    ("seconds", "culprit"),
    [
        ({"store": 79.0, "decode": 4.0, "augment": 2.0}, "store"),
        ({"store": 30.0, "decode": 19.0, "augment": 2.0}, "decode"),
        ({"store": 30.0, "decode": 8.0, "augment": 9.5}, "augment"),
        ({}, None),
    ],
)
def test_the_busiest_stage_is_to_blame(seconds: dict[str, float], culprit: str | None):
    assert reading(5.0, **seconds).culprit == culprit
    assert reading(0.1, **seconds).culprit is None, "who does not wait blames nobody"


def test_a_meter_that_was_not_run_says_nothing():
    nothing = MeterReading(0.0, 0)
    assert (nothing.busy("store"), nothing.wait_share, nothing.culprit) == (0.0, 0.0, None)


def test_queues_tell_their_depth_until_they_are_replaced():
    meter = StageMeter()
    meter.employ(("decode",), 0)
    meter.watch({"decoded": lambda: QueueDepth(1, 3, 4)})
    found = meter.snapshot()
    meter.watch({})
    assert found.queues == {"decoded": QueueDepth(1, 3, 4)}
    assert found.threads == {"decode": 1}
    assert meter.snapshot().queues == {}


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Eight clips in a store that is no folder of this machine."""
    url = "memory://meter/dataset"
    build_clip_dataset(open_store(url), tmp_path_factory.mktemp("scratch"), counts=(4, 4))
    return url


def slowed(monkeypatch: pytest.MonkeyPatch, owner: object, name: str, seconds: float) -> None:
    """Let a function take longer."""
    work = getattr(owner, name)

    def slow(*args: object, **kwargs: object) -> object:
        time.sleep(seconds)
        return work(*args, **kwargs)

    monkeypatch.setattr(owner, name, slow)


SLOW = {
    "store": (RangedShard, "read_together", 0.5),
    "decode": (pixels, "open_clip", 0.2),
    "augment": (dali_rows.RowAugmenter, "run", 0.4),
}


@pytest.mark.parametrize("culprit", list(SLOW))
def test_the_loader_blames_what_was_slowed(remote: str, monkeypatch: pytest.MonkeyPatch, culprit: str):
    slowed(monkeypatch, *SLOW[culprit])
    with build_loader(LoaderConfig(remote, batch_size=4, frames=2, size=32, lanes=2)) as loader:
        next(loader)
        began = loader.meter.snapshot()
        for _ in range(3):
            next(loader)
        found = loader.meter.snapshot().since(began)
        queues = dict(found.queues)
    assert found.culprit == culprit
    assert found.stage("store").bytes > 0
    assert set(queues) == {"fetched", "decoded"}
    assert loader.meter.snapshot().queues == {}, "a closed loader has no queues"


def test_local_shards_and_copies_have_their_own_names(remote: str, tmp_path: Path):
    build_clip_dataset(open_store(tmp_path / "local"), tmp_path / "scratch", counts=(4,))
    with build_loader(LoaderConfig(str(tmp_path / "local"), batch_size=2, frames=2, size=32)) as loader:
        next(loader)
        found = loader.meter.snapshot()
    assert found.stage("disk").bytes > 0
    assert found.stage("copy").calls >= 1
    assert found.stage("store").calls == found.stage("cache").calls == 0
