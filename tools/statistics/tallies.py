"""How often each value of a column occurs, as long as there are not too many different ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

MOST_VALUES: Final = 4096
"""Different values that are counted; a column with more is no set of kinds."""

_FEW: Final = 8
"""Values up to which rows are counted value by value where some have none, which takes a third of the time."""


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts by value, and rows without one; ``counts`` is None, and nothing known, where there are more than 4096.

    Truth values are spelt ``true`` and ``false``. That of parts, merged, is that of the whole.
    """

    counts: Mapping[str, int] | None = field(default_factory=dict)
    missing: int = 0

    @classmethod
    def of(cls, column: pa.Array, *, known: Tally | None = None) -> Self:
        """Return the tally of a column of texts, truth values or whole numbers; dictionaries of them are quick.

        ``known`` is of other rows of the same whole: where it has too many values, none are counted.
        """
        if known is not None and known.counts is None:
            return cls(None)
        if pa.types.is_dictionary(column.type):
            return cls.of_counts(_of_dictionary(column), column.null_count)
        if pa.types.is_boolean(column.type):
            return cls.of_counts(_of_flags(column), column.null_count)
        if pa.types.is_integer(column.type) and not column.null_count:
            found, counts = np.unique(column.to_numpy(), return_counts=True)
            return cls.of_counts(
                {str(value): count for value, count in zip(found.tolist(), counts.tolist(), strict=True)}
            )
        pairs = pc.value_counts(column.drop_null() if column.null_count else column).to_pylist()
        return cls.of_counts({_spell(pair["values"]): pair["counts"] for pair in pairs}, column.null_count)

    @classmethod
    def of_counts(cls, counts: Mapping[str, int], missing: int = 0) -> Self:
        """Return the tally of counted values."""
        return cls(dict(counts), missing) if len(counts) <= MOST_VALUES else cls(None)

    @classmethod
    def merged(cls, parts: Sequence[Tally]) -> Self:
        """Return the tally of all parts' rows."""
        whole: Counter[str] = Counter()
        for part in parts:
            if part.counts is None:
                return cls(None)
            whole.update(part.counts)
        return cls.of_counts(whole, sum(part.missing for part in parts))


def spelt(values: pa.Array) -> list[str]:
    """Return values as reports spell them; null is ``null``."""
    return [_spell(value) for value in values.to_pylist()]


def _spell(value: object) -> str:
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _of_flags(column: pa.Array) -> dict[str, int]:
    counts = {"true": column.true_count, "false": column.false_count}
    return {name: count for name, count in counts.items() if count}


def _of_dictionary(column: Any) -> dict[str, int]:  # noqa: ANN401 - pyarrow has no types
    values = spelt(column.dictionary)
    if column.null_count and len(values) <= _FEW:
        counts = [pc.equal(column.indices, number).true_count for number in range(len(values))]
    else:
        indices = column.indices.drop_null().to_numpy(zero_copy_only=False)
        counts = np.bincount(indices, minlength=len(values)).tolist()
    return {value: count for value, count in zip(values, counts, strict=True) if count}
