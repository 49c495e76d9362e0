"""Draw a contact sheet as one picture: clips in columns, or below each other where all their frames are shown."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from PIL import Image, ImageDraw

from tools.preview.fonts import Face, best_face, open_faces
from tools.preview.posters import Poster
from tools.preview.sheet import Card, Sheet

MOST_PIXELS: Final = 64_000_000
"""Pixels that a sheet may have."""

_PAPER: Final = (250, 250, 250)
_INK: Final = (32, 36, 46)
_FAINT: Final = (100, 106, 118)
_FAULT: Final = (156, 43, 28)
_STAGE: Final = (230, 233, 238)
_MARGIN: Final = 20
_GAP: Final = 14
_COLUMNS: Final = 4
_WIDTH: Final = 260
_STAGE_HEIGHT: Final = 195
_LETTERS: Final = 14
_LINE: Final = 19
_CAPTION_LINES: Final = 6
_TITLE_LINES: Final = 2
_WIDE: Final = 1280


@dataclass(frozen=True, slots=True)
class Drawn:
    """A sheet as a PNG, and how many of its cards have characters that no font here has a sign for."""

    data: bytes
    lacking: int


@dataclass(frozen=True, slots=True)
class _Line:
    text: str
    ink: tuple[int, int, int]
    face: Face


@dataclass(frozen=True, slots=True)
class _Block:
    """A card laid out: its pictures from top to bottom and the lines below them; sizes in pixels."""

    pictures: Sequence[Image.Image]
    lines: Sequence[_Line]

    @property
    def height(self) -> int:
        return sum(picture.height + 4 for picture in self.pictures) + _LINE * len(self.lines)


def draw_picture(sheet: Sheet, fonts: Sequence[str] = ()) -> Drawn:
    """Return the sheet as a PNG. Text is drawn with the first font that has most of its characters.

    Args:
        sheet: what to draw.
        fonts: font files to prefer to those found here.

    Raises:
        ValueError: the sheet would be too large, or a font cannot be read.
    """
    faces = open_faces(fonts, _LETTERS)
    columns, width = (1, _WIDE) if sheet.wide else (_COLUMNS, _WIDTH)
    across = 2 * _MARGIN + columns * width + (columns - 1) * _GAP
    least = len(sheet.cards) // columns * (_LINE if sheet.wide else _STAGE_HEIGHT)
    _require_room(sheet, across, least, " at least")
    head = _head(sheet, faces, across - 2 * _MARGIN)
    blocks = [_lay_out(card, faces, width, wide=sheet.wide) for card in sheet.cards]
    rows = [blocks[first : first + columns] for first in range(0, len(blocks), columns)]
    heights = [max(block.height for block in row) + _GAP for row in rows]
    down = 2 * _MARGIN + _LINE * (len(head) + 1) + sum(heights)
    _require_room(sheet, across, down)
    canvas = Image.new("RGB", (across, down), _PAPER)
    draw = ImageDraw.Draw(canvas)
    _write(draw, head, _MARGIN, _MARGIN)
    y = _MARGIN + _LINE * (len(head) + 1)
    for row, height in zip(rows, heights, strict=True):
        for number, block in enumerate(row):
            _place(canvas, draw, block, _MARGIN + number * (width + _GAP), y)
        y += height
    file = io.BytesIO()
    canvas.save(file, "PNG")
    return Drawn(file.getvalue(), sum(_lacks(card, faces) for card in sheet.cards))


def _require_room(sheet: Sheet, across: int, down: int, about: str = "") -> None:
    if across * down > MOST_PIXELS:
        raise ValueError(
            f"{len(sheet.cards)} clips make a picture of {across}x{down} pixels{about}, {MOST_PIXELS} are allowed; "
            "take fewer with --n, or write a page, --out FILE.html"
        )


def _lacks(card: Card, faces: Sequence[Face]) -> bool:
    return any(best_face(faces, text).lacks(text) for text in (card.title, *card.captions[:1], card.fault or ""))


def _head(sheet: Sheet, faces: Sequence[Face], width: int) -> list[_Line]:
    title = _wrapped(sheet.title, faces, width, most=_TITLE_LINES, ink=_INK)
    return title + [
        line for text in sheet.lines for line in _wrapped(text, faces, width, most=_TITLE_LINES, ink=_FAINT)
    ]


def _lay_out(card: Card, faces: Sequence[Face], width: int, *, wide: bool) -> _Block:
    fault = [] if card.fault is None else _wrapped(f"no picture: {card.fault}", faces, width, ink=_FAULT)
    labels = " / ".join(strip.label for strip in card.strips if strip.label)
    facts = "; ".join(f"{fact.name} {fact.value}" for fact in card.facts) if wide else ""
    texts = [
        *_wrapped(card.title, faces, width, most=_TITLE_LINES, ink=_FAINT),
        *fault,
        *_wrapped(labels, faces, width, most=_TITLE_LINES, ink=_FAINT),
        *_wrapped(card.captions[0] if card.captions else "", faces, width, ink=_INK),
        *_wrapped(" · ".join(card.line), faces, width, most=_TITLE_LINES, ink=_FAINT),
        *_wrapped(facts, faces, width, ink=_FAINT),
    ]
    pictures = [_strip(strip.poster, width) if wide else _staged(strip.poster, width) for strip in card.strips]
    return _Block(pictures, texts)


def _staged(poster: Poster, width: int) -> Image.Image:
    """Return a poster's cover in a box of its own, all its frames small below it."""
    whole = Image.open(io.BytesIO(poster.data)).convert("RGB").resize((poster.width * poster.frames, poster.height))
    left = poster.cover * poster.width
    cover = whole.crop((left, 0, left + poster.width, poster.height))
    cover.thumbnail((width, _STAGE_HEIGHT))
    stage = Image.new("RGB", (width, _STAGE_HEIGHT), _STAGE)
    stage.paste(cover, ((width - cover.width) // 2, (_STAGE_HEIGHT - cover.height) // 2))
    if poster.frames == 1:
        return stage
    strip = _strip(poster, width)
    both = Image.new("RGB", (width, stage.height + strip.height), _STAGE)
    both.paste(stage, (0, 0))
    both.paste(strip, ((width - strip.width) // 2, stage.height))
    return both


def _strip(poster: Poster, width: int) -> Image.Image:
    """Return all frames of a poster side by side, as large as the room allows and no larger than they are."""
    strip = Image.open(io.BytesIO(poster.data)).convert("RGB")
    across = min(width, poster.width * poster.frames)
    down = max(1, round(across * poster.height / (poster.width * poster.frames)))
    return strip.resize((across, down), Image.Resampling.BICUBIC)


def _wrapped(
    text: str, faces: Sequence[Face], width: int, *, ink: tuple[int, int, int], most: int = _CAPTION_LINES
) -> list[_Line]:
    """Break a text into lines of a width, ``most`` of them at most; dots stand for what has no room."""
    words = text.split()
    face = best_face(faces, text)
    lines: list[str] = []
    while words and len(lines) <= most:
        lines.append(_take_line(words, face, width))
    if len(lines) > most or words:
        lines = [*lines[: most - 1], f"{lines[most - 1][:-2]}…"]
    return [_Line(line, ink, face) for line in lines]


def _take_line(words: list[str], face: Face, width: int) -> str:
    """Take from the list the words that fit a line, or the part that fits of a word that is longer than a line."""
    line = ""
    while words and face.font.getlength(f"{line} {words[0]}".strip()) <= width:
        line = f"{line} {words.pop(0)}".strip()
    if line:
        return line
    word = words.pop(0)
    low, high = 1, len(word)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if face.font.getlength(word[:middle]) <= width else (low, middle - 1)
    if word[low:]:
        words.insert(0, word[low:])
    return word[:low]


def _write(draw: ImageDraw.ImageDraw, lines: Sequence[_Line], x: int, y: int) -> None:
    for number, line in enumerate(lines):
        draw.text((x, y + number * _LINE), line.text, line.ink, line.face.font)


def _place(canvas: Image.Image, draw: ImageDraw.ImageDraw, block: _Block, x: int, y: int) -> None:
    for picture in block.pictures:
        canvas.paste(picture, (x, y))
        y += picture.height + 4
    _write(draw, block.lines, x, y)
