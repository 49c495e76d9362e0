"""What a run tells of itself while it goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from shards.manifest import ShardEntry
from shards.plan import BlockPlan
from tools.corpus.tally import Activity, Progress


@dataclass(frozen=True, slots=True)
class Planned:
    """A run is about to start: its plan, and the rows, clips and blocks that need no work."""

    plan: BlockPlan
    rows_done: int
    clips_done: int
    blocks_done: int


@dataclass(frozen=True, slots=True)
class Note:
    """One line that the user should read."""

    text: str


Event = Planned | Note | Progress | Activity | ShardEntry
"""All that is told."""

Report = Callable[[Event], None]
"""Who hears of it."""


def spell_count(count: int, noun: str) -> str:
    """Return a number of things in words, ``1 row`` or ``2 rows``."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
