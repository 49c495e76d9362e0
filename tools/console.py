"""How a command ends and speaks: exit status, one clear line for an error, text that cannot upset a terminal."""

from __future__ import annotations

import functools
import re
import signal
import sys
from collections.abc import Callable
from typing import Final, NoReturn, ParamSpec

import typer

from shards.errors import StoreOutageError

DONE: Final = 0
FALLS_SHORT: Final = 1
WRONG_USAGE: Final = 2
INTERRUPTED: Final = 130

P = ParamSpec("P")

_SIZE: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([KMGT]?i?B?)", re.IGNORECASE)
_UNITS: Final = {"": 1, "K": 1000, "KI": 1 << 10, "M": 10**6, "MI": 1 << 20, "G": 10**9, "GI": 1 << 30}
_UNITS_LARGE: Final = {"T": 10**12, "TI": 1 << 40}
_BINARY_NAMES: Final = ("bytes", "KiB", "MiB", "GiB", "TiB")
_STEP: Final = 1024


class StoppedError(RuntimeError):
    """A command cannot go on, through no fault of its input; what is on disk is valid."""


def command(function: Callable[P, int]) -> Callable[P, None]:
    """Let a function that returns an exit status be a command: user faults become one line and status 2.

    A store that is out of reach is no user fault: the status is 1. What is on disk is valid when a command ends by
    Ctrl-C or SIGTERM, with status 130.
    """

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        before = signal.signal(signal.SIGTERM, _interrupt)
        try:
            status = function(*args, **kwargs)
        except KeyboardInterrupt:
            _say("interrupted; what is on disk is valid, and the same command goes on from there")
            status = INTERRUPTED
        except (StoppedError, StoreOutageError) as error:
            _say(f"stopped: {error}")
            status = FALLS_SHORT
        except (ValueError, OSError) as error:
            _say(f"error: {error}")
            status = WRONG_USAGE
        finally:
            signal.signal(signal.SIGTERM, before)
        raise typer.Exit(status)

    return run


def parse_size(text: str) -> int:
    """Return the bytes that a text such as ``256MiB``, ``1.5GB`` or ``4096`` says.

    Raises:
        ValueError: it is no size.
    """
    match = _SIZE.fullmatch(text.strip())
    unit = match[2].upper().removesuffix("B") if match else ""
    factor = (_UNITS | _UNITS_LARGE).get(unit)
    if match is None or factor is None:
        raise ValueError(f"{text!r} is no size; write a number with B, KB, MB, GB, KiB, MiB or GiB, such as 256MiB")
    return round(float(match[1]) * factor)


def spell_size(size: float) -> str:
    """Return a number of bytes as a person reads it."""
    for name in _BINARY_NAMES:
        if size < _STEP or name == _BINARY_NAMES[-1]:
            return f"{size:.0f} bytes" if name == "bytes" else f"{size:.1f} {name}"
        size /= _STEP
    raise AssertionError("the last unit takes all sizes")


def spell_seconds(seconds: float) -> str:
    """Return a time span as a person reads it."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s"


def printable(text: str) -> str:
    """Return text from outside with everything escaped that a terminal might obey."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def _say(line: str) -> None:
    print("\n".join(map(printable, f"vidloom: {line}".split("\n"))), file=sys.stderr, flush=True)


def _interrupt(_number: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt
