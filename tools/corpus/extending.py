"""An input that has grown at its end: its old rows proven unchanged by their digest, the new ones given new blocks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from shards.plan import BlockPlan, count_blocks, require_same_plan
from shards.web_address import unsigned
from tools.corpus.columns import join_kinds, value_kind
from tools.corpus.ingest import InputRow, TableInfo


class Rows(Protocol):
    """What is read of an input here."""

    @property
    def name(self) -> str:
        """The input's base name."""

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the input's bytes."""

    def scan(self, *, limit: int | None = None) -> TableInfo:
        """Tell the number of rows and the kinds of the user's columns."""

    def rows(self, extra: Mapping[str, str], *, limit: int | None = None) -> Iterator[InputRow]:
        """Yield the rows with the user's columns as values of these kinds."""


@dataclass(frozen=True, slots=True)
class RowsDigest:
    """SHA-256 (hex) of the first rows of an input, and of all of them."""

    first: str
    whole: str


def digest_rows(rows: Iterator[InputRow], first: int) -> RowsDigest:
    """Digest rows as they were understood: whatever wrote them down, the same rows have the same digest.

    Args:
        rows: all rows of an input, in order.
        first: how many of them the digest of the first rows takes in.
    """
    digest = hashlib.sha256()
    prefix = None
    for row in rows:
        if row.row >= first and prefix is None:
            prefix = digest.hexdigest()
        digest.update(_spell(row))
    return RowsDigest(prefix or digest.hexdigest(), digest.hexdigest())


def extend(old: BlockPlan, table: Rows, settings: Mapping[str, Any]) -> BlockPlan:
    """Return the plan of a dataset whose input has grown at its end; ``old`` itself where it has not.

    The old blocks stay what they are: the last one is not filled up, new blocks begin after it.

    Args:
        old: the plan of the dataset.
        table: the input as it is now.
        settings: the settings as they are now; another ``limit`` may take more rows.

    Raises:
        ValueError: another setting differs, the input's old rows are not the plan's, a new cell does not go with its
            column's type, or the plan has no digest of its rows.
    """
    limit: int | None = settings["limit"]
    require_same_plan(old, replace(old, settings={**settings, "limit": old.settings.get("limit")}))
    if old.input_digest == table.digest and old.settings.get("limit") == limit:
        return old
    if old.rows_digest is None:
        raise ValueError(
            "--extend cannot prove that the old rows are unchanged: the plan on disk is of an earlier version and has "
            "no digest of them; make the dataset in another output folder, or give the old input without --extend"
        )
    info = table.scan(limit=limit)
    if info.rows < old.rows:
        raise ValueError(
            f"--extend takes an input that has grown at its end: {table.name} has {info.rows} rows, "
            f"the dataset was made of {old.rows}"
        )
    _require_kinds(old, info, table, limit)
    digest = digest_rows(table.rows(old.extra, limit=limit), old.rows)
    if digest.first != old.rows_digest:
        raise ValueError(
            f"--extend takes an input that has grown at its end, and {table.name} has not: of its first {old.rows} "
            f"rows, of which the dataset was made, some are others now (digest {old.rows_digest} on disk, "
            f"{digest.first} given); put new rows after the old ones, or give another output folder"
        )
    if info.rows == old.rows:
        return old
    sections = (*old.sections, old.rows)
    return replace(
        old,
        input_digest=table.digest,
        input_name=table.name,
        rows=info.rows,
        blocks=count_blocks(info.rows, old.rows_per_block, sections),
        settings=settings,
        rows_digest=digest.whole,
        sections=sections,
    )


def _require_kinds(old: BlockPlan, info: TableInfo, table: Rows, limit: int | None) -> None:
    """Check that the columns are those of the plan, and that its types hold the new cells."""
    odd = sorted(old.extra.keys() ^ info.extra.keys())
    if odd:
        where = (
            "is in the dataset and not in the input" if odd[0] in old.extra else "is in the input, not in the dataset"
        )
        raise ValueError(f"--extend takes the same columns: {odd[0]!r} {where}")
    for name, kind in old.extra.items():
        now = info.extra[name]
        if join_kinds(kind, now) != kind:
            row = _first_odd_row(name, kind, info, table, limit)
            raise ValueError(
                f"--extend takes cells of the dataset's types: column {name!r} holds {kind}, and row {row} of "
                f"{table.name} would make it {now}; change that cell, or give another output folder"
            )


def _first_odd_row(name: str, kind: str, info: TableInfo, table: Rows, limit: int | None) -> int | None:
    """Return the number of the first row whose cell the type does not hold."""
    rows = table.rows(info.extra, limit=limit)
    return next((row.row for row in rows if join_kinds(kind, value_kind(row.extra.get(name))) != kind), None)


def _spell(row: InputRow) -> bytes:
    """Return what a row says; a signed URL counts as its file, whenever it was signed."""
    problem = None if row.problem is None else row.problem.reason.value
    extra = dict(sorted(row.extra.items()))
    words = [row.row, row.part, unsigned(row.video), row.caption, row.captions, row.start, row.end, extra, problem]
    return json.dumps(words, ensure_ascii=True).encode() + b"\n"
