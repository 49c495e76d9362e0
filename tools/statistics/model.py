"""What is told of a dataset: the report that stats returns, prints as JSON, and hands to whoever draws it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

FORMAT: Final = 2
"""Version of the JSON that ``Report.to_json`` gives; docs/statistics.md describes it."""

Side = Literal["low", "high"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A count that may come from a sample: ``margin`` is half of its 95 % interval, 0 where the count is exact."""

    value: int
    margin: int = 0

    @property
    def is_exact(self) -> bool:
        """Whether everything was counted."""
        return self.margin == 0


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts [bins] of values between edges [bins + 1]; ``log`` says that the edges rise by a factor."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    log: bool


@dataclass(frozen=True, slots=True)
class Fences:
    """Where outliers begin (Tukey's far fences: 3 quartile distances beyond the quartiles), and how many lie there."""

    low: float
    high: float
    below: int
    above: int


@dataclass(frozen=True, slots=True)
class NumberFacts:
    """How a number is spread.

    ``unit`` is such as ``s``, ``bytes`` or empty. ``missing`` counts nulls, what is not finite and what is larger than
    1e140. ``quantiles`` has the keys p1, p5, p25, p50, p75, p95, p99: each within ``error`` (relative) of a value that
    stands at its rank; 0: exact. ``sum`` is exact but for the last rounding; ``std`` is within ``error`` of the largest
    size of a value. ``other`` is the histogram with edges of the other kind, evenly spaced or rising by a factor, where
    there is one.
    """

    unit: str
    count: int
    missing: int
    sum: float
    min: float
    max: float
    mean: float
    std: float
    quantiles: Mapping[str, float]
    error: float
    histogram: Histogram
    fences: Fences
    other: Histogram | None = None


@dataclass(frozen=True, slots=True)
class ValueFacts:
    """How often each value of a column occurs: the most frequent by falling count, all others, how many there are.

    Where there are more than 4096 none is counted: ``counts`` is empty, ``other`` all clips, and ``distinct`` has a
    margin of all the rest.
    """

    counts: Mapping[str, int]
    other: int
    missing: int
    distinct: Estimate


@dataclass(frozen=True, slots=True)
class Term:
    """A word or some neighbouring words, and in how many captions they stand."""

    text: str
    count: Estimate


@dataclass(frozen=True, slots=True)
class CaptionFacts:
    """What the captions say.

    ``read`` of ``captions`` captions were counted for ``words``, and ``pairs`` and ``triples`` of neighbouring words;
    where that is not all, counts are scaled up and have a margin. ``empty`` counts captions without a word, in all.
    """

    captions: int
    empty: int
    read: int
    words: tuple[Term, ...]
    pairs: tuple[Term, ...]
    triples: tuple[Term, ...]


@dataclass(frozen=True, slots=True)
class Repeated:
    """A value that several clips have: the text or hash, how many clips, and the key and shard of the first.

    ``count`` is an estimate where those of its ``Repeats`` are.
    """

    value: str
    count: int
    key: str
    shard: str
    dataset: int


@dataclass(frozen=True, slots=True)
class Repeats:
    """How often values repeat: ``copies`` counts clips whose value another, earlier one has.

    ``repeated`` counts values with more than one clip; ``largest`` are those with the most.
    """

    distinct: Estimate
    copies: Estimate
    repeated: Estimate
    largest: tuple[Repeated, ...]


@dataclass(frozen=True, slots=True)
class NearPair:
    """Two clips whose pictures are alike; ``share`` of them have a like one in the other."""

    key: str
    other: str
    share: float


@dataclass(frozen=True, slots=True)
class NearFacts:
    """Near duplicates among a sample of clips: how many were compared, could not be decoded, and have a copy there."""

    compared: int
    failed: int
    copies: int
    pairs: tuple[NearPair, ...]


@dataclass(frozen=True, slots=True)
class DuplicateFacts:
    """What repeats: captions, payloads (by their hash), sources (clips of one video); near ones where looked for.

    What was left out as a duplicate when the dataset was made stands in ``Fates.reasons``.
    """

    captions: Repeats
    payloads: Repeats
    sources: Repeats
    near: NearFacts | None = None


@dataclass(frozen=True, slots=True)
class Outlier:
    """A clip with an extreme value of a column, beyond the fences; ``dataset`` is an index into the report's."""

    key: str
    dataset: int
    shard: str
    column: str
    value: float
    side: Side
    why: str


@dataclass(frozen=True, slots=True)
class Costs:
    """What an epoch takes at a pace: ``bytes`` are the payloads that are read; ``price`` is of all, in dollars."""

    clips_per_second: float
    seconds: float
    bytes: int
    bytes_per_second: float
    price_per_gb: float | None
    price: float | None


@dataclass(frozen=True, slots=True)
class Section:
    """Some clips: sums, then distributions by column; ``bytes`` are the payloads'.

    ``numbers`` and ``values`` are by column name, in the order in which they should be shown; columns without a value
    are left out. ``decodable`` counts clips by decoder.
    """

    clips: int
    seconds: float
    frames: int
    bytes: int
    numbers: Mapping[str, NumberFacts]
    values: Mapping[str, ValueFacts]
    decodable: Mapping[str, int]
    captions: CaptionFacts
    duplicates: DuplicateFacts
    outliers: tuple[Outlier, ...]
    costs: Costs | None = None


@dataclass(frozen=True, slots=True)
class Fates:
    """What became of the input rows, by the ledgers' sums: ``status`` and ``reasons`` by falling count."""

    rows: int
    status: Mapping[str, int]
    reasons: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class DatasetFacts:
    """One dataset as its manifest tells it, whatever ``where`` leaves out; ``bytes`` are all its files'."""

    url: str
    digest: str
    shards: int
    clips: int
    seconds: float
    frames: int
    bytes: int
    fates: Fates


@dataclass(frozen=True, slots=True)
class ShardFacts:
    """One shard as the manifest tells it: ``dataset`` is an index into the report's, ``bytes`` the tar's size."""

    dataset: int
    stem: str
    rows: int
    clips: int
    seconds: float
    frames: int
    bytes: int
    status: Mapping[str, int]
    reasons: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Group:
    """The clips with one value of the column that groups are made by."""

    name: str
    section: Section


@dataclass(frozen=True, slots=True)
class Grouping:
    """The largest groups by falling count, all the rest as ``other`` (None: there is none), how many there are."""

    column: str
    groups: tuple[Group, ...]
    other: Section | None
    distinct: Estimate


@dataclass(frozen=True, slots=True)
class Drift:
    """How far a column of the right side has moved from the left one's.

    ``psi``: population stability index (below 0.1 little, above 0.25 much). ``ks``: Kolmogorov-Smirnov distance of
    numbers, 0 to 1. ``js``: Jensen-Shannon distance (square root of the divergence in bits), 0 to 1.
    """

    column: str
    kind: Literal["number", "value", "words"]
    psi: float
    js: float
    ks: float | None = None
    left_mean: float | None = None
    right_mean: float | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two datasets side by side, and the drifts of their columns, the largest first."""

    left: str
    right: str
    left_section: Section
    right_section: Section
    drifts: tuple[Drift, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """All that is told of some datasets together; ``where`` is the condition that clips were chosen by.

    ``whole`` is of the clips that were chosen, of all datasets together; ``fates`` and ``shards`` are whole datasets'.
    """

    title: str
    datasets: tuple[DatasetFacts, ...]
    fates: Fates
    whole: Section
    shards: tuple[ShardFacts, ...]
    where: str | None = None
    grouping: Grouping | None = None
    comparison: Comparison | None = None
    format: int = FORMAT

    def to_json(self) -> dict[str, Any]:
        """Return the report as one JSON object, of the version that ``format`` says."""
        return asdict(self)
