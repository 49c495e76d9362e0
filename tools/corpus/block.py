"""One block of rows becomes one shard: each video cut once for all its rows, clips packed in row order, published."""

from __future__ import annotations

import contextlib
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from shards.layout import make_key, shard_stem
from shards.ledger import LedgerRow, Reason
from shards.manifest import ShardEntry
from shards.record import Record
from shards.store import open_store
from shards.writer import Clip, ShardWriter, publish
from tools.corpus.cut import Piece
from tools.corpus.ingest import InputRow
from tools.corpus.reorder import RowOrder
from tools.corpus.tables import Fault
from tools.corpus.tally import Progress
from tools.corpus.units import CutOptions, Outcome, cut_unit, failed

LARGEST_PAYLOAD: Final = (8 << 30) - 1
"""Bytes that a plain tar header can state for one member."""

Unit = tuple[InputRow, ...]
"""Rows of one video, cut together."""


@dataclass(frozen=True, slots=True)
class BlockSettings:
    """What every block of a run shares.

    ``out`` is the dataset's URL; ``extra`` maps the user's columns to their types; ``scratch`` is a local folder of the
    run's own; ``threads`` videos of a block are cut at a time. ``published`` is the URL of the dataset whose shards are
    made again, where that is what is done.
    """

    out: str
    options: CutOptions
    extra: Mapping[str, str]
    scratch: Path
    threads: int = 1
    published: str | None = None


@dataclass(frozen=True, slots=True)
class Block:
    """A shard's number and the consecutive input rows that it is made of.

    ``again`` names the rows to try where the shard was published before (None: all rows).
    """

    number: int
    rows: tuple[InputRow, ...]
    again: frozenset[int] | None = None

    @property
    def tried(self) -> tuple[InputRow, ...]:
        """The rows that are to be tried."""
        return tuple(row for row in self.rows if self.again is None or row.row in self.again)


@dataclass(frozen=True, slots=True)
class Task:
    """A block to make, perhaps after tries that killed their process.

    ``deaths`` counts by row how often a process died while it was at work; such rows are cut one at a time. Those in
    ``lost`` are given up with a reason.
    """

    block: Block
    deaths: Mapping[int, int] = field(default_factory=dict)
    lost: Mapping[int, Fault] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Watch:
    """Whom a block tells what it is at: the rows of a video that it begins, what came of them so far, and their end."""

    begin: Callable[[tuple[int, ...]], None]
    count: Callable[[tuple[int, ...], Progress], None]
    end: Callable[[tuple[int, ...]], None]


@dataclass(frozen=True, slots=True)
class Made:
    """One line of a block's ledger, and the clip that it speaks of, if there is one."""

    ledger: LedgerRow
    clip: Clip | None


def make_block(task: Task, settings: BlockSettings, watch: Watch) -> ShardEntry:
    """Make and publish the shard of one block; its bytes depend on its rows, their videos and the settings alone.

    Raises:
        StoreError: the shard cannot be published.
        OSError: the scratch folder cannot be written.
    """
    with block_folder(task, settings) as folder:
        return pack(task, settings, folder, made(task, settings, folder, watch))


@contextlib.contextmanager
def block_folder(task: Task, settings: BlockSettings) -> Iterator[Path]:
    """Lend the scratch folder of a block, empty, for as long as the block is made."""
    folder = settings.scratch / shard_stem(task.block.number)
    shutil.rmtree(folder, ignore_errors=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def made(task: Task, settings: BlockSettings, folder: Path, watch: Watch) -> Iterator[Made]:
    """Cut the rows of a block that are to be tried; yield what became of them in the order of rows and clips."""
    notes = _repeats(task.block.rows)
    for outcome in _in_row_order(task, settings, folder, watch):
        yield _made(outcome, notes.get(outcome.row.row))


def pack(task: Task, settings: BlockSettings, folder: Path, pieces: Iterable[Made]) -> ShardEntry:
    """Build the block's shard of the pieces, which come in the order of rows and clips, and publish it.

    Raises:
        StoreError: the shard cannot be published.
        OSError: the scratch folder cannot be written.
    """
    ledger: list[LedgerRow] = []
    with ShardWriter(shard_stem(task.block.number), folder, settings.extra) as writer:
        for piece in pieces:
            ledger.append(piece.ledger)
            if piece.clip is not None:
                writer.add(piece.clip)
        built = writer.finish()
    return publish(open_store(settings.out), built, ledger)


def _in_row_order(task: Task, settings: BlockSettings, folder: Path, watch: Watch) -> Iterator[Outcome]:
    order = RowOrder([row.row for row in task.block.tried], folder)
    known = list(_known(task))
    for outcome in known:
        order.put(outcome)
        watch.count((), _counted(outcome))
    watch.end(tuple(outcome.row.row for outcome in known))
    yield from order.ready()

    def cut(unit: Unit) -> Iterator[None]:
        """Put the unit's outcomes in order, one at a step, so that no more of its clips than one are held here."""
        numbers = tuple(row.row for row in unit)
        watch.begin(numbers)
        for outcome in map(_bounded, cut_unit(unit, settings.options, folder)):
            watch.count(numbers, _counted(outcome))
            order.put(outcome)
            yield
        watch.end(numbers)

    threads = 1 if task.deaths else settings.threads
    for _ in _steps(cut, _units(task), threads):
        yield from order.ready()


def _counted(outcome: Outcome) -> Progress:
    if isinstance(outcome.made, Fault):
        return Progress(fates={(outcome.status, outcome.made.reason): 1})
    return Progress(clips=1, bytes=len(outcome.made.payload))


def _known(task: Task) -> Iterator[Outcome]:
    """Yield the outcomes of the rows that need not be tried."""
    for row in task.block.tried:
        if row.problem is not None:
            yield failed(row, row.problem)
        elif row.row in task.lost:
            yield failed(row, task.lost[row.row], attempts=task.deaths[row.row])


def _units(task: Task) -> list[Unit]:
    """Group the rows that can be tried by video, in the order of first rows; those at work at a death stay alone."""
    units: dict[tuple[str, int], list[InputRow]] = {}
    for row in task.block.tried:
        if row.problem is None and row.row not in task.lost:
            alone = row.row if row.row in task.deaths else -1
            units.setdefault((row.video, alone), []).append(row)
    return [tuple(rows) for rows in units.values()]


def _steps(cut: Callable[[Unit], Iterator[None]], units: Sequence[Unit], threads: int) -> Iterator[None]:
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
        return failed(outcome.row, Fault(Reason.TOO_LARGE, message))
    return outcome


def _repeats(rows: Sequence[InputRow]) -> dict[int, str]:
    """Return a note for each row that says the same as an earlier one of the block, by row number."""
    first: dict[tuple[str, str, float | None, float | None], int] = {}
    notes: dict[int, str] = {}
    for row in rows:
        if row.problem is None:
            earlier = first.setdefault((row.video, row.caption, row.start, row.end), row.row)
            if earlier != row.row:
                notes[row.row] = f"same video, caption and times as row {earlier}"
    return notes


def _made(outcome: Outcome, note: str | None) -> Made:
    """Return an outcome as the ledger and the shard hold it."""
    row, made = outcome.row, outcome.made
    if isinstance(made, Fault):
        fate = (outcome.status, made.reason, made.message, outcome.attempts)
        return Made(LedgerRow(row.row, 0, None, row.video, *fate), None)
    key = make_key(row.row, 0)
    record = Record(
        key=key,
        caption=row.caption,
        captions=row.captions,
        source=row.video,
        row=row.row,
        clip=0,
        start=row.start,
        end=row.end,
        pts_start=made.pts_start,
        pts_end=made.pts_end,
        media=made.media,
        bytes=0,  # the writer counts and hashes the payload
        sha256="",
        cut=made.cut,
        cut_reason=made.cut_reason,
        extra=row.extra,
    )
    ledger = LedgerRow(row.row, 0, key, row.video, "success", None, note, outcome.attempts)
    return Made(ledger, Clip(record, made.payload, made.ext))
