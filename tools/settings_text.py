"""Settings as a person types them, ``name=value``, to and from plain values."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

_SIZE: Final = re.compile(r"(\d+)x(\d+)")
_NUMBERS: Final = re.compile(r"\d+(?:,\d+)+")


def parse_settings(texts: Iterable[str]) -> dict[str, Any]:
    """Read ``name=value`` texts; a dotted name is a field of a field.

    A value is JSON, a size such as 224x320, numbers such as 8,9,10,11, or else plain text.

    Raises:
        ValueError: A text has no ``=``, or a name is given twice.
    """
    settings: dict[str, Any] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign or not name:
            raise ValueError(f"{text!r} is no setting: write NAME=VALUE, such as frames=16")
        *path, last = name.strip().split(".")
        inner = settings
        for part in path:
            inner = inner.setdefault(part, {})
            if not isinstance(inner, dict):
                raise ValueError(f"{name} and {part} are both given: one of them is taken")  # noqa: TRY004 - a user's fault
        if last in inner:
            raise ValueError(f"{name} is given twice")
        inner[last] = _parse_value(value.strip())
    return settings


def spell_settings(plain: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Return settings as a person types them."""
    spelt: list[str] = []
    for name, value in plain.items():
        if isinstance(value, Mapping):
            spelt += spell_settings(value, f"{prefix}{name}.")
        else:
            spelt.append(f"{prefix}{name}={_spell_value(name, value)}")
    return spelt


def _parse_value(text: str) -> object:
    size = _SIZE.fullmatch(text)
    if size:
        return [int(size[1]), int(size[2])]
    if _NUMBERS.fullmatch(text):
        return [int(number) for number in text.split(",")]
    try:
        value: object = json.loads(text)
    except json.JSONDecodeError:
        return text
    return value


def _spell_value(name: str, value: object) -> str:
    if isinstance(value, list):
        return ("x" if name.endswith("image_size") else ",").join(map(str, value))
    return value if isinstance(value, str) else json.dumps(value)
