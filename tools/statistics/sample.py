"""A sample of rows with their captions, every row as likely as another, the same in whatever pieces they come."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tools.statistics.flat import chunks_of, flat
from tools.statistics.hashing import Hashes, mixed
from tools.statistics.repeats import NO_BOUND

CAPTIONS: Final = 100_000
"""Captions that are read for words where nothing else is asked for."""

LETTERS: Final = 2000
"""Letters of a caption that count; the rest of longer ones is left out."""


_SURE: Final = 6.0
"""Standard deviations by which a guess is made larger than what is expected."""


def likely_bound(rows: int, limit: int) -> int:
    """Return a rank above all those of a sample of some rows; among a billion samples, about one goes beyond."""
    wanted = limit + _SURE * math.sqrt(limit + 1) + _SURE**2
    return NO_BOUND if wanted >= rows else int(wanted / rows * NO_BOUND)


def _none() -> Hashes:
    return np.empty(0, np.uint64)


def _no_texts() -> Any:  # noqa: ANN401 - pyarrow has no types
    return pa.array([], pa.large_string())


@dataclass(frozen=True, eq=False)
class Sample:
    """Captions of those rows whose place has the smallest hashes, at most ``limit`` (bottom-k sampling).

    That of parts, merged, is that of the whole.

    Attributes:
        ranks: Hashes [n] of the rows' places, rising.
        captions: The captions [n], cut to 2000 letters.
        hashes: Hashes [n] of the whole captions.
        places: Where the rows [n] stand.
        bound: The largest rank that would be kept.
        rows: All rows, those that are not kept too.
        limit: The most rows that are kept.
    """

    ranks: Hashes = field(default_factory=_none)
    captions: Any = field(default_factory=_no_texts)
    hashes: Hashes = field(default_factory=_none)
    places: Hashes = field(default_factory=_none)
    bound: int = NO_BOUND
    rows: int = 0
    limit: int = CAPTIONS

    @classmethod
    def of(
        cls,
        captions: pa.Array | pa.ChunkedArray,
        hashes: Hashes,
        places: Hashes,
        *,
        bound: int = NO_BOUND,
        limit: int = CAPTIONS,
    ) -> Self:
        """Return the sample of some rows.

        Args:
            captions: One a row.
            hashes: Their hashes.
            places: Where each row stands; no two alike.
            bound: A rank that cannot be among those kept of the whole if it is larger.
            limit: The most rows to keep.
        """
        ranks = mixed(places)
        taken = np.flatnonzero(ranks <= np.uint64(bound)) if bound != NO_BOUND else np.arange(len(ranks))
        taken = taken[np.argsort(ranks[taken])]
        bound = bound if len(taken) <= limit else (int(ranks[taken[limit - 1]]) if limit else 0)
        taken = taken[:limit]
        texts = _cut(_taken(captions, taken)).cast(pa.large_string())
        return cls(ranks[taken], texts, hashes[taken], places[taken], bound, len(ranks), limit)

    @classmethod
    def merged(cls, parts: Sequence[Sample]) -> Self:
        """Return the sample of all parts' rows; all have the same limit."""
        bound = min((part.bound for part in parts), default=NO_BOUND)
        limit = min((part.limit for part in parts), default=CAPTIONS)
        ranks, hashes, places = (
            np.concatenate([_none(), *(getattr(part, name) for part in parts)])
            for name in ("ranks", "hashes", "places")
        )
        kept = np.flatnonzero(ranks <= np.uint64(bound))
        kept = kept[np.argsort(ranks[kept])]
        if len(kept) > limit:
            bound = int(ranks[kept[limit - 1]]) if limit else 0
            kept = kept[:limit]
        captions = pa.concat_arrays([_no_texts(), *(part.captions for part in parts)]).take(pa.array(kept))
        return cls(ranks[kept], captions, hashes[kept], places[kept], bound, sum(part.rows for part in parts), limit)

    @property
    def share(self) -> float:
        """The share of all rows that was kept."""
        return len(self.ranks) / self.rows if self.rows else 1.0

    def same(self, other: Sample) -> bool:
        """Return whether both are alike."""
        names = ("ranks", "hashes", "places")
        return (
            (self.bound, self.rows, self.limit) == (other.bound, other.rows, other.limit)
            and self.captions.equals(other.captions)
            and all(np.array_equal(getattr(self, name), getattr(other, name)) for name in names)
        )


def _taken(texts: pa.Array | pa.ChunkedArray, rows: NDArray[np.int64]) -> pa.Array:
    """Return some rows of a column in their order; no others are copied."""
    chunks = chunks_of(texts)
    ends = np.cumsum([len(chunk) for chunk in chunks])
    order = np.argsort(rows)
    parts = np.split(rows[order], np.searchsorted(rows[order], ends[:-1]))
    found = [
        chunk.take(pa.array(part - (end - len(chunk)))) for chunk, part, end in zip(chunks, parts, ends, strict=True)
    ]
    back = np.empty(len(rows), np.int64)
    back[order] = np.arange(len(rows))
    return pa.concat_arrays(found).take(pa.array(back))


def _cut(texts: pa.Array) -> pa.Array:
    """Return texts without what is beyond the letters that count."""
    if int(np.diff(flat(texts).offsets).max(initial=0)) <= LETTERS:  # of bytes there are no fewer than letters
        return texts
    return pc.utf8_slice_codeunits(texts, 0, LETTERS)
