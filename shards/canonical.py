"""The one spelling of our JSON files, and reading them back with their format number checked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from shards import layout


def canonical_json(value: Mapping[str, Any]) -> bytes:
    """Return the one UTF-8 spelling of a JSON object: keys sorted, no NaN, two-space indents, a newline at the end.

    Raises:
        ValueError: a number is not finite.
        TypeError: a value has no place in JSON.
    """
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False, indent=2)
    return f"{text}\n".encode()


def parse_versioned(data: bytes, url: str) -> dict[str, Any]:
    """Return the object that one of our JSON files holds; ``url`` is what messages call the file.

    Raises:
        ValueError: it is no JSON, or of a format that this version does not know.
    """
    try:
        values = json.loads(data)
    except ValueError as error:
        raise ValueError(f"{url} is no JSON file: {error}") from error
    found = values.get("format") if isinstance(values, dict) else None
    if found != layout.FORMAT_VERSION:
        raise ValueError(
            f"{url} has format {found!r}; this version reads format {layout.FORMAT_VERSION}: "
            "take the version of vidloom that wrote it, or make the dataset again",
        )
    return dict(values)
