"""What the shapes of weights tell of a network, field by field, and what the user says of it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from torch import Tensor

_HEAD_WIDTH: Final = 64
_WIDE_HEADS: Final[Mapping[int, int]] = {1280: 16, 1408: 16, 1664: 16}
"""Widths whose published networks (VideoMAE-H, g and G) have wider heads, and how many."""

_DIGITS: Final = 9
"""Digits of a part's number; a longer one is none."""


class UnfitShapesError(ValueError):
    """The weights that tell sizes are missing, or tell sizes that cannot be.

    Attributes:
        what: What is wrong.
        shapes: Shapes of the weights in question by our names; None where one is missing.
    """

    def __init__(self, what: str, shapes: Mapping[str, tuple[int, ...] | None]) -> None:
        super().__init__(f"{what}: {spell_shapes(shapes, str)}")
        self.what = what
        self.shapes = shapes

    def spelt(self, spell: Callable[[str], str]) -> str:
        """Return the message with the weights' names as ``spell`` gives them."""
        return f"{self.what}: {spell_shapes(self.shapes, spell)}"


def spell_shapes(shapes: Mapping[str, tuple[int, ...] | None], spell: Callable[[str], str]) -> str:
    """Return weights in a row with their shapes."""
    return ", ".join(
        spell(name) + (" is missing" if shape is None else f" {list(shape)}") for name, shape in shapes.items()
    )


class Sizes:
    """What is known of a network, or of one tower of it, while its weights are read.

    Attributes:
        home: How the names of the tower's weights begin in the whole network.
        told_by: Shapes that were read so far, by names in the whole network.
        weights: Weights by our names inside the tower.
        given: Fields that the user gives.
        told: Fields that the weights tell.
        guessed: Fields that follow from the weights by custom; what the user gives wins.
    """

    def __init__(self, weights: Mapping[str, Tensor], given: Mapping[str, Any], home: str = "") -> None:
        self.home = home
        self.told_by: dict[str, tuple[int, ...] | None] = {}
        self.weights = weights
        self.given = given
        self.told: dict[str, Any] = {}
        self.guessed: dict[str, Any] = {}

    def shape(self, name: str, axes: int) -> tuple[int, ...]:
        """Return the shape of a weight that has so many axes."""
        found = tuple(self.weights[name].shape) if name in self.weights else None
        if found is None or len(found) != axes or 0 in found:
            fault = f"a weight with {axes} axes tells sizes of the network"
            raise UnfitShapesError(fault, {self.home + name: found})
        self.told_by[self.home + name] = found
        return found

    def tower(self, name: str) -> Sizes:
        """Return what is known of a tower, from the weights and fields below its name."""
        given = self.given.get(name, {})
        if not isinstance(given, Mapping):
            raise ValueError(f"{name} is given as {given!r}: give {name}.depth and the like")  # noqa: TRY004 - a user's fault
        prefix = f"{name}."
        inside = {each.removeprefix(prefix): value for each, value in self.weights.items() if each.startswith(prefix)}
        tower = Sizes(inside, given, prefix)
        tower.told_by = self.told_by
        return tower

    def has(self, ending: str) -> bool:
        """Tell whether the name of a weight ends so."""
        return any(name.endswith(ending) for name in self.weights)

    def count(self, prefix: str) -> int:
        """Return how many numbered parts there are below ``prefix``.

        Raises:
            UnfitShapesError: Parts before the last are missing. (One absurd number would fill the memory with parts.)
        """
        numbered = re.compile(rf"{re.escape(prefix)}\.(\d{{1,{_DIGITS}}})\.")
        found = {int(match[1]): match.string for match in map(numbered.match, self.weights) if match}
        last = max(found, default=-1)
        absent = next((number for number in range(last) if number not in found), None)
        if absent is not None:
            fault = f"parts are numbered from 0 without gaps, and number {absent} is missing before"
            raise UnfitShapesError(fault, {self.home + found[last]: tuple(self.weights[found[last]].shape)})
        return last + 1

    def guess_heads(self, name: str, width: int) -> None:
        """Guess how many attention heads a width is split into.

        Raises:
            ValueError: There is no custom for such a width, and the user gives no number.
        """
        heads = _WIDE_HEADS.get(width, width // _HEAD_WIDTH if width % _HEAD_WIDTH == 0 else 0)
        if heads:
            self.guessed[name] = heads
        elif name not in self.given:
            raise ValueError(
                f"no weight tells the number of attention heads, and there is no custom for a width of {width}: "
                f"give {name} (vidloom convert: --set {name}=NUMBER)"
            )

    def tell_ratio(self, name: str, width: int, hidden: int) -> None:
        """Tell the ratio of two widths, which is rounded down when it is used: what the user gives wins if it fits."""
        given = self.given.get(name)
        fits = isinstance(given, int | float) and int(width * given) == hidden
        self.told[name] = given if fits else _ratio(width, hidden)

    def plain(self) -> dict[str, Any]:
        """Return the fields that are known.

        Raises:
            ValueError: The user gives what the weights contradict.
        """
        for name, value in self.told.items():
            if self.given.get(name, value) != value:
                raise ValueError(f"{name} is given as {self.given[name]} and the weights' shapes say {value}")
        return {**self.guessed, **self.given, **self.told}

    def told_names(self, prefix: str = "") -> set[str]:
        """Return the names of the fields that the weights tell, each behind ``prefix``."""
        return {prefix + name for name in self.told}


@dataclass(frozen=True)
class Fields:
    """Fields as plain values, and the dotted names of those that the weights tell."""

    plain: dict[str, Any]
    told: set[str]


def _ratio(width: int, hidden: int) -> float:
    """Return the MLP ratio whose product with ``width``, rounded down, is ``hidden``."""
    ratio = hidden / width
    return ratio if int(width * ratio) == hidden else math.nextafter(ratio, math.inf)
