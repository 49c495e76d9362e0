"""Classes of clips: from a column of the dataset, as numbers or through a list of names."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.part_settings import LabelConfig
from shards.dataset import Dataset
from shards.layout import parquet_name
from shards.manifest import Manifest
from shards.record import COLUMNS, Record
from shards.store import Store, StoreError, open_store, split_url

_MOST_CLASSES: Final = 1_000_000


class LabelError(ValueError):
    """A clip has no class; the message says which value stands where one should."""


@dataclass(frozen=True, slots=True)
class Labels:
    """Gives clips their classes.

    ``classes`` are the names of the classes in their order; None where the column holds the numbers themselves, which
    are below ``limit``.
    """

    column: str
    classes: tuple[str, ...] | None = None
    limit: int = _MOST_CLASSES
    _numbers: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_numbers", {name: number for number, name in enumerate(self.classes or ())})

    def of(self, record: Record) -> int:
        """Return a clip's class.

        Raises:
            LabelError: the column is empty there, or its value names no class.
        """
        value = record.extra.get(self.column)
        if isinstance(value, str) and value in self._numbers:
            return self._numbers[value]
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < self._most:
            return value
        if value is None:
            raise LabelError(f"column {self.column!r} holds nothing for this clip; a class must stand there")
        raise LabelError(f"column {self.column!r} holds {value!r}, which is none of the {self._known()}")

    def as_settings(self) -> dict[str, Any]:
        """Return what decides a clip's class: the column and the list of names, wherever its file lies."""
        names = None if self.classes is None else hashlib.sha256(json.dumps(self.classes).encode()).hexdigest()
        return {"column": self.column, "classes": names}

    @property
    def _most(self) -> int:
        return self.limit if self.classes is None else len(self.classes)

    def _known(self) -> str:
        return f"whole numbers from 0 to {self.limit - 1}" if self.classes is None else f"{len(self.classes)} classes"


def open_labels(config: LabelConfig, datasets: Sequence[Dataset]) -> Labels:
    """Return what gives the clips of all datasets their classes; looks at one column only, and only where it must.

    Raises:
        NotFoundError: the file of names is not there.
        StoreError: it, or a table of a dataset, cannot be read.
        ValueError: a dataset has no such column, or one of neither whole numbers nor text, or some have numbers and
            some text, or the list has no name, or one twice.
    """
    in_numbers = {pa.types.is_integer(_kind(config.column, store, manifest)) for store, manifest in datasets}
    if config.classes is not None:
        return Labels(config.column, _listed(config.classes))
    if len(in_numbers) > 1:
        raise ValueError(
            f"column {config.column!r} holds whole numbers in some datasets and text in others; give all the same, or a"
            " list of classes"
        )
    if in_numbers == {True}:
        return Labels(config.column, limit=config.limit or _MOST_CLASSES)
    return Labels(config.column, _found(config.column, datasets))


def _kind(column: str, store: Store, manifest: Manifest) -> pa.DataType:
    entry = next((each for each in manifest.shards if each.clips), None)
    if entry is None:
        raise ValueError(f"{store.url} holds no clip, so there is no column {column!r} to take classes from")
    schema = _schema(store, entry.stem)
    if column not in schema.names or column in COLUMNS:
        own = [name for name in schema.names if name not in COLUMNS]
        raise ValueError(
            f"the column of classes is {column!r}, which is no column of your own in {store.url}; those are:"
            f" {', '.join(own) or 'none'}"
        )
    kind = schema.field(column).type
    if not (pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise ValueError(
            f"column {column!r} of {store.url} holds {kind}; classes are whole numbers or text, so give another column"
        )
    return kind


def _listed(path: str) -> tuple[str, ...]:
    place = split_url(path)
    store = open_store(place.parent)
    lines = store.read(place.name).decode("utf-8").rstrip().splitlines()
    names = [line.strip() for line in lines]
    if "" in names:
        raise ValueError(
            f"line {names.index('') + 1} of {store.url}/{place.name} is empty; a class's name must stand there"
        )
    return _checked(names, f"the list {store.url}/{place.name}")


def _found(column: str, datasets: Sequence[Dataset]) -> tuple[str, ...]:
    names: set[str] = set()
    where = ", ".join(store.url for store, _ in datasets)
    for store, entry in ((store, entry) for store, manifest in datasets for entry in manifest.shards):
        if entry.clips:
            names |= set(_values(column, store, entry.stem))
        if len(names) > _MOST_CLASSES:
            raise ValueError(f"column {column!r} of {where} holds more than {_MOST_CLASSES} different names")
    return _checked(sorted(names), f"column {column!r} of {where}")


def _schema(store: Store, stem: str) -> pa.Schema:
    with _opened(store, stem) as table:
        return table.schema_arrow


def _values(column: str, store: Store, stem: str) -> Iterable[str]:
    with _opened(store, stem) as table:
        values = table.read(columns=[column], use_threads=False)[column].unique().to_pylist()
    return [value for value in values if value is not None]


@contextmanager
def _opened(store: Store, stem: str) -> Iterator[pq.ParquetFile]:
    name = parquet_name(stem)
    try:
        with store.open(name) as file:
            yield pq.ParquetFile(file, pre_buffer=False)
    except StoreError:
        raise
    except (pa.ArrowException, OSError, KeyError) as error:  # pyarrow calls a broken page an OSError
        raise ValueError(f"{store.url}/{name} is damaged: {error}; 'vidloom verify' says more") from error


def _checked(names: list[str], what: str) -> tuple[str, ...]:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice or not names:
        raise ValueError(f"{what} names {'a class twice: ' + ', '.join(twice[:5]) if twice else 'no class'}")
    return tuple(names)
