"""A section of the report: what was counted of some clips, with the names of those that stand out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal, NamedTuple

import numpy as np

from tools.statistics.columns import DECODERS, ORDER, STORED_VALUES, UNITS
from tools.statistics.facts import caption_facts, number_facts, value_facts
from tools.statistics.frequent import Repeating, repeating
from tools.statistics.model import (
    Costs,
    DuplicateFacts,
    NearFacts,
    NumberFacts,
    Outlier,
    Repeated,
    Repeats,
    Section,
    Side,
)
from tools.statistics.named import Named
from tools.statistics.partial import Partial
from tools.statistics.spread import Spread
from tools.statistics.words import WordCounts

_GIGA: Final = 1e9

_Texts = Literal["caption", "sha256", "source"]


@dataclass(frozen=True, slots=True)
class Shown:
    """How much a section shows: values and words of a column, outliers of each side, values that repeat."""

    values: int = 20
    outliers: int = 5
    repeated: int = 10


@dataclass(frozen=True, slots=True)
class Pace:
    """At how many clips a second an epoch is thought of, and what a gigabyte (10**9 bytes) costs to read.

    Raises:
        ValueError: one is not above zero, or not finite.
    """

    clips_per_second: float
    price_per_gb: float | None = None

    def __post_init__(self) -> None:
        if not (0 < self.clips_per_second < math.inf and 0 <= (self.price_per_gb or 0) < math.inf):
            raise ValueError(
                f"{self.clips_per_second} clips a second at {self.price_per_gb} a gigabyte: the first must be above 0, "
                "the second not below, and both finite"
            )


@dataclass(frozen=True, slots=True)
class Draft:
    """What is known of some clips before any is named, and how much of it will be shown."""

    partial: Partial
    numbers: Mapping[str, NumberFacts]
    repeats: Mapping[_Texts, Repeating]
    shown: Shown


def draft(partial: Partial, shown: Shown, more: Mapping[str, Spread] | None = None) -> Draft:
    """Return what is known of some clips; ``more`` are spreads that no table tells, by name."""
    per_source, counts = np.unique(partial.sources.counts, return_counts=True)
    spreads = {
        **partial.numbers,
        "clips_per_source": Spread.of_counts(per_source.astype(np.float64), counts.astype(np.int64)),
        **(more or {}),
    }
    rows = {name: spread.count + spread.missing for name, spread in spreads.items()}
    rows |= dict.fromkeys(partial.numbers, partial.rows)
    order = [*(name for name in ORDER if name in spreads), *sorted(set(spreads) - set(ORDER))]
    facts = {name: number_facts(spreads[name], rows[name], UNITS.get(name, "")) for name in order}
    known = {name: found for name, found in facts.items() if found is not None}
    return Draft(partial, known, _repeating(partial, shown), shown)


def wanted_places(drafted: Draft) -> dict[int, set[str]]:
    """Return where the clips stand that the section names, with the texts of each that it shows beside its key."""
    places: dict[int, set[str]] = {far.place: set() for far in _far(drafted)}
    for column, found in drafted.repeats.items():
        for one in found.largest:
            places.setdefault(one.place, set()).add(column)
    return places


def make_section(drafted: Draft, words: WordCounts, names: Mapping[int, Named], pace: Pace | None = None) -> Section:
    """Return what is told of some clips.

    Args:
        drafted: What is known of them.
        words: What their captions say.
        names: Of the clips at the places that ``wanted_places`` gives.
        pace: What costs are reckoned with, None: none are.
    """
    partial, numbers, repeats, shown = drafted.partial, drafted.numbers, drafted.repeats, drafted.shown
    sums = {name: numbers[name].sum if name in numbers else 0.0 for name in ("duration", "num_frames", "bytes")}
    kinds = [*STORED_VALUES, *sorted(set(partial.values) - set(STORED_VALUES))]
    return Section(
        clips=partial.rows,
        seconds=sums["duration"],
        frames=int(sums["num_frames"]),
        bytes=int(sums["bytes"]),
        numbers=numbers,
        values={
            name: value_facts(partial.values[name], partial.rows, shown.values)
            for name in kinds
            if name in partial.values
        },
        decodable={name: partial.decodable.get(name, 0) for name in DECODERS},
        captions=caption_facts(partial, words, shown.values),
        duplicates=DuplicateFacts(
            captions=_repeats(repeats["caption"], "caption", names),
            payloads=_repeats(repeats["sha256"], "sha256", names),
            sources=_repeats(repeats["source"], "source", names),
        ),
        outliers=tuple(_outlier(far, names[far.place], numbers[far.column]) for far in _far(drafted)),
        costs=None if pace is None else _costs(partial.rows, int(sums["bytes"]), pace),
    )


def with_near(section: Section, near: NearFacts | None) -> Section:
    """Return a section that also tells of near duplicates."""
    return section if near is None else replace(section, duplicates=replace(section.duplicates, near=near))


class _Far(NamedTuple):
    """A clip beyond a fence of a column."""

    column: str
    side: Side
    value: float
    place: int


def _far(drafted: Draft) -> Iterator[_Far]:
    """Yield the clips beyond the fences of each column, the farthest first."""
    most = drafted.shown.outliers
    for name, extremes in drafted.partial.extremes.items():
        if name not in drafted.numbers:
            continue
        fences = drafted.numbers[name].fences
        for value, place in zip(extremes.low[:most], extremes.low_places, strict=False):
            if value < fences.low:
                yield _Far(name, "low", float(value), int(place))
        for value, place in zip(extremes.high[:most], extremes.high_places, strict=False):
            if value > fences.high:
                yield _Far(name, "high", float(value), int(place))


def _outlier(far: _Far, named: Named, facts: NumberFacts) -> Outlier:
    low, high = facts.quantiles["p25"], facts.quantiles["p75"]
    half = f"half of the clips have {low:.6g}" + (f" to {high:.6g}" if high != low else "")
    unit = "" if facts.unit == "1/s" else facts.unit  # fps says it itself
    why = f"{far.column.replace('_', ' ')} {far.value:.6g} {unit}".rstrip() + f"; {half}"
    return Outlier(named.key, named.dataset, named.shard, far.column, far.value, far.side, why)


def _repeating(partial: Partial, shown: Shown) -> dict[_Texts, Repeating]:
    return {
        "caption": repeating(partial.captions, shown.repeated, partial.sample),
        "sha256": repeating(partial.payloads, shown.repeated),
        "source": repeating(partial.sources, shown.repeated),
    }


def _repeats(found: Repeating, column: _Texts, names: Mapping[int, Named]) -> Repeats:
    largest = []
    for one in found.largest:
        first = names[one.place]
        largest.append(Repeated(getattr(first, column), one.count, first.key, first.shard, first.dataset))
    return Repeats(found.distinct, found.copies, found.repeated, tuple(largest))


def _costs(clips: int, size: int, pace: Pace) -> Costs:
    seconds = clips / pace.clips_per_second
    price = None if pace.price_per_gb is None else size / _GIGA * pace.price_per_gb
    rate = size / seconds if seconds else 0.0
    return Costs(pace.clips_per_second, seconds, size, rate, pace.price_per_gb, price)
