"""What a run counts while it goes on: rows, clips, bytes and fates since the last event, and what is at work now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

Fate = tuple[str, str]
"""A status that is no success, and its reason."""


@dataclass(frozen=True, slots=True)
class Progress:
    """What was done since the last event; negative where work was lost.

    ``rows`` were dealt with, ``clips`` of ``bytes`` bytes in all were cut; ``fates`` counts what became no clip, by
    status and reason.
    """

    rows: int = 0
    clips: int = 0
    bytes: int = 0
    fates: Mapping[Fate, int] = field(default_factory=dict)

    def __add__(self, other: Progress) -> Progress:
        fates = Counter(self.fates)
        fates.update(other.fates)
        return Progress(
            self.rows + other.rows,
            self.clips + other.clips,
            self.bytes + other.bytes,
            {fate: count for fate, count in fates.items() if count},
        )

    def __neg__(self) -> Progress:
        fates = {fate: -count for fate, count in self.fates.items()}
        return Progress(-self.rows, -self.clips, -self.bytes, fates)


@dataclass(frozen=True, slots=True)
class Activity:
    """How many workers are at work, and which video has been at work for the longest, for how many seconds."""

    workers: int
    slowest: str = ""
    seconds: float = 0.0
