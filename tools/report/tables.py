"""Long tables packed by column for the page, which sorts, filters and pages them: shards and outliers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from tools.report.spelling import NOTHING, Scale, shorten, spell_count, spell_label, spell_quantity, spell_total_length
from tools.statistics.model import Outlier, Report, ShardFacts

Kind = Literal["text", "code", "count", "length", "size", "trouble", "quantity"]

MOST_SHARDS: Final = 20_000
MOST_OUTLIERS: Final = 300
FIRST_ROWS: Final = 20
"""Rows that stand in the page itself, for where no script runs."""

_TEXT: Final = 120

Cell = str | int | float


@dataclass(frozen=True, slots=True)
class TableColumn:
    """One column of a packed table: how it is called, how its cells are spelt, and its cells.

    ``texts`` are the cells as shown, where no rule of the kind spells them; the cells then only give the order.
    """

    label: str
    kind: Kind
    cells: Sequence[Cell]
    texts: Sequence[str] | None = None

    @property
    def is_number(self) -> bool:
        """Whether the cells stand on the right."""
        return self.kind not in ("text", "code")


@dataclass(frozen=True, slots=True)
class PackedTable:
    """A table by column; ``total`` rows there are in all, of which the first or those that matter are in it."""

    name: str
    columns: tuple[TableColumn, ...]
    total: int

    @property
    def shown(self) -> int:
        """Rows that are in the table."""
        return len(self.columns[0].cells)

    @property
    def is_troubled(self) -> bool:
        """Whether there are columns of what went wrong."""
        return any(column.kind == "trouble" for column in self.columns)

    def to_json(self) -> dict[str, Any]:
        """Return what the page's script reads."""
        return {
            "name": self.name,
            "total": self.total,
            "columns": [
                {"label": column.label, "kind": column.kind, "cells": list(column.cells)}
                | ({"texts": list(column.texts)} if column.texts is not None else {})
                for column in self.columns
            ],
        }

    def first_rows(self) -> list[list[str]]:
        """Return the first rows as they are shown."""
        return [[_spell(column, row) for column in self.columns] for row in range(min(FIRST_ROWS, self.shown))]


def shard_table(report: Report, most: int = MOST_SHARDS) -> PackedTable:
    """Return the table of shards; where there are too many, those with most failures and then the first ones stay.

    Args:
        report: The report.
        most: How many shards may be in the table.
    """
    shards = _chosen(report.shards, most)
    troubled = any(shard.status.get(name) for shard in report.shards for name in ("failed", "filtered", "duplicate"))
    columns = [
        TableColumn("shard", "code", [shorten(shard.stem, _TEXT) for shard in shards]),
        TableColumn("clips", "count", [shard.clips for shard in shards]),
        TableColumn("length", "length", [round(shard.seconds, 1) for shard in shards]),
        TableColumn("frames", "count", [shard.frames for shard in shards]),
        TableColumn("size", "size", [shard.bytes for shard in shards]),
        TableColumn("input rows", "count", [shard.rows for shard in shards]),
    ]
    if len(report.datasets) > 1:
        names = [shorten(dataset.url, _TEXT) for dataset in report.datasets]
        columns.insert(0, TableColumn("dataset", "text", [names[shard.dataset] for shard in shards]))
    if troubled:
        columns += [
            TableColumn(name, "trouble", [shard.status.get(name, 0) for shard in shards])
            for name in ("failed", "filtered", "duplicate")
        ]
        columns.append(TableColumn("most frequent reason", "text", [_first_reason(shard) for shard in shards]))
    return PackedTable("shards", tuple(columns), len(report.shards))


def outlier_table(report: Report) -> PackedTable:
    """Return the table of outliers, those of each column side by side."""
    outliers = _first_of_each(report.whole.outliers)
    columns = [
        TableColumn("what", "text", [shorten(spell_label(outlier.column), _TEXT) for outlier in outliers]),
        TableColumn(
            "value",
            "quantity",
            [outlier.value for outlier in outliers],
            [_spell_outlier(report, outlier) for outlier in outliers],
        ),
        TableColumn("half of the clips have", "text", [_spell_usual(report, outlier) for outlier in outliers]),
        TableColumn("clip", "code", [shorten(outlier.key, _TEXT) for outlier in outliers]),
        TableColumn("shard", "code", [shorten(outlier.shard, _TEXT) for outlier in outliers]),
    ]
    if len(report.datasets) > 1:
        names = [shorten(dataset.url, _TEXT) for dataset in report.datasets]
        columns.append(TableColumn("dataset", "text", [names[outlier.dataset] for outlier in outliers]))
    return PackedTable("outliers", tuple(columns), len(report.whole.outliers))


def _chosen(shards: Sequence[ShardFacts], most: int) -> list[ShardFacts]:
    if len(shards) <= most:
        return list(shards)
    order = sorted(range(len(shards)), key=lambda place: -shards[place].status.get("failed", 0))[:most]
    return [shards[place] for place in sorted(order)]


def _first_of_each(outliers: Sequence[Outlier]) -> list[Outlier]:
    """Return the first outliers of each column and side, as many of each; the report has the farthest first."""
    if len(outliers) <= MOST_OUTLIERS:
        return list(outliers)
    most = max(1, MOST_OUTLIERS // len({(outlier.column, outlier.side) for outlier in outliers}))
    seen: Counter[tuple[str, str]] = Counter()
    chosen = []
    for outlier in outliers:
        seen[outlier.column, outlier.side] += 1
        if seen[outlier.column, outlier.side] <= most:
            chosen.append(outlier)
    return chosen[:MOST_OUTLIERS]


def _first_reason(shard: ShardFacts) -> str:
    if not shard.reasons:
        return ""
    name, count = max(shard.reasons.items(), key=lambda pair: pair[1])
    return f"{shorten(name.replace('_', ' '), _TEXT)} ({spell_count(count)})"


def _spell_outlier(report: Report, outlier: Outlier) -> str:
    facts = report.whole.numbers.get(outlier.column)
    return spell_quantity(outlier.value, facts.unit if facts else "")


def _spell_usual(report: Report, outlier: Outlier) -> str:
    """Return between what values the middle half of the clips lies."""
    facts = report.whole.numbers.get(outlier.column)
    if facts is None:
        return ""
    scale = Scale.of(facts.unit, facts.quantiles["p75"])
    return f"{scale.number(facts.quantiles['p25'])} to {scale.spell(facts.quantiles['p75'])}"


def _spell(column: TableColumn, row: int) -> str:
    if column.texts is not None:
        return column.texts[row]
    cell = column.cells[row]
    if isinstance(cell, str):
        return cell
    if column.kind == "length":
        return spell_total_length(cell)
    if column.kind == "size":
        return spell_quantity(cell, "bytes")
    return spell_count(int(cell)) if cell or column.kind != "trouble" else NOTHING
