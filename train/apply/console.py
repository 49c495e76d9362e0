"""How a command of ``train.apply`` ends and speaks: exit status, one line for an error, reports as JSON or a table."""

from __future__ import annotations

import functools
import json
import logging
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, Final, NoReturn, ParamSpec, Protocol

import typer
from rich.console import Console
from typer.core import TyperGroup

from shards.errors import StoreOutageError
from shards.store import open_store, split_url

DONE: Final = 0
FALLS_SHORT: Final = 1
WRONG_USAGE: Final = 2
INTERRUPTED: Final = 130
"""Exit status: done; done, but something could not be used, or the run was cut off; wrong usage or input; a signal."""

P = ParamSpec("P")


class Reporting(Protocol):
    """What can be told on a terminal and as JSON."""

    def to_json(self) -> dict[str, Any]:
        """Return it as one JSON object."""

    def show(self, console: Console) -> None:
        """Write it for a person."""


class PlainGroup(TyperGroup):
    """Commands of which wrong values are told without the words that pydantic puts before its sentences."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - click's own types are private
        """Run the command that is meant."""
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            error.message = error.message.removeprefix("Value error, ")
            raise


def command(function: Callable[P, int]) -> Callable[P, None]:
    """Let a function that returns an exit status be a command: user faults become one line and status 2.

    A store that is out of reach, and another rank that failed, are no user faults: the status is 1.
    """

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        before = signal.signal(signal.SIGTERM, _interrupt)
        try:
            status = function(*args, **kwargs)
        except KeyboardInterrupt:
            say("interrupted")
            status = INTERRUPTED
        except (StoreOutageError, ConnectionError) as error:  # a rank that is gone is a connection that is gone
            say(f"stopped: {error}")
            status = FALLS_SHORT
        except (ValueError, OSError, MemoryError) as error:
            say(f"error: {error}")
            status = WRONG_USAGE
        finally:
            signal.signal(signal.SIGTERM, before)
        raise typer.Exit(status)

    return run


def log_to_terminal() -> None:
    """Write log lines of the first rank, and warnings of the others, to the error stream."""
    level = logging.INFO if rank() == 0 else logging.WARNING
    logging.basicConfig(level=level, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)
    logging.getLogger("botocore.credentials").setLevel(logging.WARNING)  # it says where they come from, time and again


def rank() -> int:
    """Return this process's number in a run of torchrun, 0 by itself."""
    return int(os.environ.get("RANK", "0"))


def tell(report: Reporting, *, as_json: bool, out: str | None) -> None:
    """Write a report to standard output and, where a file is named, to it as JSON; the first rank does it.

    Args:
        report: The report.
        as_json: Whether standard output takes JSON in place of a table.
        out: Path or URL of the file.

    Raises:
        OSError: The file cannot be written.
    """
    if rank():
        return
    text = json.dumps(report.to_json(), ensure_ascii=True, indent=None if as_json else 1)
    if as_json:
        typer.echo(text)
    else:
        report.show(Console(highlight=False, markup=False))
    if out is not None:  # last, so that what took hours is told although it cannot be written
        parent, name = split_url(out)
        open_store(parent).put(name, f"{text}\n".encode())


def lines_of(path: str) -> list[str]:
    """Return the lines of a text file that are not blank.

    Raises:
        ValueError: It is no UTF-8 text, or empty.
        OSError: It cannot be read.
    """
    parent, name = split_url(path)
    try:
        lines = [line.strip() for line in open_store(parent).read(name).decode("utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no UTF-8 text: {error}") from error
    if not any(lines):
        raise ValueError(f"{path} has no line with text in it")
    return [line for line in lines if line]


def say(line: str) -> None:
    """Write one line to the error stream, with the rank in a run of many."""
    place = "vidloom" if os.environ.get("WORLD_SIZE", "1") == "1" else f"vidloom, rank {rank()}"
    typer.echo(f"{place}: {printable(' '.join(line.split()))}", err=True)


def printable(text: str) -> str:
    """Return text from outside with everything escaped that a terminal might obey."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def _interrupt(_number: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt
