"""Collects the statistics of datasets: what is asked, the passes over their tables, and the report that comes of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shards.expression import parse
from tools.statistics.drift import drifts
from tools.statistics.model import (
    Comparison,
    DatasetFacts,
    Estimate,
    Fates,
    Group,
    Grouping,
    NearFacts,
    Report,
    Section,
    ShardFacts,
)
from tools.statistics.named import name_rows
from tools.statistics.near import Workers, find_near
from tools.statistics.partial import Limits, Partial
from tools.statistics.scan import REST, count_groups, scan
from tools.statistics.sections import Draft, Pace, Shown, draft, make_section, wanted_places, with_near
from tools.statistics.spread import Spread
from tools.statistics.tables import Question, Shard, Source, open_sources, shards_of
from tools.statistics.tallies import MOST_VALUES, Tally
from tools.statistics.words import WordCounts, count_words

Lengths = Callable[[Sequence[str]], NDArray[np.int64]]
"""Gives the tokens of each text."""

Progress = Callable[[int, int], None]
"""Is told how many rows were counted now, and how many there are in all."""

_BATCH: Final = 4096
_ALL: Final = "\0all"
_SIDES: Final = ("left", "right")


def _silent(_rows: int, _total: int) -> None:
    """Say nothing."""


@dataclass(frozen=True, slots=True)
class StatsRequest:
    """What is asked of some datasets.

    Attributes:
        datasets: Folders or URLs.
        where: A condition on clips; all others are left out of everything but fates and shards.
        by: A column, or an expression, by whose values clips are put into groups.
        compare: Whether the two datasets are compared.
        pace: What costs are reckoned with.
        limits: How much is kept.
        near: How many clips, drawn evenly, are decoded and compared with each other.
        choice: Who decodes them; None takes the threads of this process.
        groups: The most groups that are told one by one.
        shown: How much a section tells.

    Raises:
        ValueError: there is no dataset, not two to compare, or groups and a comparison at once.
    """

    datasets: tuple[str, ...]
    where: str | None = None
    by: str | None = None
    compare: bool = False
    pace: Pace | None = None
    limits: Limits = field(default_factory=Limits)
    near: int = 0
    choice: Workers | None = None
    groups: int = 12
    shown: Shown = field(default_factory=Shown)

    def __post_init__(self) -> None:
        if not self.datasets:
            raise ValueError("statistics of no dataset: give a folder or URL, or several")
        if self.compare and len(self.datasets) != 2:  # noqa: PLR2004 - two sides
            raise ValueError(f"--compare takes two datasets, given are {len(self.datasets)}")
        if self.compare and self.by:
            raise ValueError("--compare and --by at once: the sides of a comparison have no groups; give one of them")
        if not 0 <= self.near <= self.limits.captions:
            raise ValueError(
                f"{self.near} clips to compare: at most {self.limits.captions} are, those whose captions are read"
            )
        if self.groups < 1:
            raise ValueError(f"{self.groups} groups: at least one is told")

    @property
    def question(self) -> Question:
        """Which rows are looked at, and what they are put into groups by.

        Raises:
            ExpressionError: an expression cannot be read.
        """
        where, by = (None if text is None else parse(text) for text in (self.where, self.by))
        return Question(where, by)


def collect(request: StatsRequest, *, lengths: Lengths | None = None, progress: Progress = _silent) -> Report:
    """Read the manifests and those columns that count, and return the report; memory does not grow with rows.

    Args:
        request: What is asked.
        lengths: Counts a caption's tokens; None: they are not told.
        progress: Is told of rows as they were counted, and of how many there are in all.

    Raises:
        NotFoundError: there is no finished dataset.
        StoreError: a file cannot be read.
        ValueError: a file is damaged, or an expression does not fit its columns; the message names it.
    """
    sources, ask = open_sources(request.datasets), request.question
    tally = count_groups(sources, ask) if request.by else Tally()
    groups = _largest(request, tally)
    total_rows = sum(source.manifest.totals.clips for source in sources)
    parts = _parts(sources, request, groups, lambda rows: progress(rows, total_rows))
    if _ALL not in parts:
        parts[_ALL] = Partial.merged(list(parts.values()))
    with _counting(parts, request) as counted:
        parts = {name: part.settled() for name, part in parts.items()}
        more = {_ALL: {} if request.where else _shard_spreads(sources)}
        drafts = {name: _draft(part, request.shown, lengths, more.get(name)) for name, part in parts.items()}
        names = name_rows(sources, _places(list(drafts.values())))
        datasets = tuple(map(_dataset_facts, sources))
        words = {name: one.result() for name, one in counted.items()}
    near = _near(sources, parts[_ALL], request) if request.near else None
    sections = {name: make_section(one, words[name], names, request.pace) for name, one in drafts.items()}
    return Report(
        title=_title(datasets),
        datasets=datasets,
        fates=_fates([one.fates for one in datasets]),
        whole=with_near(sections[_ALL], near),
        shards=tuple(_shard_facts(shard) for shard in shards_of(sources)),
        where=request.where,
        grouping=_grouping(request, groups, sections, tally) if request.by else None,
        comparison=_comparison(datasets, parts, words, sections) if request.compare else None,
    )


def _near(sources: Sequence[Source], whole: Partial, request: StatsRequest) -> NearFacts:
    return find_near(sources, whole.sample.places[: request.near].tolist(), choice=request.choice)


def _largest(request: StatsRequest, tally: Tally) -> list[str]:
    """Return the largest groups, alike ones by the alphabet; rows without a value are the group ``null``."""
    if tally.counts is None:
        raise ValueError(
            f"{request.by!r} has more than {MOST_VALUES} values, too many for groups: give a column of kinds, or an "
            "expression such as 'short_side >= 480'"
        )
    counts = Counter(tally.counts)
    counts["null"] += tally.missing
    return sorted(+counts, key=lambda name: (-counts[name], name))[: request.groups]


def _parts(
    sources: Sequence[Source], request: StatsRequest, groups: Sequence[str], progress: Callable[[int], None]
) -> dict[str, Partial]:
    """Return what is known of each side of a comparison, or of each group, or under ``_ALL`` of all clips."""
    ask = request.question
    if request.compare:
        return {
            side: scan([source], ask, request.limits, progress=progress)[""]
            for side, source in zip(_SIDES, sources, strict=True)
        }
    if groups:
        return scan(sources, ask, request.limits, groups=groups, progress=progress)
    return {_ALL: scan(sources, ask, request.limits, progress=progress)[""]}


def _places(drafts: Sequence[Draft]) -> dict[int, set[str]]:
    """Return where the clips stand that are named, with the texts of each that are shown."""
    places: dict[int, set[str]] = {}
    for one in drafts:
        for place, columns in wanted_places(one).items():
            places.setdefault(place, set()).update(columns)
    return places


def _draft(partial: Partial, shown: Shown, lengths: Lengths | None, more: Mapping[str, Spread] | None = None) -> Draft:
    captions = partial.sample.captions
    spreads = dict(more or {})
    if lengths is not None and len(captions):
        portions = [captions.slice(at, _BATCH).to_pylist() for at in range(0, len(captions), _BATCH)]
        spreads["caption_tokens"] = Spread.of(np.concatenate([lengths(few) for few in portions]))
    return draft(partial, shown, spreads)


@contextmanager
def _counting(parts: Mapping[str, Partial], request: StatsRequest) -> Iterator[dict[str, Future[WordCounts]]]:
    """Have the words of each part's captions counted, one after the other, while other work is done.

    A comparison is of all of them; else the most frequent will do.
    """
    with ThreadPoolExecutor(1) as pool:
        try:
            yield {
                name: pool.submit(count_words, part.sample.captions, most=request.shown.values, rare=request.compare)
                for name, part in parts.items()
            }
        finally:
            pool.shutdown(cancel_futures=True)


def _shard_spreads(sources: Sequence[Source]) -> dict[str, Spread]:
    shards = [shard.entry for shard in shards_of(sources)]
    return {
        "shard_bytes": Spread.of(np.array([entry.tar.bytes for entry in shards], np.int64)),
        "shard_clips": Spread.of(np.array([entry.clips for entry in shards], np.int64)),
    }


def _grouping(request: StatsRequest, groups: Sequence[str], sections: Mapping[str, Section], tally: Tally) -> Grouping:
    assert request.by is not None, "there is something that groups are made by"
    rest = sections.get(REST)
    return Grouping(
        column=request.by,
        groups=tuple(Group(name, sections[name]) for name in groups),
        other=rest if rest is not None and rest.clips else None,
        distinct=Estimate(len({*(tally.counts or ()), *(["null"] if tally.missing else ())})),
    )


def _comparison(
    datasets: Sequence[DatasetFacts],
    parts: Mapping[str, Partial],
    words: Mapping[str, WordCounts],
    sections: Mapping[str, Section],
) -> Comparison:
    left, right = _SIDES
    return Comparison(
        left=datasets[0].url,
        right=datasets[1].url,
        left_section=sections[left],
        right_section=sections[right],
        drifts=drifts(parts[left], parts[right], words[left], words[right]),
    )


def _dataset_facts(source: Source) -> DatasetFacts:
    manifest = source.manifest
    totals = manifest.totals
    return DatasetFacts(
        url=source.store.url,
        digest=manifest.digest,
        shards=len(manifest.shards),
        clips=totals.clips,
        seconds=totals.seconds,
        frames=totals.frames,
        bytes=totals.bytes,
        fates=Fates(totals.rows, _falling(totals.status), _falling(totals.reasons)),
    )


def _shard_facts(shard: Shard) -> ShardFacts:
    entry = shard.entry
    return ShardFacts(
        dataset=shard.dataset,
        stem=entry.stem,
        rows=entry.rows,
        clips=entry.clips,
        seconds=entry.seconds,
        frames=entry.frames,
        bytes=entry.tar.bytes,
        status=entry.status,
        reasons=entry.reasons,
    )


def _fates(parts: Sequence[Fates]) -> Fates:
    status, reasons = Counter[str](), Counter[str]()
    for part in parts:
        status.update(part.status)
        reasons.update(part.reasons)
    return Fates(sum(part.rows for part in parts), _falling(status), _falling(reasons))


def _falling(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))


def _title(datasets: Sequence[DatasetFacts]) -> str:
    return ", ".join(one.url.rstrip("/").rpartition("/")[2] or one.url for one in datasets)
