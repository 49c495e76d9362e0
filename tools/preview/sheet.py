"""What a contact sheet shows, before it is a page or a picture: cards of clips with strips, captions and facts."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from shards.errors import without_signature
from shards.record import COLUMNS, Record
from tools.console import spell_size
from tools.preview.posters import Poster
from tools.preview.tiles import Tile

_LONGEST_VALUE: Final = 300
_CONTROL_PICTURES: Final = 0x2400
_DELETE: Final = 0x7F
_KEPT: Final = frozenset("\n\t")
_TOLD_ELSEWHERE: Final = frozenset({"key", "caption", "captions", "keyframes", "members", "decodable", "error_message"})


@dataclass(frozen=True, slots=True)
class Fact:
    """A name and what is said of it."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Strip:
    """Frames side by side, and what they are; no label where that is plain."""

    poster: Poster
    label: str = ""


@dataclass(frozen=True, slots=True)
class Card:
    """One clip: its pictures, or the reason why there are none; its captions; a line of facts, and a table of more."""

    title: str
    strips: tuple[Strip, ...] = ()
    captions: tuple[str, ...] = ()
    line: tuple[str, ...] = ()
    facts: tuple[Fact, ...] = ()
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class Sheet:
    """Cards below a title and some lines; ``wide`` cards show all frames of their strips, below each other."""

    title: str
    lines: tuple[str, ...]
    cards: tuple[Card, ...]
    wide: bool = False

    @property
    def faults(self) -> int:
        """How many cards have no picture."""
        return sum(card.fault is not None for card in self.cards)

    @property
    def moves(self) -> bool:
        """Whether a picture has several frames."""
        return any(strip.poster.frames > 1 for card in self.cards for strip in card.strips)


def cards_of(tiles: Iterable[Tile]) -> tuple[Card, ...]:
    """Return a card for each tile, in their order."""
    return tuple(_card(tile) for tile in tiles)


def _card(tile: Tile) -> Card:
    strips = () if tile.poster is None else (Strip(tile.poster),)
    place = f"shard {tile.place.stem}, row {tile.place.row}"
    if tile.record is None:
        return Card(clean(tile.key), fault=clean(tile.fault or ""))
    return Card(
        clean(tile.key),
        strips,
        captions_of(tile.record),
        (*line_of(tile.record), place),
        facts_of(tile.record),
        None if tile.fault is None else clean(tile.fault),
    )


def captions_of(record: Record) -> tuple[str, ...]:
    """Return a clip's captions, its first one first."""
    others = [caption for caption in record.captions if caption != record.caption]
    return tuple(map(clean, [record.caption, *others]))


def line_of(record: Record) -> tuple[str, ...]:
    """Return the facts of a clip that are worth a glance."""
    media = record.media
    size = (media.height, media.width) if media.rotation % 180 else (media.width, media.height)
    seconds = (f"{media.duration:.2f} s",) if media.num_frames > 1 else ()
    rate = (f"{media.num_frames} frames, {media.fps:.4g}/s",) if media.num_frames > 1 else ("1 frame",)
    return (
        *seconds,
        f"{size[0]} × {size[1]}",  # noqa: RUF001 - the sign for by
        *rate,
        media.codec,
        spell_size(record.bytes),
        *(("audio",) if media.has_audio else ()),
    )


def facts_of(record: Record) -> tuple[Fact, ...]:
    """Return all else that is known of a clip, the user's own columns last; long values are cut."""
    row = record.to_row() | {"source": without_signature(record.source)}
    reads = [name for name, can in asdict(record.media.decodable).items() if can]
    own = {name: row[name] for name in row if name in COLUMNS and name not in _TOLD_ELSEWHERE}
    own["read by"] = ", ".join(reads) or "none"
    return tuple(Fact(clean(name), _spell(value)) for name, value in _present(own | dict(record.extra)))


def _present(values: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(name, value) for name, value in values.items() if value is not None]


def _spell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        value = ", ".join(map(_spell, value))
    text = clean(str(value))
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}… ({len(text)} characters)"


def clean(text: str) -> str:
    """Return a text with signs in place of its control characters, so that each of them can be seen."""
    return "".join(_visible(letter) if unicodedata.category(letter) in _UNSEEN else letter for letter in text)


_UNSEEN: Final = frozenset({"Cc", "Cs"})


def _visible(letter: str) -> str:
    if letter in _KEPT:
        return letter
    code = ord(letter)
    if code < ord(" "):
        return chr(_CONTROL_PICTURES + code)
    return "\u2421" if code == _DELETE else "\ufffd"
