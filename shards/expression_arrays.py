"""An expression's value for all rows of an Arrow table at once, equal to what single rows give."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from shards.expression_tree import Constant, Kind, Name, Node

_DOUBLE: Final = pa.float64()
_WHOLE: Final = pa.int64()


def mask_of(node: Node, batch: pa.RecordBatch) -> pa.BooleanArray:
    """Return where a tree is true, null counting as false; its kinds fit the batch's columns."""
    found = _value(node, batch)
    if isinstance(found, pa.Scalar):
        return pa.repeat(pa.scalar(found.as_py() is True), batch.num_rows)
    return pc.fill_null(found.cast(pa.bool_()), fill_value=False)


def array_of(node: Node, batch: pa.RecordBatch) -> pa.Array:
    """Return a tree's values, one a row."""
    found = _value(node, batch)
    return pa.repeat(found, batch.num_rows) if isinstance(found, pa.Scalar) else found


def kinds_of(schema: pa.Schema) -> dict[tuple[str, ...], Kind]:
    """Return the kind of each column of a schema, and of the fields of its structs, by their paths."""
    kinds: dict[tuple[str, ...], Kind] = {}
    for column in schema:
        kinds |= _field_kinds((column.name,), column.type)
    return kinds


def _field_kinds(path: tuple[str, ...], arrow: pa.DataType) -> dict[tuple[str, ...], Kind]:
    kinds: dict[tuple[str, ...], Kind] = {path: _kind(arrow)}
    if pa.types.is_struct(arrow):
        for child in arrow:
            kinds |= _field_kinds((*path, child.name), child.type)
    return kinds


def _kind(arrow: pa.DataType) -> Kind:
    tests: tuple[tuple[Callable[[pa.DataType], bool], Kind], ...] = (
        (pa.types.is_boolean, "truth"),
        (lambda kind: pa.types.is_integer(kind) or pa.types.is_floating(kind), "number"),
        (lambda kind: pa.types.is_string(kind) or pa.types.is_large_string(kind), "text"),
        (lambda kind: pa.types.is_list(kind) or pa.types.is_large_list(kind), "list"),
        (pa.types.is_null, "unknown"),
    )
    if pa.types.is_dictionary(arrow):
        return _kind(arrow.value_type)
    return next((kind for test, kind in tests if test(arrow)), "other")


def _value(node: Node, batch: pa.RecordBatch) -> Any:  # noqa: ANN401 - an Arrow array or scalar
    if isinstance(node, Constant):
        return pa.scalar(node.value)
    if isinstance(node, Name):
        return _column(node, batch)
    if isinstance(node.operands[-1], Constant) and node.operation in _WITH_CONSTANT:
        return _WITH_CONSTANT[node.operation](_value(node.operands[0], batch), node.operands[-1].value)
    values = [_value(operand, batch) for operand in node.operands]
    if node.operation == "%":
        return _remainder(values, batch.num_rows)
    return _OPERATIONS[node.operation](values)


def _column(node: Name, batch: pa.RecordBatch) -> pa.Array:
    found = batch.column(node.path[0])
    for name in node.path[1:]:
        found = pc.struct_field(found, name)
    if pa.types.is_dictionary(found.type):
        found = found.dictionary_decode()
    if pa.types.is_floating(found.type):
        return _finite(found.cast(_DOUBLE))
    if pa.types.is_integer(found.type):
        return _whole(found)
    return found


def _whole(found: pa.Array) -> pa.Array:
    try:
        return found.cast(_WHOLE)
    except pa.ArrowInvalid:  # unsigned, and beyond what 64 bits with a sign hold
        return found.cast(_DOUBLE, safe=False)


def _finite(found: Any) -> Any:  # noqa: ANN401 - an Arrow array or scalar
    return pc.if_else(pc.is_finite(found), found, pa.scalar(None, _DOUBLE))


def _double(value: Any) -> Any:  # noqa: ANN401 - an Arrow array or scalar
    return pc.cast(value, _DOUBLE, safe=False)


def _compared(name: str) -> Callable[[Sequence[Any]], Any]:
    def apply(values: Sequence[Any]) -> Any:  # noqa: ANN401 - an Arrow array or scalar
        if {_WHOLE, _DOUBLE} == {value.type for value in values}:
            values = [_double(value) for value in values]
        return pc.call_function(name, list(values))

    return apply


def _arithmetic(name: str) -> Callable[[Sequence[Any]], Any]:
    return lambda values: _finite(pc.call_function(name, [_double(value) for value in values]))


def _remainder(values: Sequence[Any], rows: int) -> pa.Array:
    """Return remainders with the sign of the divisor, as Python has them; Arrow has no such function."""
    left, right = (_numpy(value, rows) for value in values)
    with np.errstate(all="ignore"):
        return _finite(pa.array(np.remainder(left, right), _DOUBLE))


def _numpy(value: Any, rows: int) -> NDArray[np.float64]:  # noqa: ANN401 - an Arrow array or scalar
    found = _double(value)
    array = pa.repeat(found, rows) if isinstance(found, pa.Scalar) else found
    numbers: NDArray[np.float64] = pc.fill_null(array, float("nan")).to_numpy(zero_copy_only=False)
    return numbers


def _within(value: Any, values: tuple[Any, ...]) -> Any:  # noqa: ANN401 - an Arrow array or scalar
    if isinstance(values[0], str):
        found = pc.is_in(value, value_set=pa.array(values, value.type))
    elif value.type == _WHOLE and isinstance(values[0], int):
        found = pc.is_in(value, value_set=pa.array(values, _WHOLE))
    else:  # adding zero makes one of the two zeros, which count as unlike here
        numbers = pa.array([float(number) + 0.0 for number in values], _DOUBLE)
        found = pc.is_in(pc.add(_double(value), 0.0), value_set=numbers)
    return pc.if_else(pc.is_valid(value), found, pa.scalar(None, pa.bool_()))


def _lower(values: Sequence[Any]) -> Any:  # noqa: ANN401 - an Arrow array or scalar
    """Return texts in small letters by Python's rules, which differ from Arrow's beyond ASCII."""
    (texts,) = values
    if pc.all(pc.string_is_ascii(texts)).as_py() is not False:
        return pc.ascii_lower(texts)
    if isinstance(texts, pa.Scalar):
        return pa.scalar(texts.as_py().lower(), texts.type)
    return pa.array([None if text is None else text.lower() for text in texts.to_pylist()], texts.type)


def _length(values: Sequence[Any]) -> Any:  # noqa: ANN401 - an Arrow array or scalar
    (value,) = values
    is_text = pa.types.is_string(value.type) or pa.types.is_large_string(value.type)
    return pc.cast((pc.utf8_length if is_text else pc.list_value_length)(value), _WHOLE)


def _coalesce(values: Sequence[Any]) -> Any:  # noqa: ANN401 - an Arrow array or scalar
    is_number = any(value.type in {_WHOLE, _DOUBLE} for value in values)
    return pc.coalesce(*(map(_double, values) if is_number else values))


def _matched(value: Any, pattern: str) -> Any:  # noqa: ANN401 - an Arrow array or scalar
    return pc.match_substring_regex(value, pattern)


_WITH_CONSTANT: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "in": _within,
    "like": _matched,
    "matches": _matched,
    "contains": pc.match_substring,
    "starts_with": pc.starts_with,
    "ends_with": pc.ends_with,
}
"""Operations whose last operand is always written down."""

_OPERATIONS: Final[Mapping[str, Callable[[Sequence[Any]], Any]]] = {
    "+": _arithmetic("add"),
    "-": _arithmetic("subtract"),
    "*": _arithmetic("multiply"),
    "/": _arithmetic("divide"),
    "negative": lambda values: pc.negate(_double(values[0])),
    "abs": lambda values: pc.abs(_double(values[0])),
    "==": _compared("equal"),
    "!=": _compared("not_equal"),
    "<": _compared("less"),
    "<=": _compared("less_equal"),
    ">": _compared("greater"),
    ">=": _compared("greater_equal"),
    "and": lambda values: reduce(pc.and_kleene, values),
    "or": lambda values: reduce(pc.or_kleene, values),
    "not": lambda values: pc.invert(values[0]),
    "is null": lambda values: pc.is_null(values[0]),
    "length": _length,
    "lower": _lower,
    "coalesce": _coalesce,
}
