"""Which type each of the user's own columns has, and its cells as values of that type."""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Callable
from typing import Any, Final

import pyarrow as pa

_INTEGER: Final = re.compile(r"-?(0|[1-9][0-9]*)")
_INT64_DIGITS: Final = 20
_NUMBER: Final = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?")
_TRUTH: Final = {"true": True, "false": False, "True": True, "False": False}
_INT64: Final = range(-(2**63), 2**63)

DECLARED_KINDS: Final[tuple[tuple[Callable[[pa.DataType], bool], str], ...]] = (
    (pa.types.is_boolean, "bool"),
    (lambda arrow: pa.types.is_integer(arrow) and arrow != pa.uint64(), "int64"),
    (pa.types.is_floating, "double"),
)
"""Tests on an Arrow type with the kind (a key of ``EXTRA_TYPES``) that it is stored as; all else is stored as text."""


def text_kind(cell: str) -> str | None:
    """Return the narrowest kind that holds the cell of a text table without loss of meaning; None for an empty cell.

    Numbers with leading zeros are names, so they stay text, as do whole numbers that 64 bits do not hold.
    """
    if not cell:
        return None
    if cell in _TRUTH:
        return "bool"
    if _INTEGER.fullmatch(cell):
        return "int64" if len(cell) <= _INT64_DIGITS and int(cell) in _INT64 else "string"
    if _NUMBER.fullmatch(cell) and math.isfinite(float(cell)):
        return "double"
    return "string"


def value_kind(value: Any) -> str | None:  # noqa: ANN401 - any JSON value
    """Return the kind that holds a JSON value; None for null."""
    if value is None:
        return None
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int64" if value in _INT64 else "string"
    return "double" if isinstance(value, float) else "string"


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
    if value is None or value == "":
        return None
    if kind == "string":
        return _text(value)
    if kind == "bool":
        return value if isinstance(value, bool) else _truth(value)
    if kind == "int64":
        return int(value)
    number = float(value)
    return number if math.isfinite(number) else None


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
