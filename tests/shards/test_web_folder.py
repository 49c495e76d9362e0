"""A web server is a store that can be read: names, ranges and copies as elsewhere, failures by the same names."""

from __future__ import annotations

import pickle
import random

import pytest

from shards.errors import without_signature
from shards.store import NotFoundError, Patience, StoreError, StoreOutageError, open_store, split_url
from tests.support.fault_server import FaultPlan, FaultServer, running_server

DATA = random.Random(0).randbytes(100_003)
QUICK = Patience(connect_seconds=2, read_seconds=0.3, attempts=2)


@pytest.fixture(params=[True, False], ids=["ranges", "whole files only"])
def server(request):
    with running_server(FaultServer({"/d/a b.csv": DATA, "/d/empty": b""}, ranges=request.param)) as server:
        yield server


def test_what_lies_there_is_read(server, tmp_path):
    store = pickle.loads(pickle.dumps(open_store(f"{server.url}/d", patience=QUICK)))
    assert store.read("a b.csv") == DATA
    assert (store.stat("a b.csv").size, store.stat("a b.csv").etag) == (len(DATA), server.etag(DATA))
    assert store.read_range("a b.csv", 50, 1000) == DATA[50:1000]
    store.download("a b.csv", tmp_path / "copy", part_bytes=20_000, streams=3, size=len(DATA))
    assert (tmp_path / "copy").read_bytes() == DATA
    with store.open("a b.csv") as file:
        file.seek(-5, 2)
        assert file.read() == DATA[-5:]
    assert store.read("empty") == b""
    assert store.exists("empty")
    assert not store.exists("none")
    with pytest.raises(NotFoundError, match="none: it does not exist"):
        store.read("none")


def test_a_signed_table_is_found_by_its_whole_name(server):
    parent, name = split_url(f"{server.url}/d/a b.csv?Signature=ge/heim&x=a//b")
    assert open_store(parent, patience=QUICK).read(name) == DATA
    assert server.asked[-1][0] == "/d/a%20b.csv?Signature=ge%2Fheim&x=a%2F%2Fb"
    with pytest.raises(StoreError) as caught:
        open_store(parent, patience=QUICK).read(name.replace("a b", "none"))
    assert "heim" not in str(caught.value)


@pytest.mark.parametrize("kind", ["busy", "truncated", "early_reset", "stall"])
def test_a_failing_server_is_an_outage(kind):
    with running_server(FaultServer({"/a": DATA}, FaultPlan(1.0, (kind,)), stall_seconds=1)) as server:
        with pytest.raises(StoreError) as caught:
            open_store(server.url, patience=QUICK).read("a")
        assert isinstance(caught.value, StoreOutageError)
        assert "/a: " in str(caught.value)


def test_a_forbidden_file_is_no_outage():
    with running_server(FaultServer({"/a": DATA}, FaultPlan(1.0, ("forbidden",)))) as server:
        with pytest.raises(StoreError, match="status 403") as caught:
            open_store(server.url, patience=QUICK).read("a")
        assert not isinstance(caught.value, StoreOutageError)


def test_a_file_that_changed_is_refused():
    with running_server(FaultServer({"/a": DATA})) as server:
        store = open_store(server.url, patience=QUICK)
        known = store.stat("a")
        server.files["/a"] = DATA[::-1]
        with pytest.raises(StoreError, match="changed"):
            store.read_range("a", 10, 20, known=known)


def test_nothing_is_written(tmp_path):
    store = open_store("http://127.0.0.1:9")
    (tmp_path / "x").write_bytes(b"x")
    for change in (lambda: store.put("x", b""), lambda: store.put_file("x", tmp_path / "x"), lambda: store.delete("x")):
        with pytest.raises(StoreError, match="a web server is read only"):
            change()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://h/a?access_token=geheim&b=2", "https://h/a?access_token=***&b=2"),
        ("https://h/exp=1~acl=/*~hmac=0badcafe/a.mp4", "https://h/exp=1~acl=/*~hmac=***/a.mp4"),
        ("https://h/a?hdnea=exp=1~hmac=ab", "https://h/a?hdnea=***"),
        ("https://h/a?Policy=p&Key-Pair-Id=k&Signature=geheim~", "https://h/a?Policy=p&Key-Pair-Id=k&Signature=***"),
        ("https://h/a?md5=geheim&expires=1", "https://h/a?md5=***&expires=1"),
        ("https://h/a?x=1&api_key=geheim", "https://h/a?x=1&api_key=***"),
        ("https://h/a?key=videos/a.mp4&tokens=3", "https://h/a?key=videos/a.mp4&tokens=3"),
    ],
)
def test_signatures_of_many_kinds_are_left_out(url, shown):
    assert without_signature(url) == shown
