"""Lists of bars: how often values, words, reasons and fates occur, ready for the page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from shards.ledger import RULE_REASONS, Reason
from tools.report.spelling import shorten, spell_count, spell_label, spell_large, spell_share
from tools.statistics.model import CaptionFacts, Comparison, Drift, Estimate, Fates, Section, Term, ValueFacts

MOST_BARS: Final = 8
MOST_TERMS: Final = 25
MOST_LISTS: Final = 40

_TEXT: Final = 160
_SEEN: Final = 0.005
"""Population stability index from which on a drift is told."""
_YES_NO: Final[Mapping[str, str]] = {"true": "yes", "false": "no"}
_TONES: Final[Mapping[str, str]] = {"success": "good", "failed": "bad", "filtered": "warn", "duplicate": "other"}


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: what it counts, how many, which share of all, its width in percent of the longest, and its tone."""

    label: str
    amount: str
    share: str
    width: float
    tone: str = ""


@dataclass(frozen=True, slots=True)
class BarList:
    """Bars under a title, longest first, and a remark on what they leave out."""

    title: str
    bars: tuple[Bar, ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class PairedBar:
    """A value on both sides of a comparison: its shares, spelt and as widths in percent of the longest."""

    label: str
    left: str
    right: str
    left_width: float
    right_width: float


@dataclass(frozen=True, slots=True)
class PairedList:
    """Paired bars of one column."""

    title: str
    bars: tuple[PairedBar, ...]


def value_lists(section: Section) -> list[BarList]:
    """Return how often the values of each column occur, and how many clips each decoder can read."""
    lists = [_values(name, facts) for name, facts in section.values.items()]
    if section.decodable:
        bars = _bars(section.decodable.items(), section.clips)
        lists.append(
            BarList("what can decode it", bars, "As codec, profile and pixel format tell; a clip may count often.")
        )
    return [each for each in lists if each.bars or each.note][:MOST_LISTS]


def term_lists(captions: CaptionFacts) -> list[BarList]:
    """Return the words, pairs and triples of neighbouring words that most captions have."""
    named = (("words", captions.words), ("pairs of words", captions.pairs), ("triples of words", captions.triples))
    return [BarList(title, _terms(terms)) for title, terms in named if terms]


def fate_bars(fates: Fates) -> tuple[Bar, ...]:
    """Return what became of the input rows, successes first."""
    order = sorted(fates.status.items(), key=lambda pair: list(_TONES).index(pair[0]) if pair[0] in _TONES else 9)
    return tuple(
        Bar(bar.label, bar.amount, bar.share, bar.width, _TONES.get(bar.label, "other"))
        for bar in _bars(order, sum(fates.status.values()))
    )


def reason_list(fates: Fates) -> BarList:
    """Return why rows did not become clips."""
    bars = _bars(fates.reasons.items(), sum(fates.reasons.values()))
    return BarList("why", tuple(replace(bar, label=bar.label.replace("_", " "), tone=_tone(bar.label)) for bar in bars))


def paired_lists(comparison: Comparison, most: int) -> list[PairedList]:
    """Return the values of both sides for the columns that drifted most."""
    left, right = comparison.left_section, comparison.right_section
    names = [drift.column for drift in moved(comparison) if drift.kind == "value"]
    both = [name for name in names if name in left.values and name in right.values][:most]
    return [_paired(name, left.values[name], right.values[name]) for name in both]


def moved(comparison: Comparison) -> list[Drift]:
    """Return the drifts that can be seen: what is below the threshold reads as nothing."""
    return [drift for drift in comparison.drifts if drift.psi >= _SEEN]


def spell_estimate(estimate: Estimate) -> str:
    """Return a count, with its margin where it comes from a sample."""
    spelt = spell_large(estimate.value)
    return spelt if estimate.is_exact else f"{spelt} ± {spell_large(estimate.margin)}"


def _tone(reason: str) -> str:
    if reason in (Reason.EXACT_DUPLICATE, Reason.NEAR_DUPLICATE):
        return _TONES["duplicate"]
    return _TONES["filtered" if reason in RULE_REASONS else "failed"]


def _values(name: str, facts: ValueFacts) -> BarList:
    if not facts.counts:
        note = f"more than {spell_count(facts.distinct.value)} different values: too many to count each"
        return BarList(shorten(spell_label(name), _TEXT), (), note)
    shown = [(_YES_NO.get(value, value), count) for value, count in list(facts.counts.items())[:MOST_BARS]]
    rest = facts.other + sum(list(facts.counts.values())[MOST_BARS:])
    total = sum(facts.counts.values()) + facts.other
    more = rest and Bar("all others", spell_count(rest), spell_share(rest, total), 0.0, "rest")
    distinct = f"{spell_estimate(facts.distinct)} different values" if rest else ""
    missing = f"{spell_count(facts.missing)} clips have none" if facts.missing else ""
    bars = _bars(shown, total) + ((more,) if more else ())
    return BarList(shorten(spell_label(name), _TEXT), bars, "; ".join(filter(None, (distinct, missing))))


def _bars(counts: Iterable[tuple[str, int]], total: int) -> tuple[Bar, ...]:
    pairs = [(name, count) for name, count in counts if count]
    longest = max((count for _, count in pairs), default=0)
    return tuple(
        Bar(shorten(name, _TEXT) or "(empty)", spell_count(count), spell_share(count, total), 100 * count / longest)
        for name, count in pairs
    )


def _terms(terms: Sequence[Term]) -> tuple[Bar, ...]:
    longest = max(1, *(term.count.value for term in terms))
    return tuple(
        Bar(shorten(term.text, _TEXT), spell_estimate(term.count), "", 100 * term.count.value / longest)
        for term in terms[:MOST_TERMS]
    )


def _paired(name: str, left: ValueFacts, right: ValueFacts) -> PairedList:
    totals = [max(1, sum(facts.counts.values()) + facts.other) for facts in (left, right)]
    shares = {
        value: (left.counts.get(value, 0) / totals[0], right.counts.get(value, 0) / totals[1])
        for value in [*left.counts, *right.counts]
    }
    shown = sorted(shares.items(), key=lambda pair: -max(pair[1]))[:MOST_BARS]
    longest = max((max(pair) for _, pair in shown), default=1.0) or 1.0
    bars = [
        PairedBar(
            shorten(_YES_NO.get(value, value), _TEXT) or "(empty)",
            spell_share(pair[0], 1),
            spell_share(pair[1], 1),
            100 * pair[0] / longest,
            100 * pair[1] / longest,
        )
        for value, pair in shown
    ]
    return PairedList(shorten(spell_label(name), _TEXT), tuple(bars))
