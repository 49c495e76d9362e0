"""Write a contact sheet as one HTML page that holds all it shows, runs no script and asks for nothing."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Final

from jinja2 import Environment, StrictUndefined, Template

from tools.preview.posters import Poster
from tools.preview.sheet import Card, Sheet

LONG: Final = 280
"""Characters of a caption that are shown at once; the others unfold."""

_STAGE: Final = 4 / 3
"""Width over height of the room that a card has for its picture."""
_SECONDS_PER_FRAME: Final = 0.5


def render_page(sheet: Sheet) -> str:
    """Return the page's text. Whatever stands in captions and names is text there, in the direction it is read in.

    A policy in the page forbids all but its own style and the pictures that it holds.
    """
    style = _resource("sheet.css") + "".join(sorted(set(_rules(sheet))))
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return _template().render(sheet=sheet, style=style, digest=digest, long=LONG, classes=_classes, opening=_opening)


def _rules(sheet: Sheet) -> Iterator[str]:
    """Yield the rules that pictures of the sheet need: the page has no style but that of one element."""
    for card in sheet.cards:
        for poster in (strip.poster for strip in card.strips):
            frames, cover = poster.frames, poster.cover
            seconds = frames * _SECONDS_PER_FRAME
            yield f".f{frames} img{{width:{frames}00%;animation-timing-function:steps({frames})}}\n"
            yield f".f{frames}{{--whole:{frames};--run:{seconds:g}s}}\n"
            yield f".f{frames}.c{cover} img{{transform:translateX({-100 * cover / frames:.6g}%)}}\n"
            shape = poster.width / poster.height
            share = min(1.0, shape / _STAGE)
            about = f"width:{100 * share:.6g}%;--shape:{shape:.6g};--wide:{poster.width}"
            yield f".s{poster.width}x{poster.height}{{{about}}}\n"


def _classes(poster: Poster) -> str:
    return f"f{poster.frames} c{poster.cover} s{poster.width}x{poster.height}"


def _opening(card: Card) -> str:
    """Return what stands for a clip where its picture cannot be seen."""
    caption = " ".join(card.captions[0].split()) if card.captions else ""
    return f"{card.title}: {caption[:LONG]}"


def _resource(name: str) -> str:
    return files("tools.preview").joinpath(name).read_text(encoding="utf-8")


@cache
def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_resource("sheet.html"))
