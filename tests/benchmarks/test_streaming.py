"""Each side of reading from a store has to deliver the object, or nothing is compared."""

from __future__ import annotations

import hashlib
import json
import os

import pytest

from benchmarks import streaming
from benchmarks.streaming import OtherBytesError, Side

DATA = bytes(range(256)) * 4000


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """Take back the variables that a run sets."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_ENDPOINT_URL"):
        monkeypatch.setenv(name, "")


@pytest.mark.parametrize("pieces", [[DATA], [DATA[:7], memoryview(DATA)[7:]]])
def test_pieces_are_hashed_one_after_the_other(pieces):
    Side("a", lambda: pieces).check(hashlib.sha256(DATA).hexdigest())


@pytest.mark.parametrize("pieces", [[DATA[:-1]], [DATA[1:], DATA[:1]], [b"\0" + DATA[1:-1] + b"\0"], []])
def test_other_bytes_are_told(pieces):
    with pytest.raises(OtherBytesError, match="a delivered other bytes"):
        Side("a", lambda: pieces).check(hashlib.sha256(DATA).hexdigest())


@pytest.mark.parametrize("pieces", [[DATA[:-1]], [DATA, DATA[:1]], []])
def test_fewer_bytes_in_a_round_that_counts_are_told(pieces):
    side = Side("a", lambda: pieces)
    with pytest.raises(OtherBytesError, match=f"a delivered .* bytes in a round, and the object has {len(DATA)}"):
        side.measure(len(DATA))
    assert side.rates == side.costs == []


def test_sides_take_turns(tmp_path, monkeypatch):
    order = []
    sides = [Side(name, lambda name=name: order.append(name) or [DATA]) for name in ("a", "b")]
    monkeypatch.setattr(streaming, "_sides", lambda _: sides)
    monkeypatch.setattr(streaming.os, "urandom", lambda _: DATA)
    options = streaming._options(["--store", "ranges", "--mebibytes", "1", "--rounds", "3", "--folder", str(tmp_path)])
    streaming._measure(options)
    assert order == ["a", "b", *"ba", *"ab", *"ba"]


def test_a_server_that_ends_early_is_told(tmp_path):
    """The plain client reads what comes and does not wait for more."""
    data = bytes(1 << 20)
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench/00000.tar").write_bytes(data[:-1])
    with streaming.ranges_server(tmp_path) as endpoint:
        os.environ["AWS_ENDPOINT_URL"] = endpoint
        found = streaming._object(data, f"{endpoint}/bench/00000.tar", endpoint, tmp_path)
        http, *_ = streaming._sides(found)
        with pytest.raises(OtherBytesError, match=r"http\.client delivered other bytes"):
            http.check(found.entry.sha256)


def test_all_sides_deliver_the_object(tmp_path):
    found = tmp_path / "found.json"
    options = ["--store", "ranges", "--mebibytes", "1", "--rounds", "2", "--folder", str(tmp_path)]
    assert streaming.main([*options, "--json", str(found)]) == 0
    sides = json.loads(found.read_text())
    assert len(sides) == 6
    assert all(len(side["MB/s"]) == 2 for side in sides.values()), "the round that checks does not count"


def test_nothing_is_compared_where_one_does_not(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(streaming, "_sides", lambda _: [Side("ours, to a file", lambda: [DATA])])
    assert streaming.main(["--store", "ranges", "--mebibytes", "1", "--folder", str(tmp_path)]) == 1
    shown = capsys.readouterr()
    assert shown.err == "ours, to a file delivered other bytes than those of the object\n"
    assert not shown.out
