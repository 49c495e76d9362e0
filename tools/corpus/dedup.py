"""Which segments are duplicates, told from the fingerprints of all: an earlier row that is kept always wins."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from shards.ledger import Reason
from tools.corpus.fingerprint_table import Fingerprints
from tools.corpus.ingest import InputRow
from tools.corpus.likeness import (
    Pairs,
    alike_captions,
    caption_share,
    comparable,
    merged,
    overlap,
    overlapping,
    pairs_by_key,
    picture_candidates,
    picture_share,
)
from tools.corpus.tables import Fault

DedupMode = Literal["exact", "near"]
"""What counts as a duplicate: the same, or what is so alike that it shows the same."""

DedupBy = Literal["video", "caption", "either", "both"]
"""What is compared of two segments."""

MODES: Final[tuple[DedupMode, ...]] = get_args(DedupMode)
BY: Final[tuple[DedupBy, ...]] = get_args(DedupBy)

_LEAST_SHARE: Final = 0.5
_MOST_BITS: Final = 20
_PARTS: Final = 32
"""Bits for the number of a segment within its row where both are one number."""


@dataclass(frozen=True, slots=True)
class DedupSettings:
    """When a segment is a duplicate of an earlier one.

    ``exact``: the same frames of a file of the same bytes; the same captions. ``near`` also: segments of two videos of
    whose pictures the share ``pictures`` has a like one in the other, at most ``bits`` of 64 bits apart; segments of
    one video with the share ``overlap`` of their frames in common; captions that have the share ``captions`` of their
    words and pairs of words in common. ``by`` says whether the video, the caption, either or both have to be alike.

    Raises:
        ValueError: a mode is unknown, or a threshold out of range.
    """

    mode: DedupMode
    by: DedupBy = "video"
    pictures: float = 0.6
    bits: int = 10
    overlap: float = 0.9
    captions: float = 0.8

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"--dedup is {self.mode!a}; taken are {', '.join(MODES)}")
        if self.by not in BY:
            raise ValueError(f"--dedup-by is {self.by!a}; taken are {', '.join(BY)}")
        shares = {"pictures": self.pictures, "overlap": self.overlap, "captions": self.captions}
        for option, share in shares.items():
            if not _LEAST_SHARE <= share <= 1:
                raise ValueError(f"--dedup-{option} is {share:g}; taken is a share from {_LEAST_SHARE} to 1")
        if not 0 <= self.bits <= _MOST_BITS:
            raise ValueError(f"--dedup-bits is {self.bits}; taken is a number of bits from 0 to {_MOST_BITS}")

    @property
    def settings(self) -> dict[str, Any]:
        """What stands in the plan of a run: only what changes its result."""
        names = {"mode", "by"} if self.mode == "exact" else set(asdict(self))
        return {name: value for name, value in asdict(self).items() if name in names}

    @property
    def needs_pictures(self) -> bool:
        """Whether pictures are compared."""
        return self.mode == "near" and self.by != "caption"

    @property
    def needs_words(self) -> bool:
        """Whether captions are compared word by word."""
        return self.mode == "near" and self.by != "video"


@dataclass(frozen=True, slots=True)
class Duplicates:
    """The segments that duplicate others: ``places`` (row and part in one number, rising), and why each does."""

    places: NDArray[np.int64]
    originals: NDArray[np.int64]
    exact: NDArray[np.bool_]
    reasons: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.places)

    def fault(self, row: int, part: int) -> Fault | None:
        """Return why a segment is left out, or None."""
        place = _place(row, part)
        index = int(np.searchsorted(self.places, place))
        if index == len(self.places) or self.places[index] != place:
            return None
        original, number = divmod(int(self.originals[index]), 1 << _PARTS)
        which = f"row {original}" + (f", segment {number}" if number else "")
        reason = Reason.EXACT_DUPLICATE if self.exact[index] else Reason.NEAR_DUPLICATE
        return Fault(reason, self.reasons[index].format(which), "duplicate")

    def unlike(self, other: Duplicates) -> frozenset[tuple[int, int]]:
        """Return the segments, by row and part, of which the two say different things."""
        places = {divmod(place, 1 << _PARTS) for place in np.union1d(self.places, other.places).tolist()}
        return frozenset(place for place in places if self.fault(*place) != other.fault(*place))

    def apply(self, row: InputRow) -> InputRow:
        """Return the row, with its being a duplicate for its problem where it is one."""
        fault = None if row.problem is not None else self.fault(row.row, row.part)
        return row if fault is None else replace(row, problem=fault)


def decide(prints: Fingerprints, settings: DedupSettings) -> Duplicates:
    """Return which segments duplicate which earlier ones.

    Segments are gone through in order. One that is like an earlier segment which is kept is a duplicate of it (of the
    earliest such); one that is like duplicates only is kept: likeness is not handed on. So every segment that is left
    out is itself like one that is kept, and what becomes of a row does not depend on the rows behind it.
    """
    original = np.full(len(prints), -1, np.int64)
    for pair in _candidates(prints, settings):
        if (original[pair] < 0).all() and _alike(prints, pair[None], settings):
            original[pair[0]] = pair[1]
    later = np.flatnonzero(original >= 0)
    chosen = np.stack([later, original[later]], axis=1)
    places = _place(prints.row, prints.part)
    exact, reasons = _reasons(prints, chosen, settings)
    return Duplicates(places[later], places[chosen[:, 1]], exact, tuple(reasons))


def _place(row: Any, part: Any) -> Any:  # noqa: ANN401 - numbers or arrays of them
    return (row << _PARTS) + part


def _candidates(prints: Fingerprints, settings: DedupSettings) -> Pairs:
    """Return all pairs that have to be looked at, by rising numbers."""
    found: list[Pairs] = []
    if settings.by != "caption":
        found.append(pairs_by_key(_numbered(prints.source, prints.first, prints.stop)))
    if settings.by != "video":
        found.append(pairs_by_key(prints.caption))
    if settings.by == "both":  # many may share one of the two
        found.append(pairs_by_key(_numbered(prints.source, prints.first, prints.stop, prints.caption)))
    if settings.needs_pictures:
        found += [overlapping(prints, settings.overlap), picture_candidates(prints)]
    if settings.needs_words:
        found.append(alike_captions(prints, settings.captions))
    return merged(found)


def _alike(prints: Fingerprints, pair: Pairs, settings: DedupSettings) -> bool:
    """Return whether one pair is alike in what is compared."""
    if settings.by == "video":
        return _video_fits(prints, pair, settings)
    if settings.by == "caption":
        return _text_fits(prints, pair, settings)
    fits = (part(prints, pair, settings) for part in (_text_fits, _video_fits))
    return any(fits) if settings.by == "either" else all(fits)


def _same_video(prints: Fingerprints, pairs: Pairs) -> NDArray[np.bool_]:
    one, other = pairs[:, 0], pairs[:, 1]
    alike = prints.source[one] == prints.source[other]
    return np.asarray(alike & (prints.first[one] == prints.first[other]) & (prints.stop[one] == prints.stop[other]))


def _same_text(prints: Fingerprints, pairs: Pairs) -> NDArray[np.bool_]:
    return np.asarray(prints.caption[pairs[:, 0]] == prints.caption[pairs[:, 1]])


def _text_fits(prints: Fingerprints, pair: Pairs, settings: DedupSettings) -> bool:
    if _same_text(prints, pair)[0]:
        return True
    return settings.mode == "near" and bool(caption_share(prints, pair)[0] >= settings.captions)


def _video_fits(prints: Fingerprints, pair: Pairs, settings: DedupSettings) -> bool:
    if _same_video(prints, pair)[0]:
        return True
    if settings.mode == "exact":
        return False
    if prints.source[pair[0, 0]] == prints.source[pair[0, 1]]:
        return bool(overlap(prints, pair)[0] >= settings.overlap)
    return bool(comparable(prints, pair)[0]) and picture_share(prints, pair[0], settings.bits) >= settings.pictures


def _reasons(prints: Fingerprints, pairs: Pairs, settings: DedupSettings) -> tuple[NDArray[np.bool_], list[str]]:
    """Return for each pair whether it is exact, and what to say of it, with a place for the earlier row's name."""
    video, text = _same_video(prints, pairs), _same_text(prints, pairs)
    exact = {"video": video, "caption": text, "either": video | text, "both": video & text}[settings.by]
    once: dict[str, str] = {}
    return exact, [once.setdefault(said, said) for said in (_said(prints, pair, settings) for pair in pairs)]


def _said(prints: Fingerprints, pair: NDArray[np.int64], settings: DedupSettings) -> str:
    """Return how a segment is like the earlier one."""
    one = pair[None]
    parts: list[str] = []
    if settings.by != "caption":
        parts.append(_said_of_video(prints, one, settings))
    if settings.by != "video":
        parts.append(_said_of_text(prints, one, settings))
    return "like {}: " + ", ".join(part for part in parts if part)


def _said_of_video(prints: Fingerprints, pair: Pairs, settings: DedupSettings) -> str:
    if _same_video(prints, pair)[0]:
        return "the same frames of the same bytes"
    if not _video_fits(prints, pair, settings):
        return ""
    if prints.source[pair[0, 0]] == prints.source[pair[0, 1]]:
        return f"{overlap(prints, pair)[0]:.0%} of the frames are the same"
    return f"{picture_share(prints, pair[0], settings.bits):.0%} of the pictures are alike"


def _said_of_text(prints: Fingerprints, pair: Pairs, settings: DedupSettings) -> str:
    if _same_text(prints, pair)[0]:
        return "the same caption"
    if not _text_fits(prints, pair, settings):
        return ""
    return f"about {caption_share(prints, pair)[0]:.0%} of the caption is the same"


def _numbered(*columns: NDArray[Any]) -> NDArray[np.int64]:
    """Return a number for each row of the columns, equal numbers for equal rows."""
    order = np.lexsort(columns)
    fresh = np.zeros(len(order), bool)
    for column in columns:
        fresh[1:] |= column[order][1:] != column[order][:-1]
    numbers = np.empty(len(order), np.int64)
    numbers[order] = np.cumsum(fresh)
    return numbers
