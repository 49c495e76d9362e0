"""What a block's ledger and shard hold of an outcome: numbered clips, their records, and notes of rows said twice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from shards.layout import make_key
from shards.ledger import LedgerRow
from shards.record import Record
from shards.writer import Clip
from tools.corpus.ingest import InputRow
from tools.corpus.outcome import Expected, Outcome
from tools.corpus.piece import Piece
from tools.corpus.tables import Fault

_Place = tuple[int, int]
"""Row and part."""


@dataclass(frozen=True, slots=True)
class Made:
    """One line of a block's ledger, and the clip that it speaks of, if there is one."""

    ledger: LedgerRow
    clip: Clip | None


def made_of(outcomes: Iterable[Outcome], rows: Sequence[InputRow]) -> Iterator[Made]:
    """Yield what ledger and shard hold of outcomes that come by row, part and shot; ``rows`` are all of the block.

    The clips that a table row asks for are numbered from 0 in this order, whether they could be made or not; a row of
    which nothing more is known has one number.
    """
    notes = _repeats(rows)
    row, clip = -1, 0
    for outcome in outcomes:
        row, clip = outcome.row.row, clip + 1 if outcome.row.row == row else 0
        yield _made(outcome, clip, notes.get((row, outcome.row.part)))


def _repeats(rows: Sequence[InputRow]) -> dict[_Place, str]:
    """Return a note for each segment that says the same as an earlier one of the block."""
    first: dict[tuple[str, tuple[str, ...], float | None, float | None], _Place] = {}
    notes: dict[_Place, str] = {}
    for row in rows:
        if row.problem is None:
            place = (row.row, row.part)
            earlier = first.setdefault((row.video, (row.caption, *row.captions), row.start, row.end), place)
            if earlier != place:
                notes[place] = f"same video, caption and times as row {earlier[0]}"
    return notes


def _made(outcome: Outcome, clip: int, note: str | None) -> Made:
    row, made = outcome.row, outcome.made
    if isinstance(made, Fault):
        fate = (made.status, made.reason, made.message, outcome.attempts)
        return Made(LedgerRow(row.row, clip, None, row.video, *fate), None)
    assert not isinstance(made, Expected), "a dry run packs nothing"
    key = make_key(row.row, clip)
    ledger = LedgerRow(row.row, clip, key, row.video, "success", None, note, outcome.attempts)
    return Made(ledger, Clip(_record(outcome, made, key, clip), made.payload, made.ext))


def _record(outcome: Outcome, made: Piece, key: str, clip: int) -> Record:
    row = outcome.row
    return Record(
        key=key,
        caption=row.caption,
        captions=row.captions,
        source=row.video,
        row=row.row,
        clip=clip,
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
        cuts=outcome.cuts,
    )
