"""Classes of a dataset's samples, as numbers: from a column of names or of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int64
from torch import Tensor

# Axes: N samples.


@dataclass(frozen=True)
class Labels:
    """The class of each sample.

    Attributes:
        numbers: The classes.
        classes: Their names; None where the column has numbers and no names were given.
        column: Where they come from.
    """

    numbers: Int64[Tensor, "N"]
    classes: tuple[str, ...] | None
    column: str

    def named(self) -> tuple[str, ...]:
        """Return the names of the classes.

        Raises:
            ValueError: Only their numbers are known.
        """
        if self.classes is None:
            raise ValueError(
                f"column {self.column!r} holds numbers: give --classes a file with the name of each, one a line"
            )
        return self.classes

    @property
    def count(self) -> int:
        """How many classes there are, as far as is known."""
        return int(self.numbers.max()) + 1 if self.classes is None else len(self.classes)


def class_numbers(values: Sequence[object], classes: Sequence[str] | None, *, column: str) -> Labels:
    """Number the classes of a column.

    Args:
        values: What the column holds: names, or whole numbers from 0.
        classes: Names of the classes in order; None takes the different names that occur, sorted, as training does.
        column: The column, for messages.

    Raises:
        ValueError: A value is missing, is no class, or names and numbers are mixed.
    """
    if any(isinstance(value, float | bool) or value is None for value in values):
        wrong = next(value for value in values if isinstance(value, float | bool) or value is None)
        raise ValueError(
            f"column {column!r} holds {wrong!r}: names of classes or whole numbers are taken, in every row"
        )
    numeric = all(isinstance(value, int) for value in values)
    if classes is None and not numeric:
        classes = sorted({str(value) for value in values})
    places = {name: number for number, name in enumerate(classes or ())}
    numbers = [value if isinstance(value, int) else places.get(str(value), -1) for value in values]
    count = len(places) or max(numbers) + 1
    strangers = [value for value, number in zip(values, numbers, strict=True) if not 0 <= number < count]
    if strangers:
        raise ValueError(f"column {column!r} holds {strangers[0]!r}, which is none of the {count} classes")
    return Labels(torch.tensor(numbers, dtype=torch.int64), None if classes is None else tuple(classes), column)
