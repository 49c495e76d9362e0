"""The fields of our JSON objects: present, known and of the types that the dataclasses declare, or refused by name."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from typing import Any, Final

_SHOWN: Final = 60


def typed(values: object, kind: type) -> dict[str, Any]:
    """Return the fields of a dataclass that stand in a parsed JSON object, their types checked.

    What is nested is an object or a list here, and is checked by the call that builds it.

    Args:
        values: what was parsed.
        kind: the dataclass; its annotations are the types.

    Raises:
        ValueError: a field is missing, unknown or of another type; the message names it and shows what it is.
    """
    name = kind.__name__
    if not isinstance(values, dict):
        raise ValueError(f"{_show(values)} stands where the fields of {name} are wanted")  # noqa: TRY004  (the file is wrong)
    known = {field.name: field for field in fields(kind)}
    required = {name for name, field in known.items() if field.default is MISSING and field.default_factory is MISSING}
    for what, odd in (("unknown", values.keys() - known), ("missing", required - values.keys())):
        if odd:
            raise ValueError(f"field {min(odd)!r} of {name} is {what}")
    for field, value in values.items():
        wanted = _WANTED[str(known[field].type)]
        if not wanted.check(value):
            raise ValueError(f"field {field!r} of {name} is {_show(value)}, wanted is {wanted.spelt}")
    return dict(values)


class _Wanted:
    """What a field may hold: how messages spell it, and the check."""

    def __init__(self, spelt: str, check: Callable[[Any], bool]) -> None:
        self.spelt, self.check = spelt, check


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0


def _is_number(value: object) -> bool:
    return _is_count(value) or (isinstance(value, float) and math.isfinite(value) and value >= 0)


def _is_list_of(value: object, check: Callable[[Any], bool]) -> bool:
    return isinstance(value, list | tuple) and all(check(one) for one in value)


def _maps_to(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, Mapping) and all(check(one) for one in value.values())


_TEXT: Final = _Wanted("a text", lambda value: isinstance(value, str))
_OBJECT: Final = _Wanted("an object", lambda value: isinstance(value, Mapping))
_WANTED: Final = {
    "int": _Wanted("a whole number from 0 on", _is_count),
    "float": _Wanted("a number from 0 on", _is_number),
    "str": _TEXT,
    "str | None": _Wanted("a text or null", lambda value: value is None or isinstance(value, str)),
    "Sequence[str]": _Wanted("a list of texts", lambda value: _is_list_of(value, _TEXT.check)),
    "bool": _Wanted("true or false", lambda value: isinstance(value, bool)),
    "Sequence[int]": _Wanted("a list of whole numbers from 0 on", lambda value: _is_list_of(value, _is_count)),
    "Mapping[str, int]": _Wanted("an object of whole numbers from 0 on", _maps_to(_is_count)),
    "Mapping[str, str]": _Wanted("an object of texts", _maps_to(_TEXT.check)),
    "Mapping[str, Any]": _OBJECT,
    "FileEntry": _OBJECT,
    "Totals": _OBJECT,
    "tuple[ShardEntry, ...]": _Wanted("a list", lambda value: isinstance(value, list)),
}
"""By annotation, as the dataclasses of the manifest spell it."""


def _show(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
