"""The ledger: what became of every input row, and why, in one small Parquet file a block."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Literal, get_args

import pyarrow as pa
import pyarrow.parquet as pq

from shards import layout
from shards.errors import without_signature
from shards.store import Store

Status = Literal["success", "failed", "filtered", "duplicate"]
"""The fate of a row: stored, could not be made, sorted out by a rule, or left out as a copy of another."""

STATUSES: Final[tuple[Status, ...]] = get_args(Status)


class Reason(StrEnum):
    """Why a row did not become a clip: the closed list."""

    BAD_ROW = "bad_row"
    BAD_ENCODING = "bad_encoding"
    NO_VIDEO = "no_video"
    NO_CAPTION = "no_caption"
    BAD_TIME = "bad_time"
    BAD_SEGMENT = "bad_segment"
    BAD_SAMPLE = "bad_sample"
    DUPLICATE_KEY = "duplicate_key"
    OUT_OF_RANGE = "out_of_range"
    OUTSIDE_ROOT = "outside_root"
    NOT_FOUND = "not_found"
    UNREADABLE = "unreadable"
    FORBIDDEN = "forbidden"
    BAD_ANSWER = "bad_answer"
    BAD_REDIRECT = "bad_redirect"
    SERVER_ERROR = "server_error"
    UNREACHABLE = "unreachable"
    BROKEN_TRANSFER = "broken_transfer"
    WRONG_LENGTH = "wrong_length"
    TOO_SLOW = "too_slow"
    NOT_A_VIDEO = "not_a_video"
    NO_VIDEO_STREAM = "no_video_stream"
    NO_FRAMES = "no_frames"
    TRUNCATED = "truncated"
    DAMAGED = "damaged"
    TOO_LARGE = "too_large"
    UNSUPPORTED = "unsupported"
    ENCODE_ERROR = "encode_error"
    TIMEOUT = "timeout"
    WORKER_DIED = "worker_died"
    FILTER_EXPRESSION = "filter_expression"
    TOO_SHORT = "too_short"
    TOO_LONG = "too_long"
    STATIC = "static"
    BLACK = "black"
    EXACT_DUPLICATE = "exact_duplicate"
    NEAR_DUPLICATE = "near_duplicate"


INPUT_REASONS: Final = frozenset(
    {
        Reason.BAD_ROW,
        Reason.BAD_ENCODING,
        Reason.NO_VIDEO,
        Reason.NO_CAPTION,
        Reason.BAD_TIME,
        Reason.BAD_SEGMENT,
        Reason.BAD_SAMPLE,
        Reason.DUPLICATE_KEY,
    }
)
"""Reasons that the input's own words decide: the same input gives them again, whenever it is tried."""

RULE_REASONS: Final = frozenset(
    {
        Reason.FILTER_EXPRESSION,
        Reason.TOO_SHORT,
        Reason.TOO_LONG,
        Reason.STATIC,
        Reason.BLACK,
        Reason.EXACT_DUPLICATE,
        Reason.NEAR_DUPLICATE,
    }
)
"""Reasons of rows that did not fail: a rule left them out."""


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """What became of clip ``clip`` of input row ``row`` (both from 0).

    ``key`` is the clip's key in the dataset, None where there is no clip; ``reason`` is None exactly for a success,
    whose ``message`` may still hold a note; ``attempts`` counts how often a row that failed was tried, all runs
    together; a success says 1, however it came about, for its bytes follow from input and settings alone.

    Raises:
        ValueError: the status is unknown, or a success has a reason, or another fate has none.
    """

    row: int
    clip: int
    key: str | None
    source: str
    status: Status
    reason: Reason | None
    message: str | None
    attempts: int = 1

    def __post_init__(self) -> None:
        where = f"ledger row {self.row}, clip {self.clip}"
        if self.status not in STATUSES:
            raise ValueError(f"{where}: status {self.status!r} is unknown; taken are {', '.join(STATUSES)}")
        if (self.status == "success") != (self.reason is None):
            raise ValueError(f"{where}: status {self.status!r} with reason {self.reason!r}; only a success has none")


@dataclass(frozen=True, slots=True)
class LedgerSums:
    """How many ledger rows have each status and each reason, and how many input rows they speak of."""

    rows: int
    status: Mapping[str, int]
    reasons: Mapping[str, int]


_SCHEMA: Final = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),
        pa.field("clip", pa.int32(), nullable=False),
        pa.field("key", pa.string()),
        pa.field("source", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("reason", pa.string()),
        pa.field("message", pa.string()),
        pa.field("attempts", pa.int32(), nullable=False),
    ],
    metadata={b"vidloom.format": str(layout.FORMAT_VERSION).encode()},
)


def write_ledger(rows: Iterable[LedgerRow]) -> bytes:
    """Return the rows as the bytes of a Parquet file, in the given order.

    Text that came from bytes which are no UTF-8 (lone surrogates) is stored with those bytes spelt out in hexadecimal;
    user parts and signatures of URLs are left out.
    """
    listed = list(rows)
    sources = {source: _storable(source) for source in {row.source for row in listed}}
    table = pa.Table.from_pylist([_to_columns(row, sources[row.source]) for row in listed], schema=_SCHEMA)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return bytes(sink.getvalue())


def read_ledger(store: Store, stem: str) -> list[LedgerRow]:
    """Return the rows of the ledger of one block, in file order.

    Raises:
        NotFoundError: the block has no ledger, so it is unfinished.
        ValueError: the file is no ledger, or holds a status or reason outside the closed lists.
    """
    name = layout.ledger_name(stem)
    return parse_ledger(store.read(name), name=f"{store.url}/{name}")


def parse_ledger(data: bytes, *, name: str) -> list[LedgerRow]:
    """Return the rows of a ledger file's bytes; ``name`` is what messages call it.

    Raises:
        ValueError: the bytes are no ledger, or hold a status or reason outside the closed lists.
    """
    try:
        # pq.read_table starts threads that now and then abort a process which ends soon after.
        table = pq.ParquetFile(pa.BufferReader(data)).read(use_threads=False).select(_SCHEMA.names).cast(_SCHEMA)
        return [_from_columns(row) for row in table.to_pylist()]
    except (pa.ArrowException, KeyError, ValueError, OSError) as error:
        raise ValueError(f"{name} is no readable ledger: {error}; delete it to have the block made again") from error


def summarise(rows: Iterable[LedgerRow]) -> LedgerSums:
    """Count the rows by status and by reason (keys sorted, zero counts absent)."""
    status: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    numbers: set[int] = set()
    for row in rows:
        numbers.add(row.row)
        status[row.status] += 1
        if row.reason is not None:
            reasons[row.reason.value] += 1
    return LedgerSums(len(numbers), dict(sorted(status.items())), dict(sorted(reasons.items())))


def _to_columns(row: LedgerRow, source: str) -> dict[str, Any]:
    return {
        "row": row.row,
        "clip": row.clip,
        "key": row.key,
        "source": source,
        "status": row.status,
        "reason": None if row.reason is None else row.reason.value,
        "message": None if row.message is None else _storable(row.message),
        "attempts": row.attempts,
    }


def _from_columns(row: Mapping[str, Any]) -> LedgerRow:
    reason = row["reason"]
    return LedgerRow(**{**row, "reason": None if reason is None else Reason(reason)})


def _storable(text: str) -> str:
    """Return ``text`` without lone surrogates, which no Parquet file can hold, and without credentials."""
    return without_signature(text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"))
