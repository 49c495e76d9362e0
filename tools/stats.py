"""What a dataset holds, from its manifest and a projection of its Parquet columns: totals, fates, distributions."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Column, Table

from shards.dataset import open_dataset
from shards.layout import parquet_name
from shards.manifest import Manifest, Totals
from shards.record import schema
from shards.store import Store, StoreError, open_store
from tools.console import DONE, printable, spell_seconds, spell_size
from tools.distribution import Distribution, Spread

NUMBERS: Final = ("duration", "num_frames", "fps", "width", "height", "bytes")
"""Columns whose spread is told; the words of the caption come on top, as ``caption_words``."""

NAMES: Final = ("codec", "pix_fmt", "cut", "rotation", "has_audio", "is_vfr")
"""Columns whose values are counted."""

DECODERS: Final = ("pyav", "dali_cpu", "nvdec")

_READERS: Final = 8
_MOST_VALUES: Final = 20
_SCHEMA: Final = schema()
_WORD: Final = r"\S+"
_UNITS: Final[Mapping[str, Callable[[float], str]]] = {
    "duration": lambda value: f"{value:.2f} s",
    "bytes": spell_size,
    "fps": lambda value: f"{value:.2f}",
}


@dataclass(frozen=True, slots=True)
class DatasetStats:
    """What ``vidloom stats`` tells; ``spreads`` and ``values`` are by column, ``decodable`` by decoder."""

    url: str
    digest: str
    shards: int
    totals: Totals
    spreads: Mapping[str, Spread]
    values: Mapping[str, Mapping[str, int]]
    decodable: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """Return the statistics as one JSON object."""
        return asdict(self)


def collect_stats(store: Store) -> DatasetStats:
    """Read the manifest and the columns that count, shard by shard, and sum them up; memory does not grow with rows.

    Raises:
        NotFoundError: there is no finished dataset.
        StoreError: a file cannot be read.
        ValueError: a file is damaged; the message names it.
    """
    store, manifest = open_dataset(store)
    spreads = {name: Distribution() for name in (*NUMBERS, "caption_words")}
    values: dict[str, Counter[str]] = {name: Counter() for name in NAMES}
    decodable: Counter[str] = Counter(dict.fromkeys(DECODERS, 0))
    for table in _tables(store, manifest):
        for name in NUMBERS:
            spreads[name].add(_floats(table[name]))
        spreads["caption_words"].add(_floats(pc.count_substring_regex(table["caption"], _WORD)))
        for name in NAMES:
            values[name].update(_count_values(table[name]))
        for decoder in DECODERS:
            decodable[decoder] += pc.sum(pc.struct_field(table["decodable"], decoder)).as_py() or 0
    return DatasetStats(
        url=store.url,
        digest=manifest.digest,
        shards=len(manifest.shards),
        totals=manifest.totals,
        spreads={name: spread for name, found in spreads.items() if (spread := found.spread()) is not None},
        values={name: dict(counts.most_common()) for name, counts in values.items()},
        decodable=dict(decodable),
    )


def run_stats(dataset: str, *, as_json: bool = False) -> int:
    """Print the statistics of a dataset on standard output; return the exit status.

    Raises:
        NotFoundError, StoreError, ValueError: as ``collect_stats``.
    """
    stats = collect_stats(open_store(dataset))
    if as_json:
        print(json.dumps(stats.to_json(), ensure_ascii=True))
        return DONE
    console = Console(highlight=False, markup=False)
    for table in _render(stats):
        console.print(table)
    return DONE


def _tables(store: Store, manifest: Manifest) -> Iterator[pa.Table]:
    """Yield the columns of each shard in order, a few shards ahead."""

    def read(stem: str) -> pa.Table:
        name = parquet_name(stem)
        try:
            with store.open(name) as file:
                return _read_columns(pq.ParquetFile(file))
        except StoreError:
            raise
        except (pa.ArrowException, OSError, ValueError) as error:  # pyarrow calls a broken page an OSError
            raise ValueError(f"{store.url}/{name} is damaged: {error}; 'vidloom verify' says more") from error

    with ThreadPoolExecutor(_READERS) as readers:
        stems = (entry.stem for entry in manifest.shards if entry.clips)
        while few := list(islice(stems, 2 * _READERS)):
            yield from readers.map(read, few)


def _read_columns(file: Any) -> pa.Table:  # noqa: ANN401 - pyarrow has no types
    columns = [*NUMBERS, *NAMES, "caption", "decodable"]
    for name in columns:
        wanted = _SCHEMA.field(name).type
        found = file.schema_arrow.field(name).type if name in file.schema_arrow.names else "absent"
        if found != wanted:
            raise ValueError(f"column {name!r} is {found}, wanted is {wanted}")
    return file.read(columns=columns, use_threads=False)


def _floats(column: Any) -> np.ndarray[Any, np.dtype[np.float64]]:  # noqa: ANN401 - pyarrow has no types
    return np.asarray(column.cast(pa.float64()).to_numpy(), dtype=np.float64)


def _count_values(column: Any) -> dict[str, int]:  # noqa: ANN401 - pyarrow has no types
    return {_spell(pair["values"]): pair["counts"] for pair in pc.value_counts(column).to_pylist()}


def _spell(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _render(stats: DatasetStats) -> Iterator[Table]:
    totals = stats.totals
    sums = Table(title=printable(stats.url), show_header=False)
    for name, value in (
        ("clips", str(totals.clips)),
        ("length", spell_seconds(totals.seconds)),
        ("frames", str(totals.frames)),
        ("size", f"{spell_size(totals.bytes)} in {stats.shards} shards"),
        ("input rows", f"{totals.rows}: " + ", ".join(f"{count} {status}" for status, count in totals.status.items())),
        *((f"  {reason}", str(count)) for reason, count in sorted(totals.reasons.items(), key=lambda pair: -pair[1])),
    ):
        sums.add_row(name, value)
    yield sums
    spreads = Table("per clip", *(Column(name, justify="right") for name in ("min", "median", "mean", "95 %", "max")))
    for name, spread in stats.spreads.items():
        spell = _UNITS.get(name, lambda value: f"{value:.4g}")
        numbers = (spread.min, spread.p50, spread.mean, spread.p95, spread.max)
        spreads.add_row(name.replace("_", " "), *map(spell, numbers))
    yield spreads
    counts = Table("what", "clips")
    for name, values in stats.values.items():
        shown = [f"{printable(value)} {count}" for value, count in list(values.items())[:_MOST_VALUES]]
        counts.add_row(name, ", ".join(shown))
    counts.add_row("decodable", ", ".join(f"{name} {count}" for name, count in stats.decodable.items()))
    yield counts
