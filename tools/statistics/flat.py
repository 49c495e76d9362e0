"""The bytes of a column of texts and where each text begins, as Arrow holds them: nothing is copied."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

_ASCII: Final = 0x80


class Flat(NamedTuple):
    """The bytes [size] of some texts, one behind the other, and where each begins, with the end of the last [n + 1]."""

    data: NDArray[np.uint8]
    offsets: NDArray[Any]

    @property
    def is_ascii(self) -> bool:
        """Whether every character is one byte."""
        return int(self.data.max(initial=0)) < _ASCII


def chunks_of(column: pa.Array | pa.ChunkedArray) -> list[pa.Array]:
    """Return the parts of a column, one after the other."""
    return column.chunks if isinstance(column, pa.ChunkedArray) else [column]


def whole_of(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return a column in one part."""
    if not isinstance(column, pa.ChunkedArray):
        return column
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()  # which copies even one


def flat(texts: pa.Array) -> Flat:
    """Return the bytes of an array of strings; null is the empty text where Arrow has no bytes for it."""
    if not (pa.types.is_string(texts.type) or pa.types.is_large_string(texts.type)):
        texts = texts.cast(pa.large_string())
    kind = np.int64 if pa.types.is_large_string(texts.type) else np.int32
    _, raw_offsets, raw_data = texts.buffers()
    if not len(texts):
        return Flat(np.empty(0, np.uint8), np.zeros(1, kind))
    offsets = np.frombuffer(raw_offsets, kind)[texts.offset : texts.offset + len(texts) + 1]
    first, last = int(offsets[0]), int(offsets[-1])
    data = np.frombuffer(raw_data, np.uint8)[first:last] if last > first else np.empty(0, np.uint8)
    return Flat(data, offsets - offsets[0] if first else offsets)
