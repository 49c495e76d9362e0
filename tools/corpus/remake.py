"""A block whose shard was published is made once more: rows that failed are tried again, its clips stay as they are."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory

from shards.index import DamagedShardError
from shards.layout import make_key, parquet_name, shard_stem, tar_name
from shards.ledger import LedgerRow, read_ledger
from shards.manifest import ShardEntry
from shards.reader import DamagedSampleError, ShardReader
from shards.store import Store, StoreError, open_store
from shards.writer import Clip
from tools.corpus.block import BlockSettings, Made, Task, Watch, block_folder, made, pack
from tools.corpus.ingest import InputRow

_Number = tuple[int, int]
"""Input row and clip: by them ledgers and tars are in order."""


def remake_block(task: Task, settings: BlockSettings, watch: Watch) -> ShardEntry:
    """Make the shard of a block from its published clips and a new try of the segments ``task.block.again``.

    The result has the bytes of a block whose rows did not fail before, save that a row which fails again says in its
    ledger how often it was tried. A clip that is there is never given up for a failure.

    Raises:
        StoreError: the published shard cannot be read or is damaged, or the new one cannot be written.
        OSError: the scratch folder cannot be written.
    """
    assert settings.published is not None
    with block_folder(task, settings) as folder, _damage_told():
        folder.mkdir(parents=True)
        with _published(open_store(settings.published), shard_stem(task.block.number), folder) as old:
            new = made(task, settings, folder, watch)
            if settings.options.by_shot:
                return pack(task, settings, folder, merge_rows(old, new, folder))
            return pack(task, settings, folder, merge(old, _by_part(new, task.block.tried)))


def merge(old: Iterator[Made], new: Iterator[Made]) -> Iterator[Made]:
    """Yield what became of a block's rows in order, the better of the old and the new fate of each clip.

    Args:
        old: what was published, in the order of rows and clips.
        new: what became of those that were tried again, in the same order.
    """
    before, now = next(old, None), next(new, None)
    while before is not None or now is not None:
        step = _step(before, now)
        if step.old and step.new:
            assert before is not None
            assert now is not None
            yield _better(before, now)
        elif step.new:
            assert now is not None
            yield now
        else:
            assert before is not None
            yield before
        before = next(old, None) if step.old else before
        now = next(new, None) if step.new else now


def merge_rows(old: Iterator[Made], new: Iterator[Made], folder: Path) -> Iterator[Made]:
    """Yield what became of a block's rows in order, of each row that was tried again the better fate of the two.

    Shots are numbered through a row, so that one more or less gives all behind it other numbers: a row stays as it was
    or becomes what it is now, as a whole. Where clips that are there could not be made again, it stays.

    Args:
        old: what was published, in the order of rows and clips.
        new: what became of the rows that were tried again, all their segments, in the same order.
        folder: where the clips of a row lie until it is chosen between them.
    """
    tried = groupby(new, _row)
    row_now, now = next(tried, (None, iter(())))
    for row, before in groupby(old, _row):
        if row != row_now:
            yield from before
            continue
        with TemporaryDirectory(dir=folder) as shelves:
            was, became = _Shelf(Path(shelves, "old")), _Shelf(Path(shelves, "new"))
            one, other = was.put(before), became.put(now)
            yield from was.take(_counted(one, other)) if _lacks(other, one) else became.take(_counted(other, one))
        row_now, now = next(tried, (None, iter(())))
    assert row_now is None, "the rows that are tried again are rows of the block"


def _row(piece: Made) -> int:
    return piece.ledger.row


def _lacks(now: Sequence[Made], before: Sequence[Made]) -> bool:
    """Tell whether something failed now, and clips that are there already are not among those that were made."""
    made = {_place(piece.clip) for piece in now if piece.clip is not None}
    lost = any(piece.clip is not None and _place(piece.clip) not in made for piece in before)
    return lost and any(piece.ledger.status == "failed" for piece in now)


def _counted(chosen: Sequence[Made], other: Sequence[Made]) -> list[Made]:
    """Return the chosen fate of a row, the tries of both counted in what failed."""
    more = max((piece.ledger.attempts for piece in other if piece.ledger.status == "failed"), default=0)
    return [_tried_again(piece, piece.ledger.attempts + more) for piece in chosen]


@dataclass(frozen=True, slots=True)
class _Shelf:
    """A folder in which the clips of one row lie."""

    folder: Path

    def put(self, pieces: Iterable[Made]) -> list[Made]:
        """Lay payloads there; return the pieces without them."""
        self.folder.mkdir()
        return [self._put(piece) for piece in pieces]

    def take(self, pieces: Iterable[Made]) -> Iterator[Made]:
        """Yield the pieces with their payloads, one at a time."""
        for piece in pieces:
            clip = piece.clip
            yield piece if clip is None else replace(piece, clip=replace(clip, payload=self._path(clip).read_bytes()))

    def _put(self, piece: Made) -> Made:
        if piece.clip is None:
            return piece
        self._path(piece.clip).write_bytes(piece.clip.payload)
        return replace(piece, clip=replace(piece.clip, payload=b""))

    def _path(self, clip: Clip) -> Path:
        return self.folder / clip.record.key


def _by_part(pieces: Iterable[Made], tried: Sequence[InputRow]) -> Iterator[Made]:
    """Number pieces by the parts that they are of: some parts of a row may be tried without the others."""
    for piece, row in zip(pieces, tried, strict=True):
        ledger, clip, key = piece.ledger, piece.clip, make_key(row.row, row.part)
        if clip is not None:
            clip = replace(clip, record=replace(clip.record, key=key, clip=row.part))
        yield Made(replace(ledger, clip=row.part, key=None if ledger.key is None else key), clip)


@dataclass(frozen=True, slots=True)
class _Step:
    """Which of the two sequences the next piece is taken from."""

    old: bool
    new: bool


def _step(before: Made | None, now: Made | None) -> _Step:
    if before is None or now is None:
        return _Step(now is None, before is None)
    return _Step(_number(before) <= _number(now), _number(now) <= _number(before))


def _number(piece: Made) -> _Number:
    return piece.ledger.row, piece.ledger.clip


def _better(before: Made, now: Made) -> Made:
    """Choose between two fates of one clip: what a rule says, then a success, the published bytes of the same first."""
    if now.clip is None and now.ledger.status != "failed":
        return now
    if now.clip is None:
        attempts = before.ledger.attempts + now.ledger.attempts
        return _tried_again(now, attempts) if before.clip is None else before
    return before if before.clip is not None and _same_piece(before.clip, now.clip) else now


def _same_piece(one: Clip, other: Clip) -> bool:
    return _place(one) == _place(other)


def _place(clip: Clip) -> tuple[object, ...]:
    record = clip.record
    return record.source, record.start, record.end, record.pts_start, record.pts_end


def _tried_again(piece: Made, attempts: int) -> Made:
    """Return the piece with its tries counted, where it is a failure: of a success nothing says how it came about."""
    if piece.ledger.status != "failed":
        return piece
    return replace(piece, ledger=replace(piece.ledger, attempts=attempts))


@contextlib.contextmanager
def _damage_told() -> Iterator[None]:
    """Let a damaged shard stop the run, as a store does that fails."""
    try:
        yield
    except (DamagedShardError, DamagedSampleError) as error:
        raise StoreError(str(error)) from error


@contextlib.contextmanager
def _published(dataset: Store, stem: str, folder: Path) -> Iterator[Iterator[Made]]:
    """Open a published shard; lend what became of its rows, in order, one clip in memory at a time."""
    ledger = read_ledger(dataset, stem)
    tar = folder / f"published-{tar_name(stem)}"
    if dataset.is_local:
        tar = dataset.local_path(tar_name(stem))
    else:
        dataset.download(tar_name(stem), tar)
    name = f"{dataset.url}/{tar_name(stem)}"
    with ShardReader(tar, dataset.read(parquet_name(stem)), name=name) as shard:
        yield _pieces(ledger, shard)


def _pieces(ledger: list[LedgerRow], shard: ShardReader) -> Iterator[Made]:
    clips = iter(shard)
    for row in ledger:
        if row.status != "success":
            yield Made(row, None)
            continue
        clip = next(clips, None)
        if clip is None or clip.record.key != row.key:
            found = "nothing" if clip is None else clip.record.key
            raise DamagedSampleError(shard.name, row.key or "", f"the shard has {found} in its place")
        yield Made(row, Clip(clip.record, clip.payload, clip.ext))
