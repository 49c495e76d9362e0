"""Texts cleaned of wrong encodings, of HTML and of web addresses."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal, get_args

import ftfy

CleanStep = Literal["ftfy", "html", "urls"]
"""What captions are cleaned of: wrong encodings, HTML, addresses in the web."""

CLEAN_STEPS: Final[tuple[CleanStep, ...]] = get_args(CleanStep)

_LONG_NUMBER: Final = re.compile(r"&#0*([0-9]{8})[0-9]*")
"""A character by a number of more digits than Python reads, and than any character has."""

_TAG: Final = re.compile(r"<[!/]?[a-zA-Z][^<>]*>")
_URL: Final = re.compile(r"\b(?:https?://|ftp://|www\.)[^\s<>\"]*[^\s<>\"'.,;:!?)\]}]", re.IGNORECASE)
_EMPTY_BRACKETS: Final = re.compile(r"\(\s*\)|\[\s*\]|<\s*>")
_ROUNDS: Final = 8
"""How often the steps are gone through at most, for what one uncovers may be another's affair."""


def clean_caption(text: str, steps: Sequence[CleanStep]) -> str:
    """Return a caption after the steps, which always come in the order ftfy, html, urls, and with single blanks.

    ``ftfy`` mends what was decoded by the wrong encoding, ``html`` resolves entities and takes out tags and comments,
    ``urls`` takes out web addresses and brackets that are empty then. Cleaning twice changes no more than once.
    """
    for _ in range(_ROUNDS):
        cleaned = text
        for step in CLEAN_STEPS:
            if step in steps:
                cleaned = _STEPS[step](cleaned)
        cleaned = " ".join(cleaned.split())
        if cleaned == text:
            break
        text = cleaned
    return text


def _without_html(text: str) -> str:
    return _TAG.sub(" ", _without_comments(html.unescape(_LONG_NUMBER.sub(r"&#\1", text))))


def _without_comments(text: str) -> str:
    """Take out comments in one walk; one that has no end is none."""
    parts: list[str] = []
    done = 0
    while (start := text.find("<!--", done)) >= 0 and (stop := text.find("-->", start)) >= 0:
        parts.append(text[done:start])
        done = stop + 3
    return " ".join([*parts, text[done:]])


def _without_urls(text: str) -> str:
    bare = _URL.sub(" ", text)
    return text if bare == text else _EMPTY_BRACKETS.sub(" ", bare)


_STEPS: Final[Mapping[CleanStep, Callable[[str], str]]] = {
    "ftfy": ftfy.fix_text,
    "html": _without_html,
    "urls": _without_urls,
}
