"""Ranges of objects through a bad network: resumed, asked for twice where late, of one version, given up in time."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import random
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest

from shards.errors import TransferError
from shards.pace import Pace
from shards.s3 import Version
from shards.s3_reading import _Race, _Reading
from shards.store import NotFoundError, Patience, Store, StoreError, open_store
from shards.traffic import Traffic
from tests.support.fault_proxy import Chance, Fault, FaultProxy, running_proxy

DATA = random.Random(1).randbytes(2_500_000)
PATIENT = Patience(connect_seconds=2, read_seconds=20, attempts=5)


@pytest.fixture(scope="module")
def url(object_store) -> str:
    store = open_store(f"{object_store.make_bucket('reading')}/x")
    store.put("x", DATA)
    return store.url


@pytest.fixture
def proxy(object_store, monkeypatch) -> Iterator[FaultProxy]:
    with running_proxy(urlsplit(object_store.endpoint).port) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        yield proxy


@pytest.fixture
def took() -> list[Traffic]:
    """What transfers of ``watched`` stores took."""
    return []


def watched(url: str, took: list[Traffic], patience: Patience = PATIENT) -> Store:
    return dataclasses.replace(open_store(url, patience=patience), watch=took.append)


def total(took: list[Traffic]) -> Traffic:
    return functools.reduce(Traffic.__add__, took, Traffic())


def test_a_quiet_network_takes_one_request_a_range(url, proxy, took):
    store = watched(url, took)
    assert store.read_range("x", 5, 2_000_005, known=store.expect("x", len(DATA))) == DATA[5:2_000_005]
    assert total(took) == Traffic(requests=1, bytes=2_000_000)
    assert proxy.questions == 1, "no question beside the range itself"


@pytest.mark.parametrize("after", [0, 1_400_000])
def test_a_silent_answer_is_asked_for_again_and_the_first_to_speak_wins(url, proxy, took, after):
    store = watched(url, took)
    known = store.expect("x", len(DATA))
    for _ in range(8):
        store.read_range("x", 0, 1000, known=known)
    proxy.fault = Fault("stall", times=1, after=after)
    assert store.read_range("x", 0, len(DATA), known=known) == DATA
    assert proxy.fault.times == 0
    assert total(took).hedges >= 1
    assert total(took).retries == 0, "it did not wait for the end of patience, after which it is asked for again"


def test_without_a_second_request_silence_ends_in_a_retry(url, proxy, took, monkeypatch):
    monkeypatch.setattr("shards.pace.Pace.take_hedge", lambda _: False)
    store = watched(url, took, Patience(connect_seconds=2, read_seconds=1.0, attempts=5))
    proxy.fault = Fault("stall", times=1, after=1_400_000)
    assert store.read_range("x", 0, len(DATA), known=store.expect("x", len(DATA))) == DATA
    assert total(took).retries >= 1
    assert total(took).hedges == 0
    assert len(DATA) <= total(took).bytes, "what came before the silence is not asked for again"


def test_broken_answers_of_every_kind_change_no_byte(url, proxy, took):
    store = watched(url, took, Patience(connect_seconds=2, read_seconds=1.0, attempts=5))
    known = store.expect("x", len(DATA))
    for _ in range(8):
        store.read_range("x", 0, 1000, known=known)
    proxy.chance = Chance(rate=0.25, seed=3, stall_seconds=60)
    draw = random.Random(0)
    for _ in range(200):
        if proxy.struck.keys() == set(proxy.chance.kinds):
            break
        start = draw.randrange(len(DATA) - 50_000)
        assert store.read_range("x", start, start + 50_000, known=known) == DATA[start : start + 50_000]
    else:
        pytest.fail(f"only {proxy.struck} struck")
    assert total(took).hedges <= 8 + total(took).requests * 0.05
    assert total(took).retries >= 1


def test_the_first_answer_says_which_version_is_read(url, object_store, took):
    store = watched(url, took)
    store.put("y", DATA)
    known = store.expect("y", len(DATA))
    assert isinstance(known, Version)
    assert known.etag is None
    store.read_range("y", 0, 10, known=known)
    assert known.etag is not None
    store.put("y", DATA[::-1])
    with pytest.raises(StoreError, match=r"/y: the object changed while it was read"):
        store.read_range("y", 0, 10, known=known)


@pytest.mark.parametrize(
    ("start", "expected", "what"),
    [
        (0, 3_000_000, "it has 2500000 bytes, expected are 3000000"),
        (0, 7, "it has 2500000 bytes, expected are 7"),
        (2_600_000, 3_000_000, "it ends before byte 2600001"),
    ],
)
def test_another_length_than_the_expected_is_an_error(url, took, start, expected, what):
    store = watched(url, took)
    with pytest.raises(StoreError, match=f"/x: {what}"):
        store.read_range("x", start, min(start + 100, expected), known=store.expect("x", expected))


def test_what_is_absent_is_known_by_the_first_answer(url, took):
    store = watched(url, took)
    with pytest.raises(NotFoundError, match="/absent"):
        store.read_range("absent", 0, 10, known=store.expect("absent", 10))
    with pytest.raises(NotFoundError, match="/absent"):
        store.expect("absent", 0)


def test_a_transfer_ends_when_it_is_told_to(url, proxy, took):
    stop = threading.Event()
    store = dataclasses.replace(watched(url, took), stop=stop)
    known = store.expect("x", len(DATA))
    store.read_range("x", 0, 10, known=known)
    proxy.fault = Fault("stall", times=100, after=0)
    threading.Timer(0.3, stop.set).start()
    with pytest.raises(StoreError, match=r"/x: reading was stopped"):  # the end of patience has another name
        store.read_range("x", 0, 1000, known=known)
    proxy.fault = None
    stop.clear()
    assert store.read_range("x", 0, 1000, known=known) == DATA[:1000]


@pytest.mark.parametrize(
    ("headers", "problem"),
    [
        ({"content-range": "bytes 5-9/100"}, None),
        ({"content-range": "bytes 0-4/100", "content-length": "5"}, "the server sent 'bytes 0-4/100'"),
        ({"content-length": "5"}, "the server sent 'bytes 0-4/5'"),
        ({"content-length": "100"}, "the server sent 'bytes 0-99/100'"),
        ({}, "neither which bytes it sent nor how many"),
    ],
)
def test_an_answer_says_which_bytes_it_brings(headers, problem):
    body, reading = Body(), SimpleNamespace(version=Version(None))
    if problem is None:
        assert _Reading._checked(reading, body, headers, range(5, 10)) is body
        assert not body.closed
        return
    with pytest.raises(TransferError, match=problem):
        _Reading._checked(reading, body, headers, range(5, 10))
    assert body.closed


class Body:
    """One that is closed, or not."""

    closed = False

    async def read(self, most: int) -> memoryview:
        return memoryview(bytes(min(most, 10)))

    def close(self) -> None:
        self.closed = True


def test_a_race_that_is_cancelled_lets_go_of_the_winner_too():
    bodies: list[Body] = []
    ending = asyncio.Event()

    async def open_body(*_: int, failed: bool) -> Body:
        assert not failed
        bodies.append(Body())
        if len(bodies) == 1:
            try:
                await asyncio.sleep(60)
            finally:  # the loser takes its time to end
                ending.set()
                await asyncio.sleep(0.01)
        return bodies[-1]

    pace = Pace(20)
    pace.late_after = lambda **_: 0.0
    reading = SimpleNamespace(
        pace=pace, open=open_body, took=Traffic(), version=Version(None, "a"), write=lambda *_: None
    )

    async def run() -> None:
        race = asyncio.ensure_future(_Race(reading, 0, 10 << 20, 0).run())
        await ending.wait()
        race.cancel()
        with pytest.raises(asyncio.CancelledError):
            await race

    asyncio.run(run())
    assert len(bodies) == 2
    assert bodies[1].closed
