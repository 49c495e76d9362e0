"""Our JSON files have one spelling, and a number of a format that is checked before anything else."""

from __future__ import annotations

import pytest

from shards.canonical import canonical_json, parse_versioned


def test_canonical_json_refuses_what_json_lacks():
    assert canonical_json({"b": "ä", "a": 0.1}) == '{\n  "a": 0.1,\n  "b": "ä"\n}\n'.encode()
    with pytest.raises(ValueError, match="JSON"):
        canonical_json({"a": float("nan")})


def test_what_is_written_is_read_back():
    assert parse_versioned(canonical_json({"format": 1, "a": [1, None]}), "x.json") == {"format": 1, "a": [1, None]}


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"format": 2}', b"\xff"])
def test_what_is_none_of_ours_is_named(data):
    with pytest.raises(ValueError, match=r"^x\.json (is no JSON file|has format)"):
        parse_versioned(data, "x.json")
