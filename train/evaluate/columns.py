"""Columns of a dataset's tables: what the user's own table said of each sample, beside its caption."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from jaxtyping import Int64
from torch import Tensor

from pipelines.subset import SubsetConfig
from shards.layout import parquet_name
from shards.manifest import Manifest
from shards.record import COLUMNS
from shards.store import Store, StoreError

# Axes: N samples, V different ones.

CLIP: Final = "sha256"
"""Column that tells whether two samples are the same clip: the hash of its bytes."""
CAPTIONS: Final = "captions"
"""Column of all captions of a sample that has several, ``caption`` being the first; older datasets do without it."""
_KEY: Final = "key"
WHOLE: Final = SubsetConfig()
"""Takes all samples."""


@dataclass(frozen=True)
class Rows:
    """The samples of a dataset in its order: the place of each key, and the values of columns."""

    order: Mapping[str, int]
    values: Mapping[str, list[Any]]


def read_rows(store: Store, manifest: Manifest, columns: Sequence[str] = (), subset: SubsetConfig = WHOLE) -> Rows:
    """Read keys and named columns of all samples, or of those of a subset, and no other column.

    Raises:
        ValueError: There is no such column, no sample, or a table is damaged; what there is is named. Or the subset's
            condition does not fit the columns.
        StoreError: A table cannot be read.
    """
    wanted = [_KEY, *dict.fromkeys(name for name in columns if name != _KEY)]
    tables = [_read(store, entry.stem, wanted, subset) for entry in manifest.shards if entry.clips]
    if not any(table.num_rows for table in tables):
        raise ValueError(f"{store.url} holds no sample: there is nothing to measure")
    values = {name: [value for table in tables for value in table[name].to_pylist()] for name in wanted}
    return Rows({key: place for place, key in enumerate(values[_KEY])}, values)


def every_caption(rows: Rows) -> list[list[str]]:
    """Return the captions of each sample that are not blank; ``caption`` and ``CAPTIONS`` must have been read."""
    pairs = zip(rows.values["caption"], rows.values[CAPTIONS], strict=True)
    told = (many if isinstance(many, list) and many else [one] for one, many in pairs)
    return [[text for text in texts if isinstance(text, str) and text.strip()] for texts in told]


@dataclass(frozen=True)
class Distinct:
    """Things of which some are the same.

    Attributes:
        first: Where each different one stands first.
        owner: The number of each among the different ones.
    """

    first: Int64[Tensor, "V"]
    owner: Int64[Tensor, "N"]


def distinct(things: Sequence[Hashable]) -> Distinct:
    """Tell which of some things are the same; clips are by the hashes of their bytes."""
    numbers = {thing: number for number, thing in enumerate(dict.fromkeys(things))}
    places = {thing: place for place, thing in reversed(list(enumerate(things)))}
    first, owner = [places[thing] for thing in numbers], [numbers[thing] for thing in things]
    return Distinct(torch.tensor(first, dtype=torch.int64), torch.tensor(owner, dtype=torch.int64))


def texts_in(value: object) -> list[str]:
    """Return the texts that a cell of a table holds: one, a list, or a list written as JSON.

    Raises:
        ValueError: The cell is empty, or holds something else.
    """
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except ValueError:
            return [str(value)]
    found = value if isinstance(value, list) else [value]
    texts = [str(each).strip() for each in found if isinstance(each, str | int | float)]
    if len(texts) != len(found) or not texts or not all(texts):
        raise ValueError(f"the cell {value!r} is taken for texts: one text, or a list of texts, is wanted")
    return texts


def cell_texts(value: object, key: str) -> list[str]:
    """Return the texts that a sample's cell holds, as ``texts_in`` does.

    Raises:
        ValueError: The cell is empty, or holds something else; the sample is named.
    """
    try:
        return texts_in(value)
    except ValueError as error:
        raise ValueError(f"sample {key}: {error}") from error


def _read(store: Store, stem: str, columns: list[str], subset: SubsetConfig) -> pa.Table:
    name = parquet_name(stem)
    try:
        with store.open(name) as file:
            table = pq.ParquetFile(file, pre_buffer=False)
            there = table.schema_arrow.names
            absent = [column for column in columns if column not in {*there, CAPTIONS}]
            if absent:
                own = [column for column in there if column not in COLUMNS]
                raise ValueError(
                    f"{store.url}/{name} has no column {absent[0]!r}; those of its own are {', '.join(own) or 'none'}"
                )
            needed = [column for column in columns if column in there]
            rows = table.read(columns=[*dict.fromkeys(needed + subset.columns(table.schema_arrow))], use_threads=False)
            rows = rows if subset.is_whole else rows.take(subset.rows(rows))
            return rows if len(needed) == len(columns) else rows.append_column(CAPTIONS, pa.nulls(len(rows)))
    except StoreError:
        raise
    except (pa.ArrowException, OSError) as error:  # pyarrow calls a broken page an OSError
        raise ValueError(f"{store.url}/{name} is damaged: {error}; 'vidloom verify' says more") from error
