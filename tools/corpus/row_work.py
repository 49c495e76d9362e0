"""All rows of a block put to work, video by video and some at a time, with their outcomes in the order of the rows."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Final

from shards.ledger import Reason
from tools.corpus.ahead import ReadAhead
from tools.corpus.captions import CaptionSettings
from tools.corpus.ingest import InputRow
from tools.corpus.outcome import Expected, Outcome, failed
from tools.corpus.piece import Piece
from tools.corpus.reorder import RowOrder
from tools.corpus.tables import Fault
from tools.corpus.tally import Progress
from tools.corpus.tasks import BlockSettings, Task, Watch
from tools.corpus.units import cut_unit

LARGEST_PAYLOAD: Final = (8 << 30) - 1
"""Bytes that a plain tar header can state for one member."""

Unit = tuple[InputRow, ...]
"""Segments of one video, cut together."""


def outcomes_in_order(task: Task, settings: BlockSettings, folder: Path, watch: Watch) -> Iterator[Outcome]:
    """Cut the rows of a block that are to be tried; yield their outcomes by row, part and shot.

    One clip is held here at a time, and as many as ``RowOrder`` keeps in memory.

    Args:
        task: the block.
        settings: what all blocks share; ``threads`` videos are cut at a time.
        folder: a local folder for clips that have to wait, and for large remote videos.
        watch: who hears of rows that begin, of each outcome, and of rows that are done.

    Raises:
        OSError: the videos' store is out of reach, or the folder cannot be written.
    """
    task = with_captions(task, settings.options.captions)
    order = RowOrder(task.block.tried, folder)
    known = list(_known(task))
    for outcome in known:
        order.put(outcome)
        watch.count((), _counted(outcome))
    units = units_of(task)
    begun = {row.row for unit in units for row in unit}
    watch.end(tuple(number for number in row_numbers([one.row for one in known]) if number not in begun))
    yield from order.ready()
    threads = 1 if task.deaths else settings.threads
    with ReadAhead(settings.options.sources, [unit[0].video for unit in units], folder) as videos:

        def cut(unit: Unit) -> Iterator[None]:
            """Put the unit's outcomes in order, one at a step, so that no more of its clips than one are held here."""
            numbers = row_numbers(unit)
            watch.begin(numbers)
            for outcome in map(_bounded, cut_unit(unit, settings.options, folder, videos)):
                watch.count(numbers, _counted(outcome))
                order.put(outcome)
                yield
            watch.end(numbers)

        for _ in in_threads(cut, units, threads):
            yield from order.ready()


def with_captions(task: Task, captions: CaptionSettings | None) -> Task:
    """Return the task with what is asked for done to its captions."""
    if captions is None:
        return task
    return replace(task, block=replace(task.block, rows=tuple(map(captions.apply, task.block.rows))))


def row_numbers(rows: Sequence[InputRow]) -> tuple[int, ...]:
    """Return the numbers of the table rows that segments belong to."""
    return tuple(dict.fromkeys(row.row for row in rows))


def _counted(outcome: Outcome) -> Progress:
    made = outcome.made
    if isinstance(made, Fault):
        return Progress(fates={(made.status, made.reason): 1})
    return Progress(clips=1, bytes=made.bytes if isinstance(made, Expected) else len(made.payload))


def _known(task: Task) -> Iterator[Outcome]:
    """Yield the outcomes of the rows that need not be tried."""
    for row in task.block.tried:
        if row.problem is not None:
            yield failed(row, row.problem)
        elif row.row in task.lost:
            yield failed(row, task.lost[row.row], attempts=task.deaths[row.row])


def units_of(task: Task) -> list[Unit]:
    """Group the rows that can be tried by video, in the order of first rows; those at work at a death stay alone."""
    units: dict[tuple[str, int], list[InputRow]] = {}
    for row in task.block.tried:
        if row.problem is None and row.row not in task.lost:
            alone = row.row if row.row in task.deaths else -1
            units.setdefault((row.video, alone), []).append(row)
    return [tuple(rows) for rows in units.values()]


def in_threads(cut: Callable[[Unit], Iterator[None]], units: Sequence[Unit], threads: int) -> Iterator[None]:
    """Run ``cut`` over all units, ``threads`` at a time and not far ahead; yield whenever something is done."""
    if threads == 1 or len(units) <= 1:
        for unit in units:
            yield from cut(unit)
        return

    def run(unit: Unit) -> None:
        deque(cut(unit), maxlen=0)

    with ThreadPoolExecutor(threads) as pool:
        ahead: deque[Future[None]] = deque()
        for unit in units:
            ahead.append(pool.submit(run, unit))
            if len(ahead) >= 2 * threads:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _bounded(outcome: Outcome) -> Outcome:
    """Return the outcome, or a failure where the piece is too long for a tar."""
    if isinstance(outcome.made, Piece) and len(outcome.made.payload) > LARGEST_PAYLOAD:
        message = f"the clip has {len(outcome.made.payload)} bytes; one clip holds at most {LARGEST_PAYLOAD}"
        return replace(outcome, made=Fault(Reason.TOO_LARGE, message), cuts=None)
    return outcome
