"""Histograms for the page: the numbers that its chart draws from, and a small picture of each for where it cannot."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from tools.report.spelling import NOTHING, Scale, shorten, spell_count, spell_label
from tools.statistics.model import Comparison, Grouping, Histogram, NumberFacts, Report, Section

MOST_COLUMNS: Final = 48
MOST_SERIES: Final = 8
"""Groups that a chart overlays; more cannot be told apart."""

_COUNTED: Final = {"shard_bytes": "shards", "shard_clips": "shards", "clips_per_source": "sources"}
"""What a column has a value of, where it is not a clip."""

_NAME: Final = 60
_WIDTH, _HEIGHT = 120.0, 36.0
_QUANTILES: Final = ("p1", "p5", "p25", "p50", "p75", "p95", "p99")


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A column at a glance: its label, its least, median and greatest value, and the outline of its histogram.

    ``outline`` is the path of an SVG of 120 by 36 units.
    """

    column: str
    label: str
    low: str
    median: str
    high: str
    outline: str


@dataclass(frozen=True, slots=True)
class NumberRow:
    """A row of the table of all numbers, spelt: one cell for each of ``NUMBER_HEADS``."""

    column: str
    label: str
    cells: tuple[str, ...]


NUMBER_HEADS: Final = (
    *("count", "least", "1 %", "5 %", "25 %", "median", "75 %", "95 %", "99 %", "greatest", "mean", "deviation"),
    "missing",
)
"""What a ``NumberRow`` tells; where no column has missing values, the last head and cells are left out."""


def thumbnails(numbers: Mapping[str, NumberFacts]) -> list[Thumbnail]:
    """Return a small picture of every column."""
    return [_thumbnail(name, facts) for name, facts in _columns(numbers)]


def number_rows(numbers: Mapping[str, NumberFacts]) -> list[NumberRow]:
    """Return the table of all numbers."""
    return [_row(name, facts) for name, facts in _columns(numbers)]


def chart_data(report: Report) -> dict[str, Any]:
    """Return what the chart draws from, as JSON: columns, each with its series for every way to split the clips."""
    splits: dict[str, list[tuple[str, Section]]] = {"whole": [("all clips", report.whole)]}
    names = {"whole": "all clips"}
    if report.grouping is not None:
        splits["groups"] = list(_groups(report.grouping))
        names["groups"] = f"by {spell_label(report.grouping.column)}"
    if report.comparison is not None:
        splits["sides"] = list(_sides(report.comparison))
        names["sides"] = "left and right"
    columns = [_chart_column(name, facts, splits) for name, facts in _columns(report.whole.numbers)]
    return {"splits": names, "columns": columns}


def _columns(numbers: Mapping[str, NumberFacts]) -> list[tuple[str, NumberFacts]]:
    return [(name, facts) for name, facts in numbers.items() if facts.count][:MOST_COLUMNS]


def _groups(grouping: Grouping) -> Iterable[tuple[str, Section]]:
    shown = [(shorten(group.name, _NAME), group.section) for group in grouping.groups]
    if grouping.other is not None and len(shown) < MOST_SERIES:
        shown.append(("all others", grouping.other))
    return shown[:MOST_SERIES]


def _sides(comparison: Comparison) -> Iterable[tuple[str, Section]]:
    yield shorten(comparison.left, _NAME), comparison.left_section
    yield shorten(comparison.right, _NAME), comparison.right_section


def _chart_column(name: str, facts: NumberFacts, splits: Mapping[str, Sequence[tuple[str, Section]]]) -> dict[str, Any]:
    series = {
        split: [_series(title, section.numbers[name]) for title, section in sections if name in section.numbers]
        for split, sections in splits.items()
    }
    return _column(name, facts) | {"series": series}


def _column(name: str, facts: NumberFacts) -> dict[str, Any]:
    scale = column_scale(facts)
    return {
        "name": name,
        "label": shorten(spell_label(name), _NAME),
        "unit": scale.unit,
        "divisor": scale.divisor,
        "digits": scale.digits,
        "counted": _COUNTED.get(name, "clips"),
        "error": facts.error,
        "scale": "log" if facts.histogram.log else "linear",
    }


def _series(title: str, facts: NumberFacts) -> dict[str, Any]:
    quantiles = [facts.min, *(facts.quantiles[name] for name in _QUANTILES), facts.max]
    found = [facts.histogram, facts.other]
    histograms = {"log" if each.log else "linear": _bins(each) for each in found if each is not None}
    return {
        "name": title,
        "count": facts.count,
        "missing": facts.missing,
        "mean": _round(facts.mean),
        "quantiles": list(map(_round, quantiles)),
        **histograms,
    }


def _bins(histogram: Histogram) -> dict[str, Any]:
    return {"edges": list(map(_round, histogram.edges)), "counts": list(histogram.counts)}


def _round(value: float) -> float | None:
    """Return seven digits; None for what JSON has no word for."""
    return float(f"{value:.7g}") if math.isfinite(value) else None


def column_scale(facts: NumberFacts) -> Scale:
    """Return the unit that suits most values of a column."""
    return Scale.of(facts.unit, facts.quantiles["p95"])


def _thumbnail(name: str, facts: NumberFacts) -> Thumbnail:
    scale = column_scale(facts)
    low, median, high = scale.number(facts.min), scale.spell(facts.quantiles["p50"]), scale.spell(facts.max)
    return Thumbnail(name, shorten(spell_label(name), _NAME), low, median, high, outline(facts.histogram))


def outline(histogram: Histogram) -> str:
    """Return the path of an SVG of 120 by 36 units: one bar a bin, all of one width, the tallest as high as it.

    Bins of one scale have one width on it, so what is left out is only the axis.
    """
    tallest = max(histogram.counts, default=0)
    if not tallest:
        return ""
    step = _WIDTH / len(histogram.counts)
    steps = [0.0, *(max(1.0, _HEIGHT * count / tallest) if count else 0.0 for count in histogram.counts), 0.0]
    path = [f"M0 {_HEIGHT:g}"]
    for place, (before, height) in enumerate(pairwise(steps)):
        if height != before:
            path.append(f"H{place * step:.4g}V{_HEIGHT - height:.4g}")
    return "".join(path) + "Z"


def _row(name: str, facts: NumberFacts) -> NumberRow:
    scale = column_scale(facts)
    values = (facts.min, *(facts.quantiles[each] for each in _QUANTILES), facts.max, facts.mean, facts.std)
    spelt = map(scale.number, values)
    label = spell_label(name) + (f" ({scale.unit})" if scale.unit else "")
    cells = (spell_count(facts.count), *spelt, spell_count(facts.missing) if facts.missing else NOTHING)
    return NumberRow(name, shorten(label, _NAME), cells)
