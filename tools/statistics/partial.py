"""What is known of some rows: small, however many rows there are, and added up exactly over all parts of a whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Final, Self

import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tools.statistics.blanks import count_words
from tools.statistics.columns import (
    DECODERS,
    OUTLYING,
    STORED_NUMBERS,
    STORED_VALUES,
    TEXTS,
    Projection,
    derived_numbers,
    letters,
    numeric,
    own_name,
    resolutions,
)
from tools.statistics.extremes import Extremes
from tools.statistics.flat import whole_of
from tools.statistics.hashing import Hashes, hash_texts
from tools.statistics.repeats import LIMIT, NO_BOUND, Repetition
from tools.statistics.sample import CAPTIONS, Sample
from tools.statistics.spread import Spread
from tools.statistics.tallies import Tally

_DIGEST_LETTERS: Final = 16
"""Letters of a SHA-256 in hexadecimal that are compared: 64 bits."""


_REPEATING: Final = ("captions", "payloads", "sources")


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is kept: captions that are read for words, different values of which repetition is counted exactly.

    Raises:
        ValueError: a limit is negative, or too few values are kept for an estimate.
    """

    captions: int = CAPTIONS
    distinct: int = LIMIT

    def __post_init__(self) -> None:
        if self.captions < 0 or self.distinct < 3:  # noqa: PLR2004 - an error of an estimate needs three
            raise ValueError(f"{self.captions} captions and {self.distinct} values: at least 0 and 3 are kept")


@dataclass(frozen=True, eq=False)
class Partial:
    """What is known of some rows; that of parts, merged in any order, is that of the whole, to the last bit.

    Attributes:
        rows: How many there are.
        empty: Those whose caption has no word.
        numbers: The spread of each number; columns that a part has not are missing there.
        extremes: The extreme rows of some of them.
        values: The tally of each column of kinds.
        decodable: Rows that each decoder reads.
        captions: How captions repeat; ``payloads``: how payloads do; ``sources``: how names of videos do.
        sample: Some rows' captions.
    """

    rows: int = 0
    empty: int = 0
    numbers: Mapping[str, Spread] = field(default_factory=dict)
    extremes: Mapping[str, Extremes] = field(default_factory=dict)
    values: Mapping[str, Tally] = field(default_factory=dict)
    decodable: Mapping[str, int] = field(default_factory=dict)
    captions: Repetition = field(default_factory=Repetition)
    payloads: Repetition = field(default_factory=Repetition)
    sources: Repetition = field(default_factory=Repetition)
    sample: Sample = field(default_factory=Sample)

    @classmethod
    def of(
        cls,
        batch: pa.RecordBatch | pa.Table,
        places: Hashes,
        projection: Projection,
        *,
        limits: Limits | None = None,
        known: Partial | None = None,
        rank: int = NO_BOUND,
    ) -> Self:
        """Return what is known of a batch of rows.

        Args:
            batch: The projection's columns.
            places: Where each row stands, rising.
            projection: The columns that are counted.
            limits: How much is kept.
            known: What is known of other rows of the same whole: what it makes needless is left out here.
            rank: Rows of higher ranks are not among the whole's sample.
        """
        limits, known = limits or Limits(), known or cls()
        texts = {name: batch.column(name) for name in TEXTS}
        batch = _in_one_part(batch, texts)
        words = count_words(texts["caption"])
        numbers = _numbers(batch, words, projection) | {"caption_chars": letters(texts["caption"])}
        hashes = hash_texts(texts["caption"])
        coarse = {name for name, spread in known.numbers.items() if spread.coarse}
        spreads = {name: Spread.of(found, coarse=name in coarse) for name, found in numbers.items()}
        sides = {name: Extremes.of(numbers[name], places, known.extremes.get(name), spreads[name]) for name in OUTLYING}
        others = {
            "payloads": hash_texts(texts["sha256"], most=_DIGEST_LETTERS),
            "sources": hash_texts(texts["source"]),
            "captions": hashes,
        }
        return cls(
            rows=batch.num_rows,
            empty=int((words == 0).sum()),
            numbers=spreads,
            extremes=sides,
            values=_values(batch, projection, known),
            decodable={name: _true(pc.struct_field(batch.column("decodable"), name)) for name in DECODERS},
            **{name: _repetition(found, places, getattr(known, name), limits) for name, found in others.items()},
            sample=Sample.of(
                texts["caption"],
                hashes,
                places,
                bound=min(_bound(known.sample, limits.captions), rank),
                limit=limits.captions,
            ),
        )

    @classmethod
    def merged(cls, parts: Sequence[Partial]) -> Self:
        """Return what is known of all parts' rows together."""
        some = [part for part in parts if part.rows]
        if not some:
            return cls()
        decodable: Counter[str] = Counter()
        for part in some:
            decodable.update(part.decodable)
        return cls(
            rows=sum(part.rows for part in some),
            empty=sum(part.empty for part in some),
            numbers=_merged_by_name(Spread, [part.numbers for part in some]),
            extremes=_merged_by_name(Extremes, [part.extremes for part in some]),
            values=_merged_by_name(Tally, [part.values for part in some]),
            decodable=dict(decodable),
            **{name: Repetition.merged([getattr(part, name) for part in some]) for name in _REPEATING},
            sample=Sample.merged([part.sample for part in some]),
        )

    def settled(self) -> Self:
        """Return the same with all values sorted that were not yet, so that they can be told of."""
        with ThreadPoolExecutor(len(_REPEATING)) as pool:
            found = pool.map(lambda name: getattr(self, name).settled(), _REPEATING)
            return replace(self, **dict(zip(_REPEATING, found, strict=True)))

    @property
    def weight(self) -> int:
        """How many hashes and captions are held, which is most of what adding up takes."""
        return len(self.sample.hashes) + self.captions.weight + self.payloads.weight + self.sources.weight

    def same(self, other: Partial) -> bool:
        """Return whether both know the same, to the last bit."""
        plain = ("rows", "empty", "values", "decodable")
        return all(getattr(self, name) == getattr(other, name) for name in plain) and all(
            _alike(getattr(self, name), getattr(other, name))
            for name in ("numbers", "extremes", "captions", "payloads", "sources", "sample")
        )


def _in_one_part(batch: pa.RecordBatch | pa.Table, less: Collection[str]) -> pa.RecordBatch:
    """Return the columns of a batch but some, each in one part."""
    if isinstance(batch, pa.RecordBatch):
        return batch
    names = [name for name in batch.column_names if name not in less]
    return pa.RecordBatch.from_arrays([whole_of(batch.column(name)) for name in names], names)


def _numbers(batch: pa.RecordBatch, words: NDArray[Any], projection: Projection) -> dict[str, NDArray[Any]]:
    stored = {own_name(name): numeric(batch.column(name)) for name in projection.numbers}
    stored |= {name: numeric(batch.column(name)) for name in STORED_NUMBERS}
    return stored | derived_numbers(batch) | {"caption_words": words}


def _values(batch: pa.RecordBatch, projection: Projection, known: Partial) -> dict[str, Tally]:
    names = dict.fromkeys(STORED_VALUES) | {own_name(name): name for name in projection.values}
    found = {told: Tally.of(batch.column(name or told), known=known.values.get(told)) for told, name in names.items()}
    return found | {"resolution": Tally.of_counts(resolutions(batch))}


def _true(column: pa.Array) -> int:
    return int(pc.sum(column).as_py() or 0)


def _repetition(hashes: Hashes, places: Hashes, known: Repetition, limits: Limits) -> Repetition:
    return Repetition.later(hashes, places, bound=_bound(known, limits.distinct), limit=limits.distinct)


def _bound(known: Repetition | Sample, limit: int) -> int:
    return known.bound if known.rows and known.limit == limit else NO_BOUND


def _merged_by_name(kind: Any, parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:  # noqa: ANN401 - one of three
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: kind.merged([part[name] for part in parts if name in part]) for name in names}


def _alike(one: Any, other: Any) -> bool:  # noqa: ANN401 - a part that has ``same``, or several by name
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(one[name].same(other[name]) for name in one)
    return bool(one.same(other))
