"""An expression's value for one row of plain Python values: the meaning of every operation, null by null."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from shards.expression_tree import (
    SIGNATURES,
    Apply,
    Constant,
    Kind,
    Name,
    Node,
    Value,
    constant_kind,
    misfit,
    unknown_name,
)
from shards.expression_words import ExpressionError

_INT64: Final = range(-(2**63), 2**63)


def value_of(node: Node, row: Mapping[str, Any], text: str) -> Any:  # noqa: ANN401 - a value of any kind, lists too
    """Return the value of a tree for one row.

    Raises:
        ExpressionError: the row lacks a name, or holds what an operation cannot take.
    """
    if isinstance(node, Constant):
        return node.value
    if isinstance(node, Name):
        return _looked_up(node, row, text)
    values = [value_of(operand, row, text) for operand in node.operands]
    _require_kinds(node, values, text)
    if node.operation in _KLEENE:
        return _KLEENE[node.operation](values)
    if any(value is None for value in values):
        return None
    return _STRICT[node.operation](*values)


def plain(value: object) -> Any:  # noqa: ANN401 - a value of any kind
    """Return a cell as expressions see it: numbers that are not finite are null, whole ones beyond 64 bits doubles."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, int) and value not in _INT64:
        return plain(float(value)) if abs(value) < 1 << 1023 else None
    return value


def _looked_up(node: Name, row: Mapping[str, Any], text: str) -> Any:  # noqa: ANN401 - a value of any kind
    found: Any = row
    for place, name in enumerate(node.path):
        if not isinstance(found, Mapping) or name not in found:
            known = [(*node.path[:place], str(key)) for key in found] if isinstance(found, Mapping) else []
            raise ExpressionError(text, node.at + 1, unknown_name(node, known))
        found = found[name]
        if found is None:
            return None
    return plain(found)


def _require_kinds(node: Apply, values: Sequence[Any], text: str) -> None:
    signature = SIGNATURES[node.operation]
    first: Kind | None = None
    for operand, value in zip(node.operands, values, strict=True):
        if value is None:
            continue
        kind = _kind(value) if isinstance(operand, Name) else constant_kind(value)
        if kind not in signature.takes:
            raise ExpressionError(text, operand.at + 1, misfit(node.operation, kind))
        if signature.alike and first not in {None, kind}:
            raise ExpressionError(text, operand.at + 1, f"{node.operation!r} was given a {first} and a {kind}")
        first = kind


def _kind(value: object) -> Kind:
    if isinstance(value, list | tuple):
        return "list"
    return constant_kind(value) if isinstance(value, bool | int | float | str) else "other"


def _pair(left: Value, right: Value) -> tuple[Any, Any]:
    """Return two values as they are compared: whole numbers exactly, whole and other numbers as doubles."""
    if isinstance(left, float) and isinstance(right, int):
        return left, float(right)
    return (float(left), right) if isinstance(left, int) and isinstance(right, float) else (left, right)


def _compared(test: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    return lambda left, right: test(*_pair(left, right))


def _arithmetic(work: Callable[[float, float], float]) -> Callable[[Any, Any], float | None]:
    def apply(left: float, right: float) -> float | None:
        try:
            result = work(float(left), float(right))
        except (ZeroDivisionError, OverflowError):
            return None
        return result if math.isfinite(result) else None

    return apply


def _within(value: Value, values: tuple[Value, ...]) -> bool:
    return any(left == right for left, right in (_pair(value, other) for other in values))


def _and(values: Sequence[bool | None]) -> bool | None:
    if False in values:
        return False
    return None if None in values else True


def _or(values: Sequence[bool | None]) -> bool | None:
    if True in values:
        return True
    return None if None in values else False


def _coalesce(values: Sequence[Value]) -> Value:
    found = next((value for value in values if value is not None), None)
    return float(found) if isinstance(found, int) and not isinstance(found, bool) else found


def _matches(value: str, pattern: str) -> bool:
    """Search by RE2, whose time grows with the text's length alone, whatever the pattern; odd bytes count as "?"."""
    text = value.encode(errors="replace").decode()
    return bool(pc.match_substring_regex(pa.scalar(text), pattern).as_py())


_KLEENE: Final[Mapping[str, Callable[[Sequence[Any]], Any]]] = {
    "and": _and,
    "or": _or,
    "is null": lambda values: values[0] is None,
    "coalesce": _coalesce,
}
"""Operations that see nulls."""

_STRICT: Final[Mapping[str, Callable[..., Any]]] = {
    "+": _arithmetic(lambda left, right: left + right),
    "-": _arithmetic(lambda left, right: left - right),
    "*": _arithmetic(lambda left, right: left * right),
    "/": _arithmetic(lambda left, right: left / right),
    "%": _arithmetic(lambda left, right: left % right),
    "negative": lambda value: -float(value),
    "abs": lambda value: abs(float(value)),
    "==": _compared(lambda left, right: left == right),
    "!=": _compared(lambda left, right: left != right),
    "<": _compared(lambda left, right: left < right),
    "<=": _compared(lambda left, right: left <= right),
    ">": _compared(lambda left, right: left > right),
    ">=": _compared(lambda left, right: left >= right),
    "not": lambda value: not value,
    "in": _within,
    "like": _matches,
    "matches": _matches,
    "contains": lambda value, part: part in value,
    "starts_with": str.startswith,
    "ends_with": str.endswith,
    "length": len,
    "lower": str.lower,
}
"""Operations that are null as soon as one operand is."""
