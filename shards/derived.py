"""Values that follow from a record's columns and are not stored: sides and shape of pictures, words of captions."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

_WORD: Final = r"[^\s\pZ\x0b\x1c-\x1f\x{85}]+"
"""A run of characters of which none is a blank of any script: what ``str.split`` gives."""


@dataclass(frozen=True, slots=True)
class _Derived:
    """How one value follows from others: of one row of plain values, and of Arrow arrays, which are of this type."""

    of: tuple[str, ...]
    row: Callable[..., Any]
    arrays: Callable[..., Any]
    type: pa.DataType = field(default_factory=pa.int32)


def _aspect(width: int, height: int, rotation: int) -> float:
    return height / width if rotation % 180 else width / height


def _aspects(width: pa.Array, height: pa.Array, rotation: pa.Array) -> pa.Array:
    wide, high = pc.cast(width, pa.float64()), pc.cast(height, pa.float64())
    upright = pc.is_in(rotation, value_set=pa.array([0, 180], rotation.type))
    return pc.if_else(upright, pc.divide(wide, high), pc.divide(high, wide))


DERIVED: Final[Mapping[str, _Derived]] = {
    "short_side": _Derived(("width", "height"), min, pc.min_element_wise),
    "long_side": _Derived(("width", "height"), max, pc.max_element_wise),
    "aspect": _Derived(("width", "height", "rotation"), _aspect, _aspects, pa.float64()),
    "caption_words": _Derived(
        ("caption",), lambda text: len(text.split()), lambda texts: pc.count_substring_regex(texts, _WORD)
    ),
    "caption_chars": _Derived(("caption",), len, pc.utf8_length),
}
"""Each value that can be derived: pixels for sides, width over height as shown for the aspect, counts for captions."""


def columns_for(names: Collection[str], stored: Collection[str]) -> frozenset[str]:
    """Return which of the ``stored`` columns have to be read so that all ``names`` can be had.

    A stored column of a derived value's name goes before the derivation; names that nothing gives are left out.
    """
    needed = {name for name in names if name in stored}
    for name in names:
        if name not in stored and name in DERIVED:
            needed |= {column for column in DERIVED[name].of if column in stored}
    return frozenset(needed)


def with_derived(table: pa.Table | pa.RecordBatch, names: Collection[str]) -> pa.Table | pa.RecordBatch:
    """Return the table with those of ``names`` appended that it lacks and that follow from its columns."""
    stored = set(table.schema.names)
    for name in sorted(set(names) - stored):
        derived = DERIVED.get(name)
        if derived is not None and stored.issuperset(derived.of):
            table = table.append_column(name, derived.arrays(*(table.column(column) for column in derived.of)))
    return table


def derived_schema(schema: pa.Schema) -> pa.Schema:
    """Return the schema with every value appended that it lacks and that follows from its columns, of whatever type."""
    stored = set(schema.names)
    lacking = [name for name in sorted(DERIVED) if name not in stored and stored.issuperset(DERIVED[name].of)]
    return pa.schema([*schema, *(pa.field(name, DERIVED[name].type) for name in lacking)], schema.metadata)


def derived_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the derived values of one row whose columns they follow from are all there."""
    return {
        name: derived.row(*(row[column] for column in derived.of))
        for name, derived in DERIVED.items()
        if all(row.get(column) is not None for column in derived.of)
    }
