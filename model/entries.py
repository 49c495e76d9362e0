"""Named tensors against what they should be: what is missing, what is unknown, what has another shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from torch import Tensor

_LISTED: Final = 12
"""How many names of a kind a message lists."""


def shapes_of(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of tensors by their names."""
    return {name: tuple(value.shape) for name, value in tensors.items()}


def require_same_entries(
    given: Mapping[str, tuple[int, ...]], wanted: Mapping[str, tuple[int, ...]], fault: str
) -> None:
    """Check that tensors have the names and shapes that they should have.

    Args:
        given: Shapes by name, as they are.
        wanted: Shapes by name, as they should be.
        fault: What is wrong where they differ, as the beginning of the message.

    Raises:
        ValueError: Tensors are missing, unknown or of another shape; they are named.
    """
    faults = {
        "missing": [f"{name} {list(shape)}" for name, shape in wanted.items() if name not in given],
        "unknown": [f"{name} {list(shape)}" for name, shape in given.items() if name not in wanted],
        "of another shape": [
            f"{name} is {list(given[name])} and should be {list(shape)}"
            for name, shape in wanted.items()
            if name in given and given[name] != shape
        ],
    }
    wrong = [f"{len(names)} {what} ({listed(names)})" for what, names in faults.items() if names]
    if wrong:
        raise ValueError(f"{fault}: {', '.join(wrong)}")


def listed(names: Sequence[str]) -> str:
    """Return names in a row, the first of them where there are many."""
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
