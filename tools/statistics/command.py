"""The stats command: collects, then prints tables or JSON, or has the report written as a page."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from pipelines.vocabulary import load_tokenizer
from tools.console import DONE, printable
from tools.statistics.collect import StatsRequest, collect
from tools.statistics.model import Report
from tools.statistics.terminal import tables


def run_stats(
    request: StatsRequest,
    *,
    as_json: bool = False,
    tokenizer: str | None = None,
    page: Callable[[Report, StatsRequest], str] | None = None,
) -> int:
    """Tell what datasets hold, on standard output; return the exit status.

    Args:
        request: What is asked.
        as_json: One JSON object in place of tables.
        tokenizer: File of a vocabulary by which captions' tokens are counted.
        page: Writes the report as a page, and returns what is said of it.

    Raises:
        NotFoundError, StoreError, ValueError: as ``collect``; or the vocabulary is none, or the page cannot be written.
    """
    lengths = None if tokenizer is None else load_tokenizer(tokenizer).lengths
    with _progress() as advance:
        report = collect(request, lengths=lengths, progress=advance)
    if page is not None:
        print(printable(page(report, request)), file=sys.stderr)
    if as_json:
        print(json.dumps(report.to_json(), ensure_ascii=True))
        return DONE
    console = Console(highlight=False, markup=False)
    for table in tables(report, width=console.width):
        console.print(table)
    return DONE


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """Show on a terminal how many clips were counted; elsewhere nothing is said."""
    console = Console(stderr=True)
    columns = (TextColumn("counting"), BarColumn(), TextColumn("{task.completed:.0f} of {task.total:.0f} clips"))
    shown = console.is_terminal
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True, disable=not shown) as bar:
        task = bar.add_task("clips", total=0)
        yield lambda rows, total: bar.update(task, advance=rows, total=total)
