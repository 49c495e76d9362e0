"""Named tensors against what they should be: each fault is named, and a long list is cut."""

from __future__ import annotations

import pytest

from model.entries import listed, require_same_entries


def test_equal_entries_pass():
    require_same_entries({"a": (2, 3), "b": ()}, {"b": (), "a": (2, 3)}, "wrong")


def test_each_fault_is_named_with_its_shapes():
    with pytest.raises(ValueError, match=r"^wrong: 1 missing \(b \[\]\), 1 unknown \(c \[4\]\), 1 of another shape"):
        require_same_entries({"a": (2,), "c": (4,)}, {"a": (3,), "b": ()}, "wrong")


def test_long_lists_are_cut():
    assert listed(["a", "b"]) == "a, b"
    assert listed([str(i) for i in range(20)]).endswith("10, 11 and 8 more")
