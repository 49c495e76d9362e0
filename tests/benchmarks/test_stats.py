"""The comparison of statistics with a scan: the first round is not counted, and sides take turns in going first."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from benchmarks import stats
from benchmarks.sides.process import Side

SUMS = {"clips": 3, "frames": 6, "bytes": 9}


@dataclass
class Told(Side):
    """A side whose rounds take 100 seconds, 1 second, 2 seconds and so on."""

    turns: list[str] = field(default_factory=list)
    sums: dict[str, int] = field(default_factory=lambda: dict(SUMS))

    def step(self):
        """Note the turn."""
        number = self.turns.count(self.name)
        self.turns.append(self.name)
        return {**self.sums, **dict.fromkeys(("seconds", "cpu", "peak", "grown"), float(number or 100))}


@pytest.fixture
def turns(monkeypatch):
    seen = []
    process = SimpleNamespace(stdin=io.StringIO(), wait=lambda: 0)
    monkeypatch.setattr(stats, "_start", lambda name, _: Told(name, process, turns=seen))
    return seen


def test_the_first_round_is_a_rehearsal_and_sides_take_turns(turns, tmp_path):
    found = stats.measure(tmp_path, 3, rounds=3)
    assert turns == ["count", "scan", "scan", "count", "count", "scan", "scan", "count"]
    assert found["scan"]["seconds"] == found["count"]["cpu"] == 2.0
    assert found["rows"] == 3


def test_other_sums_are_no_comparison(monkeypatch, turns, tmp_path):
    process = SimpleNamespace(stdin=io.StringIO(), wait=lambda: 0)
    monkeypatch.setattr(
        stats, "_start", lambda name, _: Told(name, process, turns=turns, sums=SUMS | {"frames": len(name)})
    )
    with pytest.raises(SystemExit, match="do not agree"):
        stats.measure(tmp_path, 3, rounds=1)
