"""Spell numbers for people: counts, shares, lengths and sizes, and the one scale that a column's chart uses."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

NOTHING: Final = "\N{EN DASH}"
"""What stands where there is no number."""

TIMES: Final = "\N{MULTIPLICATION SIGN}"

_HOUR: Final = 3600
_MINUTE: Final = 60
_LARGE: Final = 100_000_000
_DIGITS: Final = 3
"""Significant digits of a quantity with a unit of ours."""
_PLAIN_DIGITS: Final = 4
"""Those of other numbers, such as 29.97 frames per second."""

_SMALL: Final = 1e-4
"""What is nearer to nothing than this is spelt with an exponent."""

_LADDERS: Final[dict[str, tuple[tuple[float, str], ...]]] = {
    "s": ((_HOUR, "h"), (_MINUTE, "min"), (1, "s")),
    "bytes": ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1, "bytes")),
    "bit/s": ((1e9, "Gbit/s"), (1e6, "Mbit/s"), (1e3, "kbit/s"), (1, "bit/s")),
}
_COUNTED: Final = frozenset({"frames", "words", "letters", "tokens", "clips"})
"""Units that a column's name says already."""
_ALIASES: Final = {"1/s": "fps"}

_FIRST_RUNGS: Final = {"s": 3.0, "bytes": 1.0, "bit/s": 1.0}
"""From how many of a larger unit on it is taken: 90 s reads better than 1.5 min."""

_LABELS: Final = {
    "num_frames": "frames",
    "pix_fmt": "pixel format",
    "max_gop": "largest GOP",
    "has_audio": "audio",
    "is_vfr": "variable frame rate",
    "cut": "how it was cut",
    "bytes": "size",
    "fps": "frame rate",
    "caption_chars": "caption letters",
    "shard_bytes": "shard size",
    "shard_clips": "clips per shard",
}


@dataclass(frozen=True, slots=True)
class Scale:
    """A unit that all numbers of one chart or column are told in: each is divided by ``divisor``."""

    unit: str
    divisor: float = 1.0
    digits: int = _PLAIN_DIGITS

    @classmethod
    def of(cls, unit: str, typical: float) -> Scale:
        """Choose the unit in which a typical value has few digits before the point."""
        for divisor, name in _LADDERS.get(unit, ()):
            if abs(typical) >= _FIRST_RUNGS[unit] * divisor:
                return cls(name, divisor, _DIGITS)
        if unit in _LADDERS:
            return cls(_LADDERS[unit][-1][1], 1.0, _DIGITS)
        return cls("" if unit in _COUNTED else _ALIASES.get(unit, unit))

    def spell(self, value: float) -> str:
        """Return the value with its unit."""
        return f"{self.number(value)} {self.unit}".rstrip()

    def number(self, value: float) -> str:
        """Return the value without its unit."""
        return spell_number(value / self.divisor, self.digits)


def spell_quantity(value: float, unit: str) -> str:
    """Return a value of a unit (``s``, ``bytes``, ``bit/s``, any other or none) in the unit that suits it."""
    return Scale.of(unit, value).spell(value)


def spell_count(count: int) -> str:
    """Return a count with its thousands apart: ``1,234,567``."""
    return f"{count:,}"


def spell_large(count: int) -> str:
    """Return a count in a few letters: as it is below 100 million, else in millions or billions."""
    if count < _LARGE:
        return spell_count(count)
    return f"{count / 1e9:,.2f} bn" if count >= 1e9 else f"{count / 1e6:,.1f} M"  # noqa: PLR2004 - a billion


def spell_share(part: float, whole: float) -> str:
    """Return a part of a whole as a percentage; only all is 100 %, and only nothing is 0 %."""
    if not whole:
        return NOTHING
    percent = 100 * part / whole
    if 0 < percent < 0.1:  # noqa: PLR2004 - one digit after the point
        return "< 0.1 %"
    if 99.9 < percent < 100:  # noqa: PLR2004 - the same
        return "> 99.9 %"
    return f"{percent:.1f} %" if percent % 100 else f"{percent:.0f} %"


def spell_number(value: float, digits: int = _DIGITS) -> str:
    """Return a number with some significant digits and its thousands apart; whole numbers keep all digits."""
    if not math.isfinite(value):
        return NOTHING
    if value == round(value) and abs(value) < 1e15:  # noqa: PLR2004 - beyond, a float tells no ones
        return f"{round(value):,}"
    if abs(value) < _SMALL:
        return f"{value:.2g}"
    before = math.floor(math.log10(abs(value))) + 1
    return f"{value:,.{max(0, digits - before)}f}"


def spell_total_length(seconds: float) -> str:
    """Return a length that was summed: hours from one hour on, else minutes or seconds."""
    if seconds >= _HOUR:
        return f"{spell_number(seconds / _HOUR)} h"
    return spell_quantity(seconds, "s")


def spell_label(column: str) -> str:
    """Return how a column is called on the page."""
    return _LABELS.get(column, column.replace("_", " "))


def shorten(text: str, most: int) -> str:
    """Return the text, cut to a number of characters with an ellipsis for the rest."""
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"
