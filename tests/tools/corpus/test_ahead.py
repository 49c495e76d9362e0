"""Remote videos are fetched ahead in bounded number, each once, and their faults stay their own."""

from __future__ import annotations

import threading
import time

import pytest

from shards.ledger import Reason
from shards.store import open_store
from tests.support.fault_server import FaultPlan, FaultServer, running_server
from tools.corpus.ahead import ReadAhead
from tools.corpus.fetching import Fetching
from tools.corpus.sources import SourceError, Sources

NAMES = [f"/{number}.mp4" for number in range(9)]


@pytest.fixture
def server():
    with running_server(FaultServer({name: name.encode() for name in NAMES})) as server:
        yield server


def wait_for(truth):
    until = time.monotonic() + 10
    while not truth() and time.monotonic() < until:
        time.sleep(0.005)
    assert truth()


def sources_of(tmp_path, **fetching):
    return Sources.below(str(tmp_path), allow_outside=True, fetching=Fetching(attempts=1, **fetching))


@pytest.mark.parametrize("ahead", [0, 3, 20])
def test_videos_come_in_any_order_each_fetched_once_and_no_more_than_so_many_ahead(server, tmp_path, ahead):
    (tmp_path / "local.mp4").write_bytes(b"here")
    videos = ["local.mp4", *(server.url + name for name in NAMES)]
    with ReadAhead(sources_of(tmp_path, ahead=ahead), videos, tmp_path) as reader:
        wait_for(lambda: len(server.asked) == min(ahead, len(NAMES)))
        with reader.reading("local.mp4", tmp_path) as held:
            assert held.read_bytes() == b"here"
        for name in (*NAMES[:2], NAMES[8], *NAMES[2:8], NAMES[0]):
            with reader.reading(server.url + name, tmp_path) as held:
                assert held == name.encode()
    assert server.requests == {name: 1 + (name == NAMES[0]) for name in NAMES}
    assert server.most_at_once <= max(1, ahead)


def test_a_fault_is_told_when_its_video_is_read(server, tmp_path):
    server.plan = FaultPlan(1.0, ("missing",))
    videos = [server.url + name for name in NAMES]
    with ReadAhead(sources_of(tmp_path), videos, tmp_path) as reader:
        for video in videos:
            with pytest.raises(SourceError) as caught, reader.reading(video, tmp_path):
                pass
            assert caught.value.fault.reason is Reason.NOT_FOUND
            assert video in str(caught.value)


def test_memory_is_shared_and_files_go(server, tmp_path):
    store = open_store(f"memory://{tmp_path.name}")
    store.put("a.mp4", b"in a store")
    videos = [f"{store.url}/a.mp4", *(server.url + name for name in NAMES)]
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with ReadAhead(sources_of(tmp_path, memory_bytes=15, ahead=4), videos, scratch) as reader:
        with reader.reading(videos[0], scratch) as held:
            assert held.read_bytes() == b"in a store"
        with reader.reading(videos[1], scratch) as held:
            assert held.read_bytes() == b"/0.mp4"
        wait_for(lambda: len(list(scratch.iterdir())) == 4)
    wait_for(lambda: not list(scratch.iterdir()))
    assert server.requests[NAMES[8]] == 0


def test_what_comes_after_the_end_is_let_go(server, tmp_path):
    gate = threading.Event()
    server.on_request = lambda _: gate.wait(10)
    with ReadAhead(sources_of(tmp_path, memory_bytes=4, ahead=3), [server.url + name for name in NAMES], tmp_path):
        wait_for(lambda: len(server.asked) == 3)
    gate.set()
    wait_for(lambda: sum(server.requests.values()) == 3)
    wait_for(lambda: not [path for path in tmp_path.iterdir() if path.name.startswith("source-")])
