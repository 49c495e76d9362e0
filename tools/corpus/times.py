"""Times as tables spell them: seconds, clock times, durations and finer units, as seconds from zero on."""

from __future__ import annotations

import math
import re
import sys
from decimal import Decimal
from typing import Any, Final, Literal, get_args

Unit = Literal["s", "ms", "us", "ns"]
"""What a bare number counts: seconds, or thousandths, millionths or billionths of one."""

UNITS: Final[tuple[Unit, ...]] = get_args(Unit)

TAKEN: Final = "seconds, M:SS, HH:MM:SS.mmm, 1h2m3s or PT1H2M3S"

_EXPONENT: Final[dict[Unit, int]] = {"s": 0, "ms": -3, "us": -6, "ns": -9}
_CHARS: Final = 64
_SHOWN: Final = 40
_NUMBER: Final = re.compile(r"[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]{1,3})?|\.[0-9]+")
_CLOCK: Final = re.compile(r"(?:([0-9]{1,4}):)?([0-9]{1,4}):([0-5]?[0-9](?:[.,][0-9]+)?)")
_AMOUNT: Final = r"[0-9]+(?:[.,][0-9]+)?"
_SPOKEN: Final = re.compile(
    rf"(?:({_AMOUNT}) ?h ?)?(?:({_AMOUNT}) ?m(?:in)? ?)?(?:({_AMOUNT}) ?s(?:ec)?)?", re.IGNORECASE
)
_FINE: Final = re.compile(rf"({_AMOUNT}) ?(ms|us|ns)", re.IGNORECASE)
_ISO: Final = re.compile(rf"P(?:({_AMOUNT})D)?(?:T(?:({_AMOUNT})H)?(?:({_AMOUNT})M)?(?:({_AMOUNT})S)?)?", re.IGNORECASE)
_MINUTE: Final = 60
_HOUR: Final = 3600
_DAY: Final = 86400


def parse_time(value: Any, unit: Unit = "s") -> float | None:  # noqa: ANN401 - a cell of any table
    """Return the seconds that a cell says; None for an empty cell.

    A bare number counts ``unit``; taken besides are clock times (``1:30``, ``0:01:30.5``, ``00:01:30,500``), spoken
    ones (``1m30.5s``, ``90s``, ``1500 ms``) and ISO 8601 durations (``PT00H01M30S``). The result is the double nearest
    to the decimal number that stands there.

    Raises:
        ValueError: the cell is no time from zero on.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, str):
        return _parse_text(value.strip(), unit)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{_short(repr(value))} is no time; taken are {TAKEN}")  # noqa: TRY004 - a cell
    if not 0 <= value <= sys.float_info.max:  # whole numbers of JSON may be larger than any double
        raise ValueError(f"{_short(repr(value))} is no time from 0 on")
    return float(value) if unit == "s" else _seconds(Decimal(repr(value)), unit)


def _parse_text(text: str, unit: Unit) -> float | None:
    if not text:
        return None
    found = _amount(text, unit) if len(text) <= _CHARS else None
    if found is not None and math.isfinite(found):
        return found
    if text.startswith("-"):
        raise ValueError(f"{_short(text)} is before the video's first frame; times count from 0")
    raise ValueError(f"{_short(text)} is no time; taken are {TAKEN}")


def _amount(text: str, unit: Unit) -> float | None:
    """Return the seconds that a short text says, None where it is no time."""
    if _NUMBER.fullmatch(text):
        return _seconds(Decimal(text), unit)
    if clock := _CLOCK.fullmatch(text):
        return _clock(clock)
    if fine := _FINE.fullmatch(text):
        spelled: dict[str, Unit] = {"ms": "ms", "us": "us", "ns": "ns"}
        return _seconds(_decimal(fine[1]), spelled[fine[2].lower()])
    if (spoken := _SPOKEN.fullmatch(text)) and any(spoken.groups()):
        return _sum(spoken.groups(), (_HOUR, _MINUTE, 1))
    if (iso := _ISO.fullmatch(text)) and any(iso.groups()):
        return _sum(iso.groups(), (_DAY, _HOUR, _MINUTE, 1))
    return None


def _clock(clock: re.Match[str]) -> float | None:
    """Minutes stay below 60 only where hours stand before them."""
    if clock[1] is not None and int(clock[2]) >= _MINUTE:
        return None
    return _sum(clock.groups(), (_HOUR, _MINUTE, 1))


def _sum(parts: tuple[str | None, ...], scales: tuple[int, ...]) -> float:
    whole = zip(parts, scales, strict=True)
    return float(sum((_decimal(part) * scale for part, scale in whole if part is not None), Decimal(0)))


def _decimal(text: str) -> Decimal:
    return Decimal(text.replace(",", "."))


def _seconds(number: Decimal, unit: Unit) -> float:
    return float(number.scaleb(_EXPONENT[unit]))


def _short(text: str) -> str:
    return ascii(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")
