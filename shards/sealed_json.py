"""JSON objects that carry a hash of all else in them, so that a changed one is noticed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

SEAL: Final = "sha256"
"""Name of the hash in an object of all else in it."""


def seal_json(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object with its own hash in it, in place of one that it has."""
    bare = {key: value for key, value in plain.items() if key != SEAL}
    return {**bare, SEAL: _hash(json.loads(json.dumps(bare)))}


def is_as_sealed(plain: Mapping[str, Any]) -> bool:
    """Tell whether an object says what was written; one without a hash is taken at its word."""
    return SEAL not in plain or plain[SEAL] == _hash({key: value for key, value in plain.items() if key != SEAL})


def _hash(plain: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
