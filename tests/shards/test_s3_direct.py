"""Ranges are asked for past botocore once it has shown how, and by it again wherever an answer is odd."""

from __future__ import annotations

import asyncio
import gc
import random
import ssl
from collections import Counter
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest
from botocore.credentials import ReadOnlyCredentials

from shards import s3_direct, s3_reading
from shards.errors import NotFoundError, StoreError
from shards.s3 import connect
from shards.s3_direct import DirectReads, _place, direct_reads
from shards.s3_signing import Asked, Form, learn_form
from shards.s3_wire import OddAnswerError, Wires
from shards.store import Patience, open_store
from tests.support.fault_proxy import Fault, running_proxy

DATA = random.Random(2).randbytes(300_000)
PATIENT = Patience(connect_seconds=2, read_seconds=20, attempts=5)


@pytest.fixture(scope="module")
def url(object_store) -> str:
    store = open_store(f"{object_store.make_bucket('direct')}/x y+ü")
    store.put("a=b", DATA)
    return store.url


@pytest.fixture
def asked(monkeypatch) -> Counter[str]:
    """How often ranges were asked for past botocore, and by it."""
    counts: Counter[str] = Counter()
    direct, long = DirectReads.ask, s3_reading._Reading._call

    async def ask(*arguments: object) -> object:
        counts["direct"] += 1
        return await direct(*arguments)

    async def call(*arguments: object) -> object:
        counts["botocore"] += 1
        return await long(*arguments)

    monkeypatch.setattr("shards.pace.Pace.take_hedge", lambda _: False)  # a busy machine would be asked twice
    monkeypatch.setattr(DirectReads, "ask", ask)
    monkeypatch.setattr(s3_reading._Reading, "_call", call)
    return counts


def fresh(url: str):
    """A store with a client of its own, which has asked for nothing yet."""
    return open_store(url, patience=Patience(read_seconds=random.uniform(20, 21)))


def test_botocore_is_asked_once(url, asked):
    store = fresh(url)
    known = store.expect("a=b", len(DATA))
    for start in range(0, len(DATA), 50_000):
        assert store.read_range("a=b", start, start + 50_000, known=known) == DATA[start : start + 50_000]
    assert asked == {"botocore": 1, "direct": 5}


def test_what_is_absent_or_changed_is_named_by_it(url, asked):
    store = fresh(url)
    store.put("c", DATA)
    known = store.expect("c", len(DATA))
    store.read_range("c", 0, 10, known=known)
    with pytest.raises(NotFoundError, match="/absent"):
        store.read_range("absent", 0, 10, known=store.expect("absent", 10))
    store.put("c", DATA[::-1])
    with pytest.raises(StoreError, match="/c: the object changed while it was read"):
        store.read_range("c", 0, 10, known=known)
    assert asked == {"botocore": 3, "direct": 2}


def test_a_store_that_is_busy_is_asked_again(url, asked, object_store, monkeypatch):
    with running_proxy(urlsplit(object_store.endpoint).port) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        store = fresh(url)
        known = store.expect("a=b", len(DATA))
        store.read_range("a=b", 0, 10, known=known)
        for count in range(1, 5):
            proxy.fault = Fault("refuse", times=1)
            assert store.read_range("a=b", 0, len(DATA), known=known) == DATA
            assert asked == {"botocore": 1 + count, "direct": count}, "that it was busy says nothing against asking so"


def test_after_silence_botocore_asks(url, asked, object_store, monkeypatch):
    with running_proxy(urlsplit(object_store.endpoint).port) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        store = open_store(url, patience=Patience(connect_seconds=2, read_seconds=1.0, attempts=5))
        known = store.expect("a=b", len(DATA))
        store.read_range("a=b", 0, 10, known=known)
        proxy.fault = Fault("stall", times=1, after=0)
        assert store.read_range("a=b", 0, len(DATA), known=known) == DATA
        assert asked["direct"] == 1
        assert asked["botocore"] >= 2, "a busy machine may be silent, too"
        assert store.read_range("a=b", 5, 10, known=known) == DATA[5:10]
        assert asked["direct"] == 2, "the next range goes past it again"


def test_another_key_is_used_as_soon_as_it_is_there(url, asked, monkeypatch):
    store = fresh(url)
    known = store.expect("a=b", len(DATA))
    store.read_range("a=b", 0, 10, known=known)

    async def wrong(*_: object) -> ReadOnlyCredentials:
        return ReadOnlyCredentials("nobody", "nothing", None)

    monkeypatch.setattr(DirectReads, "_credentials", wrong)
    assert store.read_range("a=b", 5, 10, known=known) == DATA[5:10]
    assert asked == {"botocore": 2, "direct": 1}, "the store refused the signature"
    monkeypatch.undo()


def test_a_proxy_is_left_to_botocore(url, asked, monkeypatch):
    monkeypatch.setattr("shards.s3_direct.get_environ_proxies", lambda _: {"http": "http://proxy:3128"})
    store = fresh(url)
    known = store.expect("a=b", len(DATA))
    for _ in range(3):
        store.read_range("a=b", 0, 10, known=known)
    assert asked == {"botocore": 3}


class System:
    """What is needed of a file system: a session with credentials, and its loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop, self.session = loop, self

    async def get_credentials(self) -> System:
        return self

    async def get_frozen_credentials(self) -> ReadOnlyCredentials:
        return ReadOnlyCredentials("a", "b", None)


def test_a_bucket_that_refuses_it_again_and_again_is_left_to_botocore(monkeypatch):
    form = Form(secure=False, host="store:9000", prefix="/b/", region="r", service="s3", headers=())
    monkeypatch.setattr("shards.s3_direct.learn_form", lambda *_: form)
    response = SimpleNamespace(request_info=SimpleNamespace(url="http://store:9000/b/x", headers={}))

    async def run() -> list[bool]:
        system = System(asyncio.get_running_loop())
        direct, known = DirectReads(system, 1), []
        await direct.learn("b", "x", response, refused=False)
        known.append(direct.knows("b"))
        for _ in range(3):
            await direct.learn("b", "x", response, refused=True)
            known.append(direct.knows("b"))
        return known

    assert asyncio.run(run()) == [True, True, True, False]


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_a_busy_answer_says_nothing_against_the_request(monkeypatch, status):
    kept = (("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),)
    form = Form(secure=False, host="store:9000", prefix="/b/", region="r", service="s3", headers=kept)
    monkeypatch.setattr("shards.s3_direct.learn_form", lambda *_: form)
    monkeypatch.setattr("shards.s3_direct._PAUSE", 0)
    response = SimpleNamespace(request_info=SimpleNamespace(url="http://store:9000/b/x", headers={}))

    async def busy(*_: object) -> None:
        raise OddAnswerError(status)

    monkeypatch.setattr(Wires, "send", busy)

    async def run() -> None:
        system = System(asyncio.get_running_loop())
        direct = DirectReads(system, 1)
        await direct.learn("b", "x", response, refused=False)
        assert await direct.ask("b", Asked("x", 0, 1, None)) is None

    asyncio.run(run())


def test_file_systems_that_are_equal_share_no_credentials():
    one, other = connect(PATIENT), connect(PATIENT)
    assert one == other
    assert direct_reads(one, 1) is direct_reads(one, 1)
    assert direct_reads(one, 1) is not direct_reads(other, 1)
    number = id(other)
    del other
    gc.collect()
    assert number not in s3_direct._known


def test_tls_is_that_of_botocores_own_connection():
    context = ssl.create_default_context()
    transport = SimpleNamespace(get_extra_info={"sslcontext": context}.get)
    form = Form(secure=True, host="b.store", prefix="/", region="r", service="s3", headers=())
    there = _place(form, SimpleNamespace(connection=SimpleNamespace(transport=transport)))
    assert there is not None
    assert (there.host, there.port) == ("b.store", 443)
    assert there.context is context
    assert _place(form, SimpleNamespace(connection=None)) is None
    assert learn_form("https://b.store/x", {}, "x", ReadOnlyCredentials("a", "b", None)) is None
