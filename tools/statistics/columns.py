"""Which columns are read and counted, what each is, and the values that follow from them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from shards.derived import columns_for
from shards.record import COLUMNS, schema
from tools.statistics.flat import chunks_of, flat

STORED_NUMBERS: Final = ("duration", "num_frames", "fps", "width", "height", "bytes", "max_gop")
"""Columns of numbers whose spread is told as they are."""

STORED_VALUES: Final = ("codec", "profile", "pix_fmt", "rotation", "has_audio", "is_vfr", "cut")
"""Columns whose values are counted."""

DECODERS: Final = ("pyav", "dali_cpu", "nvdec")

OUTLYING: Final = (
    *("duration", "num_frames", "fps", "short_side", "aspect"),
    *("bytes", "bitrate", "max_gop", "caption_words", "caption_chars"),
)
"""Numbers whose extreme clips are named."""

TEXTS: Final = ("caption", "source", "sha256")
"""Columns of texts of which most rows have one of their own."""

USUAL_DICTIONARIES: Final = ("codec", "profile", "pix_fmt", "cut")
DICTIONARIES: Final = (*USUAL_DICTIONARIES, "language")
"""Texts with few values, which are read as numbers of them; all tables have the usual ones."""

UNITS: Final[Mapping[str, str]] = {
    "duration": "s",
    "num_frames": "frames",
    "fps": "1/s",
    "width": "px",
    "height": "px",
    "short_side": "px",
    "bytes": "bytes",
    "bitrate": "bit/s",
    "max_gop": "frames",
    "caption_words": "words",
    "caption_chars": "letters",
    "caption_tokens": "tokens",
    "clips_per_source": "clips",
    "shard_bytes": "bytes",
    "shard_clips": "clips",
}

ORDER: Final = (
    *("duration", "num_frames", "fps", "width", "height", "short_side", "aspect", "bytes", "bitrate", "max_gop"),
    *("caption_words", "caption_chars", "caption_tokens", "clips_per_source", "shard_bytes", "shard_clips"),
)
"""In which order numbers are shown, the user's own columns behind them."""

_OWN: Final = " (own column)"
_TOLD: Final = frozenset({*ORDER, "resolution"})
"""Names under which something of the format is told."""

_NEEDED: Final = (*STORED_NUMBERS, *STORED_VALUES, "decodable", "caption", "source", "sha256")
_SCHEMA: Final = schema()
_LEFT_OUT: Final = frozenset({"caption_original"})
_BITS: Final = 8


def own_name(column: str) -> str:
    """Return the name under which a column of the user's is told: beside what the format tells by the same name."""
    return column + _OWN if column in _TOLD else column


@dataclass(frozen=True, slots=True)
class Projection:
    """The columns of one table that are read, and which of them are the user's: numbers, and values to be counted."""

    columns: tuple[str, ...]
    numbers: tuple[str, ...]
    values: tuple[str, ...]


def project(found: pa.Schema, *, more: Collection[str] = (), less: Collection[str] = ()) -> Projection:
    """Return what is read of a shard's table.

    Args:
        found: The table's schema.
        more: Further columns that are asked for, or follow from others; those that it has not are left out.
        less: Columns of the user's that are not counted, as they are told.

    Raises:
        ValueError: a column of the format is absent or of another type.
    """
    return _projected(_Key(found), frozenset(more), frozenset(less))


@dataclass(frozen=True, eq=False, slots=True)
class _Key:
    """A schema that is looked up by its names, and then compared, in a tenth of the time that its own hash takes."""

    schema: pa.Schema

    def __hash__(self) -> int:
        return hash(tuple(self.schema.names))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and bool(self.schema.equals(other.schema))


@lru_cache(maxsize=8)  # most shards have the schema of the one before
def _projected(key: _Key, more: frozenset[str], less: frozenset[str]) -> Projection:
    found = key.schema
    for name in _NEEDED:
        wanted = _SCHEMA.field(name).type
        has = _plain(found.field(name).type) if name in found.names else "absent"
        if has != wanted:
            raise ValueError(f"column {name!r} is {has}, wanted is {wanted}")
    own = [field for field in found if field.name not in COLUMNS | _LEFT_OUT and own_name(field.name) not in less]
    numbers = tuple(field.name for field in own if _is_number(field.type))
    values = tuple(field.name for field in own if _is_value(field.type))
    wished = sorted(columns_for(more, found.names))
    return Projection(tuple(dict.fromkeys((*_NEEDED, *numbers, *values, *wished))), numbers, values)


def derived_numbers(batch: pa.RecordBatch) -> dict[str, NDArray[Any]]:
    """Return the numbers of a batch that follow from its columns, but those of captions.

    The aspect is width over height as shown; the bitrate is of the payload, in bits a second.
    """
    width, height, rotation, size, seconds = (
        batch.column(name).to_numpy() for name in ("width", "height", "rotation", "bytes", "duration")
    )
    turned = rotation != 0  # few are: a remainder takes long
    turned[turned] = rotation[turned] % 180 != 0
    with np.errstate(divide="ignore", invalid="ignore"):
        aspect = width / height
        if turned.any():
            aspect = np.where(turned, height / width, aspect)
        bitrate = size * float(_BITS) / seconds
    return {"short_side": np.minimum(width, height), "aspect": aspect, "bitrate": bitrate}


def resolutions(batch: pa.RecordBatch) -> dict[str, int]:
    """Return how many clips have each width and height, as ``640x360``."""
    width, height = (batch.column(name).to_numpy().astype(np.int64) for name in ("width", "height"))
    found, counts = np.unique((width << 32) | height, return_counts=True)
    return {f"{pair >> 32}x{pair & 0xFFFFFFFF}": int(count) for pair, count in zip(found.tolist(), counts, strict=True)}


def letters(texts: pa.Array | pa.ChunkedArray) -> NDArray[Any]:
    """Return how many characters each text has [rows]; null has none."""
    return np.concatenate([np.empty(0, np.int64), *map(_letters, chunks_of(texts))])


def _letters(texts: pa.Array) -> NDArray[Any]:
    about = flat(texts)
    if about.is_ascii:
        return np.diff(about.offsets)
    return np.asarray(pc.fill_null(pc.utf8_length(texts), 0).to_numpy())


def numeric(column: pa.Array) -> NDArray[Any]:
    """Return a column of numbers as numpy has it, null as NaN."""
    if column.null_count or not _is_number(column.type):
        column = pc.cast(column, pa.float64(), safe=False)
    return np.asarray(column.to_numpy(zero_copy_only=False))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


_VALUES: Final[tuple[Callable[[pa.DataType], bool], ...]] = (
    pa.types.is_boolean,
    pa.types.is_string,
    pa.types.is_large_string,
)


def _is_value(kind: pa.DataType) -> bool:
    return any(test(_plain(kind)) for test in _VALUES)
