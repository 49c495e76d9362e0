"""The rows of a classification head: which of them another list of classes can keep."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from torch import Tensor

_HEADS: Final[Mapping[str, re.Pattern[str]]] = {
    "videomae_classifier": re.compile(r"head\."),
    "uniformerv2": re.compile(r"transformer\.proj\.2\."),
    "mm_vqa": re.compile(r"vqa_classifier\.5\."),
    "coordination": re.compile(r"masked\.head\.|multimodal\.\d+\.transformer\.proj\.2\."),
}
"""How the names of the last linear map begin, whose rows are the classes."""


@dataclass(frozen=True)
class ClassLists:
    """What the rows of two heads stand for; None where nobody knows."""

    source: Sequence[str] | None = None
    target: Sequence[str] | None = None


@dataclass(frozen=True)
class HeadRows:
    """A head's tensor for other classes.

    Attributes:
        value: The tensor; None where no row can be kept.
        how: What was done, or why nothing was; empty where the head is as it was.
        assumed: Whether nothing but their number says that the classes are the same.
    """

    value: Tensor | None
    how: str = ""
    assumed: bool = False


def is_head(kind: str, name: str) -> bool:
    """Tell whether the first axis of a weight of a network of this kind is its classes."""
    return kind in _HEADS and _HEADS[kind].match(name) is not None


def fit_head(value: Tensor, own: Tensor, classes: ClassLists) -> HeadRows:
    """Bring a head's weight or bias from the classes of one list to those of another.

    Rows of classes that both lists name are kept, the others have the target's first values. Where a list is not known,
    a head of as many classes is taken as it is, and one of others not at all.

    Args:
        value: The source's weight or bias, a row for each class.
        own: The target's, which is not changed.
        classes: What the rows stand for.

    Raises:
        ValueError: A list has another length than its head.
    """
    for names, head, whose in ((classes.source, value, "source"), (classes.target, own, "model")):
        if names is not None and len(names) != len(head):
            raise ValueError(f"the {whose} has {len(head)} classes and its list names {len(names)}")
    if classes.source is None or classes.target is None:
        if len(value) == len(own):
            return HeadRows(value.detach().to(own.dtype), assumed=True)
        return HeadRows(None, f"its {len(value)} classes are not the {len(own)} here, and no two lists tell which are")
    if list(classes.source) == list(classes.target):
        return HeadRows(value.detach().to(own.dtype))
    rows = {name: row for row, name in enumerate(classes.source)}
    kept = [row for row, name in enumerate(classes.target) if name in rows]
    if not kept:
        return HeadRows(None, "the two lists of classes share no name")
    fitted = own.detach().clone()
    fitted[kept] = value[[rows[classes.target[row]] for row in kept]].to(fitted)
    return HeadRows(fitted, f"{len(kept)} of {len(own)} classes keep their rows, the others start fresh")
