"""What an expression says, as a tree, and which kind of value each part of it has."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from shards.expression_words import ExpressionError

Kind = Literal["number", "text", "truth", "list", "other", "unknown"]
"""Kinds of values; ``other`` can only be asked whether it is null, ``unknown`` is a name before its column is known."""

DEPTH: Final = 100
"""How deep the parts of an expression may lie in each other."""

Value = bool | int | float | str | None
"""What a part of an expression is for one row; None where it is null."""


@dataclass(frozen=True, slots=True)
class Constant:
    """A value that is written down; ``value`` is a tuple for the list behind ``in``."""

    value: bool | int | float | str | tuple[Value, ...]
    at: int
    depth: int = 1


@dataclass(frozen=True, slots=True)
class Name:
    """A column, or a field of one (``decodable.nvdec``)."""

    path: tuple[str, ...]
    at: int
    depth: int = 1

    @property
    def spelt(self) -> str:
        """The name as one word."""
        return ".".join(self.path)


@dataclass(frozen=True, slots=True)
class Apply:
    """An operation, by its name in the table of signatures, on its operands."""

    operation: str
    operands: tuple[Node, ...]
    at: int
    depth: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "depth", 1 + max(operand.depth for operand in self.operands))


Node = Constant | Name | Apply


@dataclass(frozen=True, slots=True)
class Signature:
    """What an operation takes (one of these kinds, the same for all operands where ``alike``), and what it gives.

    ``gives`` None: what its operands are.
    """

    takes: frozenset[Kind]
    gives: Kind | None
    alike: bool = True


_NUMBER: Final[frozenset[Kind]] = frozenset({"number"})
_TEXT: Final[frozenset[Kind]] = frozenset({"text"})
_TRUTH: Final[frozenset[Kind]] = frozenset({"truth"})
_PLAIN: Final = _NUMBER | _TEXT | _TRUTH

SIGNATURES: Final[Mapping[str, Signature]] = {
    **dict.fromkeys(("+", "-", "*", "/", "%", "negative", "abs"), Signature(_NUMBER, "number")),
    **dict.fromkeys(("<", "<=", ">", ">="), Signature(_NUMBER | _TEXT, "truth")),
    **dict.fromkeys(("==", "!="), Signature(_PLAIN, "truth")),
    **dict.fromkeys(("and", "or", "not"), Signature(_TRUTH, "truth")),
    **dict.fromkeys(("like", "matches", "contains", "starts_with", "ends_with"), Signature(_TEXT, "truth")),
    "in": Signature(_NUMBER | _TEXT, "truth"),
    "is null": Signature(_PLAIN | {"list", "other"}, "truth", alike=False),
    "length": Signature(_TEXT | {"list"}, "number"),
    "lower": Signature(_TEXT, "text"),
    "coalesce": Signature(_PLAIN, None),
}
FUNCTIONS: Final[Mapping[str, int]] = {"abs": 1, "length": 1, "lower": 1, "coalesce": 2}
"""The functions that an expression may call, and how many values each takes."""


def names_in(node: Node) -> frozenset[str]:
    """Return the columns that a tree speaks of."""
    if isinstance(node, Apply):
        return frozenset().union(*map(names_in, node.operands))
    return frozenset({node.path[0]}) if isinstance(node, Name) else frozenset()


def kind_of(node: Node, text: str, kinds: Mapping[tuple[str, ...], Kind] | None = None) -> Kind:
    """Return the kind of a tree's value, after a look at all of its parts.

    Args:
        node: the tree.
        text: the expression that it was read from, for messages.
        kinds: the kind of each name by its path; None: nothing is known of them.

    Raises:
        ExpressionError: a name is unknown, or an operation cannot take what it is given.
    """
    if isinstance(node, Constant):
        return constant_kind(node.value)
    if isinstance(node, Name):
        if kinds is None:
            return "unknown"
        if node.path not in kinds:
            raise ExpressionError(text, node.at + 1, unknown_name(node, kinds))
        return kinds[node.path]
    return _applied(node, text, [kind_of(operand, text, kinds) for operand in node.operands])


def constant_kind(value: object) -> Kind:
    """Return the kind of a value, of the elements where it is the list behind ``in``."""
    if isinstance(value, tuple):
        return constant_kind(value[0])
    if isinstance(value, bool):
        return "truth"
    return "text" if isinstance(value, str) else "number"


def unknown_name(name: Name, known: Iterable[tuple[str, ...]]) -> str:
    """Return what to say of a name that no column has."""
    names = sorted(map(".".join, known))
    near = difflib.get_close_matches(name.spelt, names, 1)
    hint = f" (perhaps {near[0]!a}?)" if near else ""
    return f"there is no column {name.spelt!a}{hint}; there are {ascii(', '.join(names))[1:-1] or 'none'}"


def misfit(operation: str, kind: Kind) -> str:
    """Return what to say of an operand that the operation cannot take."""
    takes = " or ".join(sorted(SIGNATURES[operation].takes))
    return f"{operation!r} takes {takes}, and was given {'something' if kind == 'other' else 'a ' + kind}"


def _applied(node: Apply, text: str, found: list[Kind]) -> Kind:
    signature = SIGNATURES[node.operation]
    first: Kind = "unknown"
    for operand, kind in zip(node.operands, found, strict=True):
        if kind == "unknown":
            continue
        if kind not in signature.takes:
            raise ExpressionError(text, operand.at + 1, misfit(node.operation, kind))
        if signature.alike and first not in {"unknown", kind}:
            raise ExpressionError(text, operand.at + 1, f"{node.operation!r} was given a {first} and a {kind}")
        first = kind
    return signature.gives or first
