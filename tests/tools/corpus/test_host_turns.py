"""No more connections to a host than are allowed, from all threads and processes, and none is kept by the dead."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from shards.errors import StoreOutageError
from shards.web_address import parse_address
from tests.support.fault_server import FaultServer, running_server
from tools.corpus import fetching
from tools.corpus.fetching import Fetching, fetched
from tools.corpus.host_turns import HostTurns

HOLD = """
import sys, time
from pathlib import Path
from tools.corpus.host_turns import HostTurns
with HostTurns(1, Path(sys.argv[1])).turn("host"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_so_many_threads_have_a_turn_and_nothing_stays(tmp_path):
    turns, lock = HostTurns(3, tmp_path / "turns"), threading.Lock()
    now, most = [0], [0]

    def work():
        for _ in range(5):
            with turns.turn("host"):
                with lock:
                    now[0] += 1
                    most[0] = max(most[0], now[0])
                with turns.turn("other host"):
                    pass
                with lock:
                    now[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 1 <= most[0] <= 3
    assert list((tmp_path / "turns").iterdir()) == []


def test_a_turn_ends_with_its_process(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"held\n"
    taken = threading.Event()

    def wait():
        with HostTurns(1, tmp_path).turn("host"):
            taken.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    assert not taken.wait(0.2)
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    holder.stdout.close()
    waiting.join(10)
    assert taken.is_set()


def test_a_folder_of_another_user_is_not_used(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    (tmp_path / "link").symlink_to("mine")
    for folder in ("link", "mine"):
        if folder == "mine":
            monkeypatch.setattr(os, "getuid", lambda: 12345)
        with pytest.raises(StoreOutageError, match="set TMPDIR"), HostTurns(1, tmp_path / folder).turn("host"):
            pass
    assert list((tmp_path / "mine").iterdir()) == []


def test_fetches_wait_for_their_turn(tmp_path, monkeypatch):
    monkeypatch.setattr(fetching.HostTurns, "of_machine", lambda most: HostTurns(most, tmp_path / "turns"))
    with running_server(FaultServer({"/a": bytes(100_000)})) as server:

        def bring():
            with fetched(parse_address(f"{server.url}/a"), tmp_path, Fetching(per_host=2)) as held:
                assert held == bytes(100_000)

        threads = [threading.Thread(target=bring) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert server.requests["/a"] == 12
        assert server.most_at_once <= 2
