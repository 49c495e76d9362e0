"""What a worker is given to do: a block of rows, what all blocks share, and whom to tell how it goes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tools.corpus.cut_options import CutOptions
from tools.corpus.ingest import InputRow
from tools.corpus.tables import Fault
from tools.corpus.tally import Progress


@dataclass(frozen=True, slots=True)
class BlockSettings:
    """What every block of a run shares.

    ``out`` is the dataset's URL; ``extra`` maps the user's columns to their types; ``scratch`` is a local folder of the
    run's own; ``threads`` videos of a block are cut at a time. ``published`` is the URL of the dataset whose shards are
    made again, where that is what is done.
    """

    out: str
    options: CutOptions
    extra: Mapping[str, str]
    scratch: Path
    threads: int = 1
    published: str | None = None


@dataclass(frozen=True, slots=True)
class Block:
    """A shard's number and the consecutive input rows that it is made of.

    ``again`` names the segments to try, by row and part, where the shard was published before (None: all of them).
    """

    number: int
    rows: tuple[InputRow, ...]
    again: frozenset[tuple[int, int]] | None = None

    @property
    def tried(self) -> tuple[InputRow, ...]:
        """The rows that are to be tried."""
        return tuple(row for row in self.rows if self.again is None or (row.row, row.part) in self.again)


@dataclass(frozen=True, slots=True)
class Task:
    """A block to make, perhaps after tries that killed their process.

    ``deaths`` counts by row how often a process died while it was at work; such rows are cut one at a time. Those in
    ``lost`` are given up with a reason.
    """

    block: Block
    deaths: Mapping[int, int] = field(default_factory=dict)
    lost: Mapping[int, Fault] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Watch:
    """Whom a block tells what it is at: the rows of a video that it begins, what came of them so far, and their end."""

    begin: Callable[[tuple[int, ...]], None]
    count: Callable[[tuple[int, ...], Progress], None]
    end: Callable[[tuple[int, ...]], None]
