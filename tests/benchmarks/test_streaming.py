"""Each side of reading from a store has to deliver the object, or nothing is compared."""

from __future__ import annotations

import hashlib
import json

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
