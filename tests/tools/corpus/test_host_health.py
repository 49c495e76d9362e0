"""A dead host costs one try a file, a host that speaks again all of them; hosts are kept in bounded number."""

from __future__ import annotations

import pytest

from shards.web_address import parse_address
from shards.web_errors import WebError
from tools.corpus import fetching
from tools.corpus.fetching import Fetching, fetched
from tools.corpus.host_health import HostHealth


def test_a_host_is_dead_after_some_files_and_alive_after_one():
    health = HostHealth()
    tries = []
    for reached in (False, False, False, False, True, False):
        tries.append(health.attempts("a", 4))
        health.note("a", reached=reached)
    assert tries == [4, 4, 4, 1, 1, 4]
    assert health.attempts("b", 4) == 4


def test_hosts_long_gone_are_forgotten():
    health = HostHealth()
    for _ in range(3):
        health.note("first", reached=False)
    for number in range(10_000):
        health.note(str(number), reached=False)
    assert health.attempts("first", 4) == 4
    assert len(health._failures) == 10_000


def test_rows_of_a_dead_host_are_not_tried_again_and_again(tmp_path, monkeypatch):
    asked = []

    def fail(address, sink, manners, *, turn):
        asked.append(manners.attempts)
        raise WebError("unreachable", "its server cannot be reached")

    monkeypatch.setattr(fetching, "fetch", fail)
    monkeypatch.setattr(fetching, "_health", HostHealth())
    for _ in range(5):
        with pytest.raises(WebError), fetched(parse_address("http://dead/a"), tmp_path, Fetching()):
            pass
    assert asked == [4, 4, 4, 1, 1]
