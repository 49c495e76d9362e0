"""Captions as tokenisers read them: mended, unescaped, evenly spaced, cut at special tokens that are spelt out."""

from __future__ import annotations

import html
import re
import unicodedata
from dataclasses import dataclass
from typing import Final

import ftfy

START: Final = "<|startoftext|>"
END: Final = "<|endoftext|>"
LONG_S: Final = "\u017f"
"""The other letter whose upper case is S."""

YPOGEGRAMMENI: Final = "\u0345"
"""The one mark whose upper case is a letter; CLIP's public code passes over it."""

_SPELLINGS: Final = frozenset({START, END})

_SPECIAL: Final = re.compile(rf"<\|(?:[s{LONG_S}]tart|end)oftext\|>")


def clean(text: str, *, lower: bool) -> str:
    """Return a caption as CLIP's public code cleans it before it is cut into words.

    Broken encodings are mended (ftfy), HTML entities resolved twice, runs of white space become one blank.

    Args:
        text: Any text.
        lower: Whether letters become lower case.
    """
    if not (text.isascii() and text.isprintable() and "&" not in text):  # else there is nothing to mend or to resolve
        text = html.unescape(html.unescape(ftfy.fix_text(text)))
    text = " ".join(text.split())
    return text.lower() if lower else text


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a cleaned caption: a special token spelt out, or the text between two."""

    text: str
    special: bool


def split_specials(text: str) -> list[Piece]:
    """Cut a cleaned caption at the special tokens that are spelt out in it.

    As in the public code, one counts where a word would begin: behind a sign such as "!" it is a part of that run of
    signs. With a long s it is one word, and no special token. Text between two comes without blanks at its ends.
    """
    pieces: list[Piece] = []
    done = 0
    for found in _SPECIAL.finditer(text):
        start, stop = found.span()
        if start > done:
            if _is_sign(text[start - 1]):
                continue
            pieces.append(Piece(text[done:start].strip(), special=False))
        pieces.append(Piece(found[0], special=found[0] in _SPELLINGS))
        done = stop
    pieces.append(Piece(text[done:].strip(), special=False))
    return [piece for piece in pieces if piece.text]


def _is_sign(letter: str) -> bool:
    return not letter.isspace() and unicodedata.category(letter)[0] not in "LN" and letter != YPOGEGRAMMENI
