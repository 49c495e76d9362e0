"""The rows that a report names: their keys and texts, read from the tables once it is known which they are."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tools.statistics.scan import in_threads, readers
from tools.statistics.tables import Shard, Source, find_rows, place, read_chosen

_TEXTS: Final = ("caption", "source", "sha256")


@dataclass(frozen=True, slots=True)
class Named:
    """A row as a report speaks of it: ``dataset`` is a number, ``shard`` the shard's name; texts not asked for are "".

    Only the key is always there.
    """

    dataset: int
    shard: str
    key: str
    caption: str = ""
    source: str = ""
    sha256: str = ""


def name_rows(sources: Sequence[Source], places: Mapping[int, Collection[str]]) -> dict[int, Named]:
    """Read the keys and texts of some rows; only the row groups in which they stand are read.

    Args:
        sources: The datasets.
        places: Where the rows stand, and which of ``caption``, ``source`` and ``sha256`` are wanted of each.

    Raises:
        StoreError: a file cannot be read.
        ValueError: a file is damaged; the message names it.
    """

    def name_some(wanted: tuple[Shard, list[int]]) -> dict[int, Named]:
        shard, rows = wanted
        texts = set[str]().union(*(places[place(shard, row)] for row in rows))
        columns = ("key", *(name for name in _TEXTS if name in texts))
        return {
            place(shard, row): Named(shard.dataset, shard.entry.stem, **values)
            for row, values in read_chosen(shard, rows, columns)
        }

    found: dict[int, Named] = {}
    for some in in_threads(name_some, find_rows(sources, list(places)), readers(sources)):
        found |= some
    return found
