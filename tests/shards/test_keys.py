"""Keys that come twice are found, named with their shards, in memory or over files."""

from __future__ import annotations

import pytest

from shards import keys
from shards.keys import Repeat, find_repeats


@pytest.mark.parametrize("held", [1 << 22, 8])
def test_repeats_are_named_with_their_shards(monkeypatch, held):
    monkeypatch.setattr(keys, "_HELD", held)
    shards = [("a", [f"k{i}" for i in range(20)]), ("b", ["x", "k7", "x"]), ("c", ["k7", "y"])]
    found = find_repeats(lambda: shards)
    assert found == [Repeat("k7", "a", "b"), Repeat("x", "b", "b"), Repeat("k7", "a", "c")]
    assert find_repeats(lambda: shards, most=1) == [Repeat("k7", "a", "b")]


@pytest.mark.parametrize("held", [1 << 22, 100])
def test_datasets_that_share_all_keys_are_told_in_bounded_memory(monkeypatch, held):
    monkeypatch.setattr(keys, "_HELD", held)
    monkeypatch.setattr(keys, "_MOST", 5)
    names = [f"k{i}" for i in range(300)]
    assert len(keys._repeated_digests(names * 2)) == 5
    found = find_repeats(lambda: [("a", names), ("b", names)], most=3)
    assert [(each.first, each.second) for each in found] == [("a", "b")] * 3
    assert len({each.key for each in found}) == 3


@pytest.mark.parametrize("held", [1 << 22, 100])
def test_unique_keys_have_none(monkeypatch, held):
    monkeypatch.setattr(keys, "_HELD", held)
    assert find_repeats(lambda: [(str(n), [f"{n}_{i}" for i in range(300)]) for n in range(3)]) == []
    assert find_repeats(list) == []


def test_digests_that_agree_by_chance_are_no_repeats(monkeypatch):
    monkeypatch.setattr(keys, "_digest", len)
    assert find_repeats(lambda: [("a", ["ab", "cd"]), ("b", ["ef", "ab"])]) == [Repeat("ab", "a", "b")]
