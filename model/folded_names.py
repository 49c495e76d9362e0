"""Long lists of parameter names as a person reads them: those of many blocks in one."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
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


def fold_parts(names: Iterable[str], among: Collection[str]) -> list[str]:
    """Return names with whole parts in one: ``text.*`` where all of ``among`` that begins so is in ``names``."""
    chosen = dict.fromkeys(names)
    split = {start for name in among if name not in chosen for start in _starts(name)}
    whole = {name: next((f"{start}.*" for start in _starts(name) if start not in split), name) for name in chosen}
    return fold_names(dict.fromkeys(whole.values()))


def _starts(name: str) -> list[str]:
    """Return what a name begins with, part by part, the whole name left out."""
    parts = name.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts))]


def _spell_numbers(numbers: list[int]) -> str:
    if len(numbers) == 1:
        return str(numbers[0])
    ordered = sorted(numbers)
    if ordered == list(range(ordered[0], ordered[-1] + 1)):
        return f"{{{ordered[0]}-{ordered[-1]}}}"
    return "{" + ",".join(map(str, ordered)) + "}"
