"""Short facts of the page: its cards, captions and duplicates, groups, costs, and how two datasets differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from tools.report.bars import moved, spell_estimate
from tools.report.spelling import (
    NOTHING,
    TIMES,
    shorten,
    spell_count,
    spell_label,
    spell_large,
    spell_number,
    spell_quantity,
    spell_share,
    spell_total_length,
)
from tools.statistics.model import Comparison, Costs, DuplicateFacts, Grouping, Report, Section

MOST_ROWS: Final = 60
_TEXT: Final = 200
_LITTLE, _MUCH = 0.1, 0.25
"""Where drift begins to count and to matter, by the population stability index."""

_SHOWN_MEDIANS: Final = 3


@dataclass(frozen=True, slots=True)
class Card:
    """A number that is read first, and a line on it."""

    label: str
    value: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Fact:
    """A name and what is said of it."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class RepeatRow:
    """A text, hash or source that several clips have."""

    value: str
    count: str
    key: str


@dataclass(frozen=True, slots=True)
class RepeatList:
    """What repeats most, under a title."""

    title: str
    rows: tuple[RepeatRow, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table: its head, the width of its bar in percent, and its cells."""

    head: str
    width: float
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SideTable:
    """A table with its heads."""

    heads: tuple[str, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class DriftRow:
    """How far one column moved: spelt measures, their weight in a word, the width of a bar, and whether a chart is."""

    column: str
    label: str
    psi: str
    js: str
    ks: str
    means: str
    weight: Literal["little", "some", "much"]
    width: float
    charted: bool


def summary_cards(report: Report) -> list[Card]:
    """Return the numbers that are read first."""
    whole = report.whole
    sources = whole.duplicates.sources.distinct.value
    per_clip = spell_quantity(whole.seconds / whole.clips, "s") if whole.clips else ""
    cards = [
        Card("clips", spell_large(whole.clips), f"of {spell_large(sources)} sources" if sources else ""),
        Card("length", spell_total_length(whole.seconds), f"{per_clip} a clip on average" if per_clip else ""),
        Card("frames", spell_large(whole.frames), _rate(whole)),
        Card("size of clips", spell_quantity(whole.bytes, "bytes"), _density(whole)),
        Card("shards", spell_large(len(report.shards)), f"{spell_quantity(_stored(report), 'bytes')} with all files"),
        _caption_card(whole),
    ]
    if report.fates.rows:
        made = report.fates.status.get("success", 0)
        total = sum(report.fates.status.values())
        cards.append(Card("input rows", spell_large(report.fates.rows), f"{spell_share(made, total)} became clips"))
    if "nvdec" in whole.decodable:
        cards.append(
            Card(
                "decodable by NVDEC",
                spell_share(whole.decodable["nvdec"], whole.clips),
                "as codec and pixel format tell",
            )
        )
    return cards


def cost_cards(costs: Costs) -> list[Card]:
    """Return what an epoch takes."""
    cards = [
        Card("time", spell_total_length(costs.seconds), f"at {spell_number(costs.clips_per_second)} clips a second"),
        Card("read", spell_quantity(costs.bytes, "bytes"), "payloads of all clips, once"),
        Card("pace of reading", f"{spell_quantity(costs.bytes_per_second, 'bytes')}/s", _line_rate(costs)),
    ]
    if costs.price is not None and costs.price_per_gb is not None:
        cards.append(Card("egress", f"${costs.price:,.2f}", f"at ${costs.price_per_gb:g} a GB"))
    return cards


def duplicate_facts(duplicates: DuplicateFacts, clips: int) -> list[Fact]:
    """Return how much repeats."""
    facts = []
    named = (("same caption", duplicates.captions), ("same payload", duplicates.payloads))
    for name, repeats in named:
        share = spell_share(repeats.copies.value, clips)
        facts.append(Fact(f"clips with the {name} as an earlier one", f"{spell_estimate(repeats.copies)} ({share})"))
    facts.append(Fact("different captions", spell_estimate(duplicates.captions.distinct)))
    facts.append(Fact("sources (videos)", spell_estimate(duplicates.sources.distinct)))
    facts.append(Fact("sources with several clips", spell_estimate(duplicates.sources.repeated)))
    near = duplicates.near
    if near is not None:
        share = spell_share(near.copies, near.compared)
        facts.append(Fact(f"near copies among {spell_count(near.compared)} compared", f"{near.copies:,} ({share})"))
    return facts


def repeat_lists(duplicates: DuplicateFacts) -> list[RepeatList]:
    """Return the captions, payloads and sources that most clips share."""
    named = (
        ("captions of several clips", duplicates.captions),
        ("payloads stored several times", duplicates.payloads),
        ("sources with most clips", duplicates.sources),
    )
    lists = [
        RepeatList(
            title,
            tuple(
                RepeatRow(shorten(each.value, _TEXT) or "(empty)", spell_count(each.count), shorten(each.key, _TEXT))
                for each in repeats.largest[:8]
            ),
        )
        for title, repeats in named
    ]
    return [each for each in lists if each.rows]


def group_table(grouping: Grouping) -> SideTable:
    """Return the groups side by side, with the medians of the first columns."""
    sections = [(group.name, group.section) for group in grouping.groups[:MOST_ROWS]]
    if grouping.other is not None:
        sections.append(("all others", grouping.other))
    names = list(sections[0][1].numbers)[:_SHOWN_MEDIANS] if sections else []
    total = sum(section.clips for _, section in sections)
    longest = max((section.clips for _, section in sections), default=0) or 1
    heads = ("clips", "share", "length", "size", *(f"median {spell_label(name)}" for name in names))
    rows = [
        Row(
            shorten(title, _TEXT) or "(empty)",
            100 * section.clips / longest,
            (
                spell_count(section.clips),
                spell_share(section.clips, total),
                spell_total_length(section.seconds),
                spell_quantity(section.bytes, "bytes"),
                *(_median(section, name) for name in names),
            ),
        )
        for title, section in sections
    ]
    return SideTable(heads, tuple(rows))


def side_table(comparison: Comparison) -> SideTable:
    """Return the sums of both sides, and the right side's as a multiple of the left's."""
    left, right = comparison.left_section, comparison.right_section
    named = (
        ("clips", left.clips, right.clips, spell_count(left.clips), spell_count(right.clips)),
        ("length", left.seconds, right.seconds, spell_total_length(left.seconds), spell_total_length(right.seconds)),
        ("frames", left.frames, right.frames, spell_count(left.frames), spell_count(right.frames)),
        ("size", left.bytes, right.bytes, spell_quantity(left.bytes, "bytes"), spell_quantity(right.bytes, "bytes")),
    )
    rows = [
        Row(name, 0.0, (spelt, other, f"{TIMES} {spell_number(there / here)}" if here else NOTHING))
        for name, here, there, spelt, other in named
    ]
    return SideTable(("left", "right", "right to left"), tuple(rows))


def drift_rows(comparison: Comparison) -> list[DriftRow]:
    """Return the drifts that can be seen, as the report has them; a bar is full at twice the index that means much."""
    units = {name: facts.unit for name, facts in comparison.left_section.numbers.items()}
    rows = []
    for drift in moved(comparison)[:MOST_ROWS]:
        means = ""
        if drift.left_mean is not None and drift.right_mean is not None:
            unit = units.get(drift.column, "")
            means = f"{spell_quantity(drift.left_mean, unit)} → {spell_quantity(drift.right_mean, unit)}"
        rows.append(
            DriftRow(
                column=drift.column,
                label=shorten("words of captions" if drift.kind == "words" else spell_label(drift.column), _TEXT),
                psi=f"{drift.psi:.3f}",
                js=f"{drift.js:.3f}",
                ks=NOTHING if drift.ks is None else f"{drift.ks:.3f}",
                means=means,
                weight="much" if drift.psi > _MUCH else "some" if drift.psi > _LITTLE else "little",
                width=min(100.0, 50 * drift.psi / _MUCH),
                charted=drift.kind == "number",
            )
        )
    return rows


def _median(section: Section, name: str) -> str:
    facts = section.numbers.get(name)
    return NOTHING if facts is None else spell_quantity(facts.quantiles["p50"], facts.unit)


def _rate(whole: Section) -> str:
    return f"{spell_number(whole.frames / whole.seconds)} a second on average" if whole.seconds else ""


def _density(whole: Section) -> str:
    return f"{spell_quantity(8 * whole.bytes / whole.seconds, 'bit/s')} on average" if whole.seconds else ""


def _stored(report: Report) -> int:
    return sum(dataset.bytes for dataset in report.datasets)


def _caption_card(whole: Section) -> Card:
    distinct = whole.duplicates.captions.distinct
    empty = f"{spell_count(whole.captions.empty)} captions have no word" if whole.captions.empty else "none is empty"
    return Card("different captions", spell_large(distinct.value), empty)


def _line_rate(costs: Costs) -> str:
    return f"{spell_quantity(8 * costs.bytes_per_second, 'bit/s')} on the line"
