"""How a command ends and speaks: exit status, one clear line for an error, text that cannot upset a terminal."""

from __future__ import annotations

import functools
import os
import re
import select
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NoReturn, ParamSpec, TextIO

import typer

from shards.errors import StoreOutageError

DONE: Final = 0
FALLS_SHORT: Final = 1
WRONG_USAGE: Final = 2
INTERRUPTED: Final = 130
UNREAD: Final = 141
"""Whoever read the output has closed it, as ``head`` does; this is what SIGPIPE gives other programs."""

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
    Ctrl-C or SIGTERM, with status 130. Where nobody reads the output any more, it ends without a word.
    """

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        before = signal.signal(signal.SIGTERM, _interrupt)
        try:
            status = _flushed(function(*args, **kwargs))
        except KeyboardInterrupt:
            _say("interrupted; what is on disk is valid, and the same command goes on from there")
            status = INTERRUPTED
        except (StoppedError, StoreOutageError) as error:
            _say(f"stopped: {error}")
            status = FALLS_SHORT
        except (ValueError, OSError) as error:
            unread = isinstance(error, BrokenPipeError) and _drop_unread()
            status = UNREAD if unread else WRONG_USAGE
            if not unread:
                _say(f"error: {error}")
        finally:
            signal.signal(signal.SIGTERM, before)
        raise typer.Exit(status)

    return run


def run_app(app: Callable[[], object]) -> None:
    """Run a command line; where its help cannot be written, it ends as commands do."""
    try:
        app()
    except SystemExit as ending:
        _drop_unread()  # else the interpreter finds out at exit, and makes the status 120
        if isinstance(ending.__context__, BrokenPipeError):  # of which typer makes status 1
            raise SystemExit(UNREAD) from None
        raise
    except OSError as error:
        if _drop_unread():
            raise SystemExit(UNREAD) from None
        _say(f"stopped: {error}")
        _drop(sys.stdout)
        raise SystemExit(FALLS_SHORT) from None


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
    with suppress(BrokenPipeError):
        print("\n".join(map(printable, f"vidloom: {line}".split("\n"))), file=sys.stderr, flush=True)


def _flushed(status: int) -> int:
    """Write out what was printed while an error of it can still be told; the interpreter would only grumble at exit."""
    try:
        if sys.stdout:  # there is none where it was closed before we began
            sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        _drop(sys.stdout)
        raise StoppedError(f"the work is done, and what there is to say of it cannot be written: {error}") from error
    return status


def _drop_unread() -> bool:
    """Send what comes on streams that nobody reads any more to nowhere; tell whether there was one.

    A broken pipe may also be one to a process of ours, which is no reason to keep quiet.
    """
    unread = [stream for stream in (sys.stdout, sys.stderr) if stream and _is_unread(stream)]
    for stream in unread:
        _drop(stream)
    return bool(unread)


def _is_unread(stream: TextIO) -> bool:
    with suppress(OSError, ValueError):  # a stream of a test has no file
        poll = select.poll()
        poll.register(stream, 0)
        return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
    return False


def _drop(stream: TextIO) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def _interrupt(_number: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt
