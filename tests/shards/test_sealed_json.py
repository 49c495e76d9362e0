"""Sealed JSON: what was written is known again, and every change is noticed."""

from __future__ import annotations

import json

import pytest

from shards.sealed_json import SEAL, is_as_sealed, seal_json

PLAIN = {"step": 3, "loader": {"samples": 12, "lanes": (1, 2)}, "nothing": None}


def test_an_object_is_known_again_after_a_round_trip():
    sealed = json.loads(json.dumps(seal_json(PLAIN), indent=1))
    assert is_as_sealed(sealed)
    assert {key: sealed[key] for key in PLAIN} == json.loads(json.dumps(PLAIN))
    assert seal_json(sealed) == sealed


@pytest.mark.parametrize("change", [{"step": 4}, {"more": 1}, {SEAL: "0" * 64}])
def test_a_change_is_noticed(change: dict[str, object]):
    sealed = seal_json(PLAIN) | change
    assert not is_as_sealed(sealed)
    assert is_as_sealed(seal_json(sealed))


def test_an_object_without_a_hash_is_taken_at_its_word():
    assert is_as_sealed(PLAIN)
