"""Fonts for drawn text: those given, those of this machine that know many scripts, and what each of them lacks."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from PIL import ImageFont

Font = ImageFont.ImageFont | ImageFont.FreeTypeFont

_COMMON: Final = (
    *("NotoSans-Regular.ttf", "DejaVuSans.ttf", "NotoSansCJK-Regular.ttc", "NotoSansArabic-Regular.ttf"),
    *("NotoSansDevanagari-Regular.ttf", "NotoSansHebrew-Regular.ttf", "NotoSansThai-Regular.ttf"),
    *("Arial Unicode.ttf", "msyh.ttc", "FreeSans.ttf"),
)
"""Names of fonts that are looked for on this machine, widest use first."""
_NOWHERE: Final = "\uffff"
"""A code point that is no character, so that every font draws its sign for what it lacks."""
_WITHOUT_INK: Final = frozenset({"Cc", "Cf", "Mn", "Me", "Zs", "Zl", "Zp"})


@dataclass(frozen=True)
class Face:
    """A font of one size, and what it draws of a text."""

    font: Font
    _known: dict[str, bool] = field(default_factory=dict, repr=False, compare=False)

    def lacks(self, text: str) -> int:
        """Return how many characters of a text it has no sign for."""
        return sum(not self._has(letter) for letter in text)

    def _has(self, letter: str) -> bool:
        if letter not in self._known:
            without = unicodedata.category(letter) in _WITHOUT_INK
            self._known[letter] = without or self._ink(letter) != self._nothing
        return self._known[letter]

    @cached_property
    def _nothing(self) -> tuple[tuple[int, int], bytes]:
        return self._ink(_NOWHERE)

    def _ink(self, letter: str) -> tuple[tuple[int, int], bytes]:
        mask = self.font.getmask(letter)
        return mask.size, bytes(mask)


def open_faces(files: Sequence[str], size: float) -> tuple[Face, ...]:
    """Return the fonts of some files, then those found here, then Pillow's own, which knows ASCII only.

    Args:
        files: paths of font files, preferred to others.
        size: of letters, in pixels.

    Raises:
        ValueError: a file is no font.
    """
    given = []
    for file in files:
        try:
            given.append(ImageFont.truetype(file, size))
        except OSError as error:
            raise ValueError(f"{file} is no font that can be read ({error}); give a .ttf, .otf or .ttc file") from error
    return tuple(map(Face, [*given, *_found(size), ImageFont.load_default(size)]))


def best_face(faces: Sequence[Face], text: str) -> Face:
    """Return the first face that lacks fewest of a text's characters."""
    return min(faces, key=lambda face: face.lacks(text))


def _found(size: float) -> list[Font]:
    found: list[Font] = []
    for name in _COMMON:
        try:
            found.append(ImageFont.truetype(name, size))
        except OSError:
            continue
    return found
