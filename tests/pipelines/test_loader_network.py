"""The loader over a bad network: the same batches in the same order, no hang, and an outage is survived or ends it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import torch

from pipelines import Loader, LoaderConfig, build_loader
from pipelines.batch import VideoTextBatch
from shards.store import StoreOutageError, open_store
from tests.support.clip_datasets import build_clip_dataset
from tests.support.fault_proxy import Chance, FaultProxy, running_proxy
from tests.support.object_store import ObjectStore, running_store, store_environment

LONG = pytest.mark.skipif(
    os.environ.get("VIDLOOM_BAD_NETWORK") != "1", reason="some minutes; VIDLOOM_BAD_NETWORK=1 runs it"
)
COUNTS = (5, 0, 7, 4, 6)
CHANGING = ("video", "valid", "frame_times")


def settings(source: str, **changes: object) -> LoaderConfig:
    values = {"batch_size": 6, "lanes": 3, "window": 2, "frames": 4, "stride": 1, "size": 32, "workers": 1}
    return LoaderConfig(source, **(values | changes))


def take(loader: Loader, count: int) -> list[VideoTextBatch]:
    return [next(loader) for _ in range(count)]


def assert_same(found: list[VideoTextBatch], expected: list[VideoTextBatch]) -> None:
    assert [batch.keys for batch in found] == [batch.keys for batch in expected]
    for mine, theirs in zip(found, expected, strict=True):
        for name in CHANGING:
            assert torch.equal(getattr(mine, name), getattr(theirs, name))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("network")
    build_clip_dataset(open_store(folder / "clips"), folder / "scratch", counts=COUNTS)
    return str(folder / "clips")


@pytest.fixture(scope="module")
def reference(dataset: str) -> list[VideoTextBatch]:
    with build_loader(settings(dataset)) as loader:
        return take(loader, 8)


def upload(dataset: str, url: str) -> str:
    here, there = open_store(dataset), open_store(url)
    for name in here.list():
        there.put(name, here.read(name))
    return url


@pytest.fixture(scope="module")
def url(dataset: str, object_store: ObjectStore) -> str:
    return upload(dataset, object_store.make_bucket("network") + "/clips")


@pytest.fixture
def proxy(object_store: ObjectStore, url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    with running_proxy(urlsplit(object_store.endpoint).port) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        yield proxy


def test_broken_answers_change_no_batch(url: str, proxy: FaultProxy, reference: list[VideoTextBatch]):
    with build_loader(settings(url)) as loader:
        proxy.chance = Chance(rate=0.25, seed=5, stall_seconds=10)
        assert_same(take(loader, 8), reference)
        assert loader.dropped == 0
        assert sum(proxy.struck.values()) >= 3, proxy.struck
        reading = loader.meter.snapshot()
        assert reading.stage("retry").calls + reading.stage("hedge").calls >= 1


def test_a_slow_store_is_what_the_meter_blames(url: str, proxy: FaultProxy):
    with build_loader(settings(url, lanes=1)) as loader:
        proxy.chance = Chance(rate=0, delay_seconds=0.2)
        take(loader, 4)
        reading = loader.meter.snapshot()
        assert reading.culprit == "store"
        assert reading.stage("store").seconds > reading.stage("decode").seconds


def test_closing_does_not_wait_for_a_store_that_is_silent(url: str, proxy: FaultProxy):
    loader = build_loader(settings(url))
    proxy.chance = Chance(rate=1, kinds=("stall",), stall_seconds=30)
    reader = threading.Thread(target=next, args=(loader, None))
    reader.start()
    wait_until(lambda: proxy.struck["stall"] >= 4)
    loader.close()
    reader.join()
    assert proxy.resumed == 0, "the store spoke again before the loader was closed"
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("vidloom")]


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline, "it did not happen within 30 s"
        time.sleep(0.01)


@LONG
@pytest.mark.slow
@pytest.mark.parametrize("cache_bytes", [0, 60_000])
def test_one_in_twenty_requests_fails_for_many_epochs(
    url: str, proxy: FaultProxy, dataset: str, tmp_path: Path, cache_bytes: int
):
    """5 % of requests are answered 503, reset, cut or stalled for 10 s; nothing is lost, doubled or changed."""
    with build_loader(settings(dataset)) as loader:
        expected = take(loader, 120)
    cache = {"cache_dir": str(tmp_path / "cache"), "cache_bytes": cache_bytes}
    with build_loader(settings(url, **cache)) as loader:
        proxy.chance = Chance(rate=0.05, seed=1, stall_seconds=10)
        assert_same(take(loader, 60), expected[:60])
        state = loader.state_dict()
    with build_loader(settings(url, **cache), state) as loader:
        assert_same(take(loader, 60), expected[60:])
        assert loader.dropped == 0
    assert cache_bytes or proxy.struck.keys() == {"refuse", "reset", "cut", "stall"}


@LONG
@pytest.mark.slow
def test_a_store_that_is_restarted_is_waited_for(dataset: str, tmp_path: Path, reference: list[VideoTextBatch]):
    folder = tmp_path / "store"
    with running_store(folder) as first:
        port = urlsplit(first.endpoint).port
        with store_environment(first):
            url = upload(dataset, first.make_bucket("restarted") + "/clips")
    with store_environment(first), running_store(folder, port=port):
        loader = build_loader(settings(url, prefetch_batches=1))
        batches = take(loader, 2)
    with store_environment(first), loader:
        rest: list[VideoTextBatch] = []
        reader = threading.Thread(target=lambda: rest.extend(take(loader, 6)))
        reader.start()
        time.sleep(15)
        assert len(rest) < 6, "the store is away"
        with running_store(folder, port=port):
            reader.join(120)
            assert not reader.is_alive()
    assert_same(batches + rest, reference)


@LONG
@pytest.mark.slow
def test_a_store_that_stays_away_ends_the_run_in_time(dataset: str, tmp_path: Path):
    with running_store(tmp_path / "store") as store, store_environment(store):
        url = upload(dataset, store.make_bucket("gone") + "/clips")
        loader = build_loader(settings(url, prefetch_batches=1, outage_seconds=10))
        next(loader)
    with store_environment(store), loader:
        began = time.monotonic()
        with pytest.raises(StoreOutageError, match=r"cannot read s3://gone/clips/.*; it was waited for 1\d s"):
            take(loader, 8)
        assert time.monotonic() - began < 60
