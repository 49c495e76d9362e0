"""Long lists of parameter names as a person reads them: those of many blocks in one."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

_NUMBER: Final = re.compile(r"(?<=\.)\d+(?=\.)")


def fold_names(names: Iterable[str]) -> list[str]:
    """Return names with those in one that differ in their first number alone: ``blocks.{0-11}.norm1.weight``."""
    folded: dict[str, list[int]] = {}
    for name in names:
        match = _NUMBER.search(name)
        if match is None:
            folded[name] = []
        else:
            folded.setdefault(f"{name[: match.start()]}\0{name[match.end() :]}", []).append(int(match[0]))
    return [name.replace("\0", _spell_numbers(numbers)) if numbers else name for name, numbers in folded.items()]


def _spell_numbers(numbers: list[int]) -> str:
    if len(numbers) == 1:
        return str(numbers[0])
    ordered = sorted(numbers)
    if ordered == list(range(ordered[0], ordered[-1] + 1)):
        return f"{{{ordered[0]}-{ordered[-1]}}}"
    return "{" + ",".join(map(str, ordered)) + "}"
