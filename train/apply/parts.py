"""A file that is made shard by shard, over ranks: finished parts outlive a crash, and the whole appears at once."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO, Final, Self, TypeVar

from rich.console import Console
from rich.progress import Progress

from shards.canonical import canonical_json
from shards.manifest import Manifest, ShardEntry
from shards.store import NotFoundError, Store, open_store, split_url
from train.evaluate.gathering import gather_values
from train.parallel import Ranks

T = TypeVar("T")

_log = logging.getLogger(__name__)

_SETTINGS: Final = "settings.json"
_WHOLE: Final = "whole.tmp"


@dataclass(frozen=True)
class Parts:
    """The folder ``OUT.parts`` beside a file that is being made: a part for each shard, and what all are made with.

    Attributes:
        place: The file that is made: path or URL.
        folder: Where the parts lie.
        suffix: How a part's name ends.
    """

    place: str
    folder: Store
    suffix: str

    @classmethod
    def of(cls, place: str) -> Self:
        """Return those of a file; nothing is written yet.

        Raises:
            ValueError: The place names no file.
        """
        suffix = Path(split_url(place).name).suffix
        return cls(place, open_store(f"{place}.parts"), suffix)

    def begin(self, settings: Mapping[str, Any]) -> None:
        """Say what the parts are made with, or find that earlier ones were made with the same.

        Raises:
            ValueError: Those that are there were made with other settings; the message names what differs.
        """
        try:
            found = json.loads(self.folder.read(_SETTINGS))
        except NotFoundError:
            self.folder.put(_SETTINGS, canonical_json(settings))
            return
        except ValueError as error:
            raise ValueError(f"{self.folder.url}/{_SETTINGS} is damaged: {error}; remove {self.folder.url}") from error
        require_same(found, settings, f"{self.folder.url} holds parts of {self.place}", "remove it")

    def pending(self, manifest: Manifest) -> list[int]:
        """Return the numbers of the shards that have no part yet."""
        there = set(self.folder.list(deep=False))
        return [number for number, entry in enumerate(manifest.shards) if self._name(entry.stem) not in there]

    def put(self, entry: ShardEntry, data: bytes) -> None:
        """Publish the part of a shard."""
        self.folder.put(self._name(entry.stem), data)

    def name(self, entry: ShardEntry) -> str:
        """Return what a shard's part is called, for messages."""
        return f"{self.folder.url}/{self._name(entry.stem)}"

    @contextmanager
    def open(self, entry: ShardEntry) -> Iterator[BinaryIO]:
        """Open the part of a shard."""
        with self.folder.open(self._name(entry.stem)) as file:
            yield file

    def publish(self, write: Callable[[Path], None]) -> None:
        """Make the whole file, let it appear, and remove the parts.

        Args:
            write: Writes the whole to a local path.
        """
        parent, name = split_url(self.place)
        store = open_store(parent)
        if store.is_local:
            path = self.folder.local_path(_WHOLE)
            write(path)
            store.put_file(name, path, move=True)
        else:
            with TemporaryDirectory() as folder:
                path = Path(folder) / name
                write(path)
                store.put_file(name, path)
        self.clear()

    def clear(self) -> None:
        """Remove the parts, the settings last."""
        names = self.folder.list(deep=False)
        for name in sorted(names, key=lambda name: name == _SETTINGS):
            self.folder.delete(name)
        if self.folder.is_local:
            with suppress(OSError):  # it was never there, or someone put a file of theirs into it
                Path(self.folder.url).rmdir()

    def _name(self, stem: str) -> str:
        return f"{stem}{self.suffix}"


def require_same(found: Mapping[str, Any], wanted: Mapping[str, Any], what: str, cure: str) -> None:
    """Refuse settings that differ.

    Raises:
        ValueError: They do; both sides of what differs are named.
    """
    differs = [name for name in sorted({*found, *wanted}) if found.get(name) != wanted.get(name)]
    if differs:
        sides = "; ".join(f"{name} {_told(found.get(name))}, now {_told(wanted.get(name))}" for name in differs)
        raise ValueError(f"{what}, made with {sides}: {cure}, or write to another place")


def in_rounds(
    numbers: Sequence[int], ranks: Ranks, make: Callable[[int], T], *, told: str, total: int
) -> Iterator[list[T]]:
    """Do numbered work on all ranks, as many numbers at a time as there are ranks.

    Args:
        numbers: What is to be done, the same on all ranks.
        ranks: The ranks.
        make: Does one; what it returns travels to all ranks.
        told: What is counted, for the progress bar on the first rank's terminal.
        total: How many there are, those counted in that are done already.

    Yields:
        What was made in a round, in the order of ``numbers``, the same on all ranks.

    Raises:
        PeerFailedError: Another rank failed or is gone.
    """
    console = Console(stderr=True)
    with Progress(console=console, disable=not (ranks.first and sys.stderr.isatty()), transient=True) as bar:
        task = bar.add_task(told, total=total, completed=total - len(numbers))
        for first in range(0, len(numbers), ranks.world):
            mine = numbers[first + ranks.rank : first + ranks.rank + 1] if first + ranks.rank < len(numbers) else ()
            yield gather_values(ranks, [make(number) for number in mine])
            bar.advance(task, min(ranks.world, len(numbers) - first))


@dataclass(frozen=True, slots=True)
class Made:
    """A part that was made, and how many of what it holds."""

    data: bytes
    count: int


def fill(parts: Parts, manifest: Manifest, pending: Sequence[int], ranks: Ranks, make: Callable[[int], Made]) -> None:
    """Make the parts that are missing, over all ranks, and tell of each in the log.

    Args:
        parts: The parts.
        manifest: The dataset.
        pending: Numbers of the shards that have no part, known to the first rank.
        ranks: The ranks.
        make: Makes the part of a shard.

    Raises:
        PeerFailedError: Another rank failed or is gone.
    """
    missing = gather_values(ranks, pending if ranks.first else ())
    total = len(manifest.shards)
    done = total - len(missing)
    if ranks.first and 0 < done < total:
        _log.info("%d of %d shards were done before", done, total)

    def publish(number: int) -> str:
        entry, made = manifest.shards[number], make(number)
        parts.put(entry, made.data)
        return f"shard {entry.stem}: {made.count} done"

    for lines in in_rounds(missing, ranks, publish, told="shards", total=total):
        done += len(lines)
        for line in lines if ranks.first else ():
            _log.info("%s, %d of %d shards", line, done, total)


def require_absent(place: str) -> None:
    """Refuse to write over a file.

    Raises:
        ValueError: It is there.
    """
    if is_there(place):
        raise ValueError(f"{place} is there: remove it, or write to another place")


def is_there(place: str) -> bool:
    """Tell whether a file is there, by its path or URL."""
    parent, name = split_url(place)
    return open_store(parent).exists(name)


def _told(value: object) -> str:
    return "nothing" if value is None else json.dumps(value, sort_keys=True)
