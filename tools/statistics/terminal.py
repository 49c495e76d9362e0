"""A report as tables on a terminal, with small bars."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.table import Column, Table

from tools.console import printable, spell_seconds, spell_size
from tools.report.spelling import spell_quantity
from tools.statistics.model import (
    Comparison,
    Costs,
    DuplicateFacts,
    Estimate,
    Fates,
    Grouping,
    Histogram,
    NumberFacts,
    Outlier,
    Report,
    Section,
    Term,
    ValueFacts,
)

_BARS: Final = " ▁▂▃▄▅▆▇█"
_BINS_A_BAR: Final = 5
_BAR_WIDTH: Final = 10
_LONGEST: Final = 60
_VALUES: Final = 8
_WORDS: Final = 10
_DRIFTS: Final = 15
_OUTLIERS: Final = 20
_MUCH: Final = 0.25
_SOME: Final = 0.1

_WIDE: Final = 96
"""Columns of a terminal from which on the mean is told, too."""


def tables(report: Report, *, width: int = 80) -> Iterator[Table]:
    """Yield the tables that tell a report, the most important first, for a terminal of so many columns."""
    yield _sums(report)
    if report.comparison:
        yield from _compared(report.comparison)
        return
    if not report.whole.clips:
        return
    if report.grouping:
        yield _groups(report.grouping)
    yield from _section(report.whole, width)


def _sums(report: Report) -> Table:
    table = Table(title=printable(report.title), show_header=False)
    whole = report.whole
    rows: list[tuple[str, str]] = []
    rows += [("dataset", printable(one.url)) for one in report.datasets]
    if report.where:
        rows.append(("clips where", printable(report.where)))
    rows += [
        ("clips", "none is left by the condition" if report.where and not whole.clips else str(whole.clips)),
        ("length", spell_seconds(whole.seconds)),
        ("frames", str(whole.frames)),
        ("videos", f"{spell_size(whole.bytes)} from {_estimate(whole.duplicates.sources.distinct)} sources"),
        ("files", f"{spell_size(sum(one.bytes for one in report.datasets))} in {_plural(len(report.shards), 'shard')}"),
        *_fates(report.fates),
        *([("without caption", str(whole.captions.empty))] if whole.captions.empty else []),
        *_duplicates(whole.duplicates),
        *(_costs(whole.costs) if whole.costs else ()),
    ]
    for name, value in rows:
        table.add_row(name, value)
    return table


def _fates(fates: Fates) -> Iterator[tuple[str, str]]:
    yield "input rows", f"{fates.rows}: " + ", ".join(f"{count} {status}" for status, count in fates.status.items())
    for reason, count in fates.reasons.items():
        yield f"  {reason}", str(count)


def _duplicates(facts: DuplicateFacts) -> Iterator[tuple[str, str]]:
    for name, repeats in (("captions", facts.captions), ("videos", facts.payloads)):
        copies, different = _estimate(repeats.copies), _estimate(repeats.distinct)
        yield f"repeated {name}", f"{copies} of an earlier clip; {different} are different"
    if facts.near:
        near = facts.near
        yield "like pictures", f"{near.copies} of {near.compared} sampled clips; {near.failed} more cannot be decoded"


def _costs(costs: Costs) -> Iterator[tuple[str, str]]:
    price = "" if costs.price is None else f", {costs.price:.2f} dollars"
    rate = f"{costs.clips_per_second:g} clips/s, {spell_size(costs.bytes_per_second)}/s"
    yield "an epoch", f"{spell_seconds(costs.seconds)} at {rate}; {spell_size(costs.bytes)} to read{price}"


def _section(section: Section, width: int) -> Iterator[Table]:
    yield _numbers(section.numbers, width)
    yield _values(section)
    if section.captions.words:
        yield _words(section)
    repeated = _repeated(section.duplicates)
    if repeated.row_count:
        yield repeated
    if section.outliers:
        yield _outliers(section.outliers)


def _numbers(numbers: Mapping[str, NumberFacts], width: int) -> Table:
    """Return a row for each column; numbers are never cut, so that a narrow terminal has one column less."""
    told: dict[str, Callable[[NumberFacts], float]] = {
        "min": lambda facts: facts.min,
        "median": lambda facts: facts.quantiles["p50"],
        "mean": lambda facts: facts.mean,
        "95 %": lambda facts: facts.quantiles["p95"],
        "max": lambda facts: facts.max,
    }
    if width < _WIDE:
        del told["mean"]
    table = _plain_table("per clip", *(Column(name, justify="right", no_wrap=True) for name in told), "spread")
    for name, facts in numbers.items():
        cells = (spell_quantity(value(facts), facts.unit) for value in told.values())
        table.add_row(printable(name).replace("_", " "), *cells, _sparkline(facts.histogram))
    return table


def _plain_table(first: str, *others: Column | str) -> Table:
    """Return a table without lines between columns, whose rows are one line each."""
    columns = [one if isinstance(one, Column) else Column(one, no_wrap=True) for one in (first, *others)]
    return Table(*columns, box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)


def _sparkline(histogram: Histogram) -> str:
    """Return a histogram as a row of small bars, five bins a letter."""
    counts = histogram.counts
    few = [sum(counts[at : at + _BINS_A_BAR]) for at in range(0, len(counts), _BINS_A_BAR)]
    most = max(few)
    return "".join(_BARS[-(-count * (len(_BARS) - 1) // most)] for count in few)


def _values(section: Section) -> Table:
    table = Table("what", "clips")
    for name, facts in section.values.items():
        table.add_row(printable(name).replace("_", " "), _counted(facts))
    table.add_row("decodable", ", ".join(f"{name} {count}" for name, count in section.decodable.items()))
    return table


def _counted(facts: ValueFacts) -> str:
    if not facts.counts and facts.other:
        return f"more than {facts.distinct.value} different"
    shown = list(facts.counts.items())[:_VALUES]
    parts = [f"{_short(value)} {count}" for value, count in shown]
    rest = facts.other + sum(list(facts.counts.values())[_VALUES:])
    parts += [f"{_plural(facts.distinct.value - len(shown), 'other')} {rest}"] if rest else []
    parts += [f"{facts.missing} without"] if facts.missing else []
    return ", ".join(parts)


def _words(section: Section) -> Table:
    facts = section.captions
    of = f"{facts.captions}" if facts.read == facts.captions else f"{facts.captions}, from {facts.read} of them"
    table = Table("word", "", "pair", "", "triple", "", title=f"in how many captions of {of}")
    columns = (facts.words, facts.pairs, facts.triples)
    for place in range(min(_WORDS, max(map(len, columns)))):
        table.add_row(*(cell for column in columns for cell in _term(column, place)))
    return table


def _term(terms: Sequence[Term], place: int) -> tuple[str, str]:
    if place >= len(terms):
        return "", ""
    return _short(terms[place].text), _estimate(terms[place].count)


def _repeated(facts: DuplicateFacts) -> Table:
    table = Table("repeated", Column("clips", justify="right"), "value", "first")
    for name, repeats in (("caption", facts.captions), ("video", facts.payloads)):
        for one in repeats.largest:
            table.add_row(name, str(one.count), _short(one.value), one.key)
    return table


def _outliers(outliers: Sequence[Outlier]) -> Table:
    left_out = len(outliers) - _OUTLIERS
    table = Table("outlier", "why", caption=f"and {left_out} more, with --json or --html" if left_out > 0 else None)
    for one in outliers[:_OUTLIERS]:
        table.add_row(printable(one.key), printable(one.why))
    return table


def _groups(grouping: Grouping) -> Table:
    names = ("clips", "length", "videos", "median", "words")
    columns = (Column(name, justify="right", no_wrap=True) for name in names)
    table = _plain_table("group", *columns, "share")
    table.title = f"{len(grouping.groups)} of {grouping.distinct.value} groups by {printable(grouping.column)}"
    table.caption = "median: of the length of a clip; words: the median of a caption"
    sections = [(group.name, group.section) for group in grouping.groups]
    sections += [("(other)", grouping.other)] if grouping.other else []
    total = sum(section.clips for _, section in sections)
    for name, section in sections:
        median = [section.numbers[column].quantiles["p50"] for column in ("duration", "caption_words")]
        told = (str(section.clips), spell_seconds(section.seconds), spell_size(section.bytes))
        middle = (spell_quantity(median[0], "s"), f"{median[1]:g}")
        table.add_row(_short(name), *told, *middle, _bar(section.clips / total))
    return table


def _compared(comparison: Comparison) -> Iterator[Table]:
    left, right = comparison.left_section, comparison.right_section
    table = Table("", printable(comparison.left), printable(comparison.right))
    rows: list[tuple[str, Callable[[Section], str]]] = [
        ("clips", lambda side: str(side.clips)),
        ("length", lambda side: spell_seconds(side.seconds)),
        ("frames", lambda side: str(side.frames)),
        ("videos", lambda side: spell_size(side.bytes)),
    ]
    for name, told in rows:
        table.add_row(name, told(left), told(right))
    for name in left.numbers:
        if name in right.numbers:
            sides = (left.numbers[name], right.numbers[name])
            table.add_row(f"median {printable(name).replace('_', ' ')}", *(_median(side) for side in sides))
    yield table
    drifts = Table(
        "drift", Column("psi", justify="right"), Column("ks", justify="right"), Column("js", justify="right"), ""
    )
    for drift in comparison.drifts[:_DRIFTS]:
        ks = "" if drift.ks is None else f"{drift.ks:.3f}"
        said = "much" if drift.psi > _MUCH else "some" if drift.psi > _SOME else "little"
        drifts.add_row(printable(drift.column).replace("_", " "), f"{drift.psi:.3f}", ks, f"{drift.js:.3f}", said)
    yield drifts


def _median(facts: NumberFacts) -> str:
    return spell_quantity(facts.quantiles["p50"], facts.unit)


def _plural(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _bar(share: float) -> str:
    return "█" * round(share * _BAR_WIDTH)


def _estimate(found: Estimate) -> str:
    return str(found.value) if found.is_exact else f"{found.value} ± {found.margin}"


def _short(text: str) -> str:
    spelt = printable(text)
    return spelt if len(spelt) <= _LONGEST else f"{spelt[:_LONGEST]}…"
