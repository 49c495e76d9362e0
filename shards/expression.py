"""The filter language: a condition on a clip's fields, read once, asked row by row or of whole Arrow tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from shards.expression_arrays import array_of, kinds_of, mask_of
from shards.expression_parser import read_tree
from shards.expression_rows import value_of
from shards.expression_tree import Kind, Node, kind_of, names_in
from shards.expression_words import ExpressionError

__all__ = ["Expression", "ExpressionError", "parse"]


@dataclass(frozen=True, slots=True)
class Expression:
    """A condition such as ``duration >= 2 and caption contains "dog"``; the language is described in docs/filters.md.

    Whole numbers are compared exactly; arithmetic is done in doubles, and what is not finite is null. An operation on
    null gives null, but for ``is null``, ``coalesce`` and where ``and`` or ``or`` are decided by their other side. A
    row is kept where the whole is true: null keeps nothing.
    """

    text: str
    tree: Node

    @property
    def names(self) -> frozenset[str]:
        """The columns that it speaks of; of ``decodable.nvdec`` the column is ``decodable``."""
        return names_in(self.tree)

    def check(self, schema: pa.Schema) -> None:
        """Make sure that the expression is a condition on the columns of a schema.

        Raises:
            ExpressionError: a name is unknown, an operation is given what it cannot take, or the whole is no condition.
        """
        self._require_condition(self._fitting(schema))

    def check_value(self, schema: pa.Schema) -> None:
        """Make sure that the expression, a condition or not, fits the columns of a schema.

        Raises:
            ExpressionError: a name is unknown, or an operation is given what it cannot take.
        """
        self._fitting(schema)

    def value(self, row: Mapping[str, Any]) -> Any:  # noqa: ANN401 - what the expression says: truth, number or text
        """Return the expression's value for one row, a mapping of its names to plain values; None is null.

        Raises:
            ExpressionError: the row lacks a name, or holds what an operation cannot take.
        """
        return value_of(self.tree, row, self.text)

    def holds(self, row: Mapping[str, Any]) -> bool:
        """Return whether the condition is true for one row.

        Raises:
            ExpressionError: as ``value``, or the expression is no condition.
        """
        value = self.value(row)
        if value is not None and not isinstance(value, bool):
            self._require_condition("text" if isinstance(value, str) else "number")
        return value is True

    def mask(self, data: pa.Table | pa.RecordBatch) -> pa.BooleanArray:
        """Return where the condition is true, one truth value a row and none of them null.

        Raises:
            ExpressionError: as ``check``.
        """
        self.check(data.schema)
        if isinstance(data, pa.RecordBatch):
            return mask_of(self.tree, data)
        masks = [mask_of(self.tree, batch) for batch in data.to_batches()]
        return pa.concat_arrays(masks) if masks else pa.array([], pa.bool_())

    def array(self, data: pa.RecordBatch) -> pa.Array:
        """Return the expression's values, one a row.

        Raises:
            ExpressionError: a name is unknown, or an operation is given what it cannot take.
        """
        self.check_value(data.schema)
        return array_of(self.tree, data)

    def _fitting(self, schema: pa.Schema) -> Kind:
        return kind_of(self.tree, self.text, kinds_of(schema))

    def _require_condition(self, kind: Kind) -> None:
        if kind not in {"truth", "unknown"}:
            raise ExpressionError(self.text, 1, f"the whole is no condition but a {kind}; a condition is true or false")


def parse(text: str) -> Expression:
    """Return the expression that a text spells.

    Raises:
        ExpressionError: it cannot be read; the message names the place, what was found there and what is taken.
    """
    return Expression(text, read_tree(text))
