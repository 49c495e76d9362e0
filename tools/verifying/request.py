"""What one call of the verify command asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from shards.manifest import ShardEntry
from tools.corpus.executor import ExecutorChoice


@dataclass(frozen=True, slots=True)
class VerifyRequest:
    """One call of ``vidloom verify``.

    ``dataset`` is a folder or URL. With ``decode`` every clip is decoded, or ``sample`` of them, which ``seed`` draws.
    ``shards`` names those that are looked at, such as ``3,7-9``; None: all. With ``repair`` files are put back that can
    be made again. ``choice`` says who works; ``log`` is a file that gets a JSON line for every problem.

    Raises:
        ValueError: options do not go together.
    """

    dataset: str
    decode: bool = False
    sample: int | None = None
    seed: int = 0
    shards: str | None = None
    repair: bool = False
    choice: ExecutorChoice = field(default_factory=ExecutorChoice)
    log: str | None = None

    def __post_init__(self) -> None:
        if self.sample is not None and self.sample < 1:
            raise ValueError(f"--sample is {self.sample}; it must be at least 1")
        if self.sample is not None and not self.decode:
            raise ValueError("--sample goes with --decode: all else is checked of every clip anyway")
        if self.choice.name != "local" and not self.decode:
            raise ValueError(f"--executor {self.choice.name} goes with --decode: nothing else needs many machines")


def chosen_shards(text: str | None, shards: Sequence[ShardEntry]) -> list[int]:
    """Return the places of shards that a list such as ``3,7-9`` names by their numbers; all of them for None.

    Raises:
        ValueError: it is no such list, or the dataset, which has some, has no such shard.
    """
    if text is None:
        return list(range(len(shards)))
    ranges = [_numbers(text, part) for part in text.split(",")]
    places = {int(entry.stem): place for place, entry in enumerate(shards)}
    if not places:
        return []
    for numbers in ranges:
        odd = next((number for number in numbers if number not in places), None)
        if odd is not None:
            raise ValueError(f"--shards names shard {odd}; the dataset has {min(places)} to {max(places)}")
    return sorted({places[number] for numbers in ranges for number in numbers})


def _numbers(text: str, part: str) -> range:
    first, dash, last = part.strip().partition("-")
    if not first.isdecimal() or (dash and not last.isdecimal()):
        raise ValueError(f"--shards is {text!r}; it takes numbers and ranges of them, such as 3,7-9")
    numbers = range(int(first), int(last if dash else first) + 1)
    if not numbers:
        raise ValueError(f"--shards is {text!r}, of which {part.strip()} ends before it begins")
    return numbers
