"""Which type each of the user's own columns has, told by its values alone, and its cells as values of that type."""

from __future__ import annotations

import base64
import json
import math
import re
from typing import Any, Final

_INTEGER: Final = re.compile(r"-?(0|[1-9][0-9]*)")
_INT64_DIGITS: Final = 20
_NUMBER: Final = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?")
_NUMBER_CHARS: Final = 400
_TRUTH: Final = {"true": True, "false": False, "True": True, "False": False}
_INT64: Final = range(-(2**63), 2**63)
_EXACT: Final = 2.0**53
"""Below it, a double holds every whole number."""


def value_kind(value: Any) -> str | None:  # noqa: ANN401 - a cell of any table
    """Return the narrowest kind (a key of ``EXTRA_TYPES``) that holds a cell without loss; None for an empty one.

    A text that reads as a number or a truth value is one, and a double without a fraction is a whole number, so the
    same rows have the same kinds in formats that declare types and in those that cannot.
    """
    if isinstance(value, str):
        return _text_kind(value)
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int64" if value in _INT64 else "string"
    if isinstance(value, float):
        return _double_kind(value)
    return None if value is None else "string"


def _text_kind(cell: str) -> str | None:
    """Numbers with leading zeros are names, so they stay text, as do whole numbers that 64 bits do not hold."""
    if not cell:
        return None
    if cell in _TRUTH:
        return "bool"
    if _INTEGER.fullmatch(cell):
        return "int64" if len(cell) <= _INT64_DIGITS and int(cell) in _INT64 else "string"
    if len(cell) <= _NUMBER_CHARS and _NUMBER.fullmatch(cell) and math.isfinite(number := float(cell)):
        return _double_kind(number)
    return "string"


def _double_kind(value: float) -> str | None:
    if not math.isfinite(value):
        return None
    return "int64" if value.is_integer() and abs(value) < _EXACT else "double"


def join_kinds(one: str | None, other: str | None) -> str | None:
    """Return the narrowest kind that holds the values of both."""
    if one == other or other is None:
        return one
    if one is None:
        return other
    return "double" if {one, other} == {"int64", "double"} else "string"


def convert(value: Any, kind: str) -> Any:  # noqa: ANN401 - a cell of any table
    """Return the cell as a value of ``kind``: empty cells and numbers that are not finite become None.

    As text, lists, objects, numbers and truth values are JSON, bytes are base64, all else is as it prints.

    Raises:
        ValueError: the cell is of another kind, so the table is not the one whose columns were looked at.
    """
    if value is None or value == "" or (isinstance(value, float) and not math.isfinite(value)):
        return None
    if kind == "string":
        return _text(value)
    if kind == "bool":
        return value if isinstance(value, bool) else _truth(value)
    return _whole(value) if kind == "int64" else float(value)


def _whole(value: Any) -> int:  # noqa: ANN401 - a cell of any table
    """Return a whole number, also where it is spelled with a fraction of zero."""
    if isinstance(value, str) and not _INTEGER.fullmatch(value):
        value = float(value)
    if isinstance(value, float) and not value.is_integer():
        raise ValueError(f"{value!r} is no whole number")
    return int(value)


def _text(value: Any) -> str:  # noqa: ANN401 - a cell of any table
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, dict | list | tuple | int | float):
        return json.dumps(value, ensure_ascii=False, sort_keys=True, default=_text)
    return str(value)


def _truth(cell: str) -> bool:
    if cell not in _TRUTH:
        raise ValueError(f"{cell!r} is neither true nor false")
    return _TRUTH[cell]
