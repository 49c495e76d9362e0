"""All rows of one video, cut together: what becomes of each clip that they ask for, a piece of video or a reason."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Final

from tools.corpus.ahead import ReadAhead
from tools.corpus.cut_options import CutOptions
from tools.corpus.faults import VIDEO_TROUBLE, fault_of
from tools.corpus.held_media import HeldMedia
from tools.corpus.ingest import InputRow
from tools.corpus.one_cut import cut_once
from tools.corpus.outcome import Outcome, Video, Wanted, failed
from tools.corpus.probe import probe
from tools.corpus.shots import cut_seconds
from tools.corpus.tables import Fault
from tools.corpus.timeline import Span
from tools.corpus.wanted import clips_wanted

KEPT_BYTES: Final = 32 * 1024 * 1024
"""Up to how many bytes of packets a video's reading leaves in memory for its clips, where packets are copied."""

__all__ = ["CutOptions", "Outcome", "cut_unit", "failed"]


def cut_unit(
    rows: Sequence[InputRow], options: CutOptions, scratch: Path, videos: ReadAhead | None = None
) -> Iterator[Outcome]:
    """Open, probe and decode the one video that the rows name once for all of them, and yield what becomes of each.

    Outcomes come as they are done: first what is wrong, then clips by where they end in the video. One piece is held
    at a time. ``scratch`` is a local folder, where a large remote video lies meanwhile; ``videos`` reads it, where
    remote ones are fetched ahead. Nothing that is wrong with the video or the rows is raised: it becomes the rows'
    reason.

    Raises:
        OSError: nothing is known of the video: its store is out of reach, or this machine has no room left.
    """
    left = _Left(rows)
    try:
        with (
            (videos or options.sources).reading(rows[0].video, scratch) as source,
            HeldMedia(source, options.cut.limits, _keep_bytes(rows, options)) as media,
        ):
            video = Video(media, probe(media, limits=options.cut.limits))
            for outcome in _outcomes(rows, video, options):
                left.answer(outcome)
                yield outcome
    except VIDEO_TROUBLE as error:
        yield from left.fail(fault_of(rows[0].video, error))


def _keep_bytes(rows: Sequence[InputRow], options: CutOptions) -> int:
    """Return how many bytes of packets to keep: none where clips are encoded, are the whole file, or are not made."""
    has_parts = options.by_shot or any(row.start is not None or row.end is not None for row in rows)
    return KEPT_BYTES if has_parts and options.cut.preset == "copy" and not options.dry else 0


class _Left:
    """What rows are still without an outcome; of a row whose shots are clips, which shots."""

    def __init__(self, rows: Sequence[InputRow]) -> None:
        self._rows = rows
        self._seen: dict[tuple[int, int], set[int]] = {}
        self._shots: dict[tuple[int, int], int] = {}

    def answer(self, outcome: Outcome) -> None:
        """Note an outcome."""
        place = (outcome.row.row, outcome.row.part)
        self._shots[place] = outcome.shots
        self._seen.setdefault(place, set()).add(outcome.shot)

    def fail(self, fault: Fault) -> Iterator[Outcome]:
        """Yield the fault for all that has no outcome."""
        for row in self._rows:
            place = (row.row, row.part)
            shots = self._shots.get(place, 1)
            for shot in sorted(set(range(shots)) - self._seen.get(place, set())):
                yield Outcome(row, fault, shot=shot, shots=shots)


def _outcomes(rows: Sequence[InputRow], video: Video, options: CutOptions) -> Iterator[Outcome]:
    """Yield what becomes of the rows of an opened video; segments of the same frames share one piece."""
    by_span: dict[Span, list[Wanted]] = {}
    for one in (yield from clips_wanted(rows, video, options)):
        by_span.setdefault(one.span, []).append(one)
    spans = list(by_span)
    if options.dry:
        for one in chain.from_iterable(by_span.values()):
            yield one.became(video.expected(one.span, options.cut), _seconds(one.span, one.cuts, video))
        return
    beside = None if options.looks_first or options.by_shot else options.shots
    for taken in cut_once(video.media, video.found, spans, options.cut, beside):
        span, result = spans[taken.index], taken.result
        for one in by_span[span]:
            if isinstance(result, Exception):
                yield one.became(fault_of(one.row.video, result))
            else:
                cuts = one.cuts if result.cuts is None else result.cuts
                yield one.became(result.piece, _seconds(span, cuts, video))


def _seconds(span: Span, cuts: tuple[int, ...] | None, video: Video) -> tuple[float, ...] | None:
    return None if cuts is None else cut_seconds(span, cuts, video.found.timeline)
