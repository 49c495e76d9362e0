"""Which clips the rows of one video ask for: their segments, or the shots of these, less those that are sorted out."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from shards.ledger import Reason
from tools.corpus.cut_options import CutOptions
from tools.corpus.faults import VIDEO_TROUBLE, fault_of
from tools.corpus.filters import record_values
from tools.corpus.ingest import InputRow
from tools.corpus.looking import find_cuts
from tools.corpus.one_decode import Taken
from tools.corpus.outcome import Outcome, Video, Wanted, failed
from tools.corpus.pictures import measure_pictures
from tools.corpus.shots import shots_of
from tools.corpus.tables import Fault
from tools.corpus.timeline import Span

Found = TypeVar("Found")
Fates = Generator[Outcome, None, list[Wanted]]
"""Yields what is decided already, and returns the clips that are still wanted."""


def clips_wanted(rows: Sequence[InputRow], video: Video, options: CutOptions) -> Fates:
    """Return a clip to make for each segment of the rows that can be had and is kept; yield the fates of the others.

    Where shots are clips, each shot of a segment is one, and bounds and filters are asked of each shot. Pictures are
    looked at only where shots or filters ask for it, of segments that nothing else sorts out.
    """
    wanted: list[Wanted] = []
    for row in rows:
        try:
            span = video.found.timeline.span(row.start, row.end)  # one beyond the video is an error, however short
        except VIDEO_TROUBLE as error:
            yield failed(row, fault_of(row.video, error))
        else:
            wanted.append(Wanted(row, span))
    if options.by_shot:
        wanted = yield from _with_cuts(wanted, video, options)
        wanted = [shot for one in wanted for shot in _shots(one)]
    wanted = yield from _kept(wanted, lambda one: _length_fault(one, video, options))
    wanted = yield from _filtered(wanted, video, options)
    if not options.by_shot and options.looks_first:
        wanted = yield from _with_cuts(wanted, video, options)
    return wanted


def _kept(wanted: Sequence[Wanted], judge: Callable[[Wanted], Fault | None]) -> Fates:
    """Return the clips that a judge finds no fault with; yield the others with theirs."""
    kept: list[Wanted] = []
    for one in wanted:
        fault = judge(one)
        if fault is None:
            kept.append(one)
        else:
            yield one.became(fault)
    return kept


def _with_cuts(wanted: Sequence[Wanted], video: Video, options: CutOptions) -> Fates:
    """Return the clips with the frames at which their shots begin; yield those that cannot be seen, with the reason."""
    assert options.shots is not None, "shots are asked for"
    spans = [span for span in _spans(wanted) if span.count > 1]  # a single frame, or a picture, has no cut
    seen = _by_span(spans, find_cuts(video.media, video.found, spans, options.shots, options.cut.limits))
    kept: list[Wanted] = []
    for one in wanted:
        cuts = seen.get(one.span, ())
        if isinstance(cuts, Exception):
            yield one.became(fault_of(one.row.video, cuts))
        else:
            kept.append(replace(one, cuts=cuts))
    return kept


def _filtered(wanted: Sequence[Wanted], video: Video, options: CutOptions) -> Fates:
    """Return the clips that the filters keep; yield the others with the reason."""
    filters = options.filters
    if filters is None:
        return list(wanted)
    measured: dict[Span, Any] = {}
    if filters.needs_pictures:
        spans = _spans(wanted)
        measured = _by_span(spans, measure_pictures(video.media, video.found, spans, options.cut.limits))

    def judge(one: Wanted) -> Fault | None:
        seen = measured.get(one.span, {})
        if isinstance(seen, Exception):
            return fault_of(one.row.video, seen)
        return filters.judge(record_values(one.row, video.found, one.span) | seen)

    return (yield from _kept(wanted, judge))


def _spans(wanted: Iterable[Wanted]) -> list[Span]:
    return list(dict.fromkeys(one.span for one in wanted))


def _by_span(spans: Sequence[Span], results: Iterable[Taken[Found]]) -> dict[Span, Found | Exception]:
    return {spans[taken.index]: taken.result for taken in results}


def _shots(one: Wanted) -> list[Wanted]:
    """Return the shots of a segment as clips of their own."""
    shots = shots_of(one.span, one.cuts or ())
    return [replace(one, span=span, shot=number, shots=len(shots), cuts=None) for number, span in enumerate(shots)]


def _length_fault(one: Wanted, video: Video, options: CutOptions) -> Fault | None:
    """Return why a clip is too short or too long, or None."""
    if options.by_shot:
        line = video.found.timeline
        seconds, said = float(line.at(one.span.stop) - line.at(one.span.first)), "the shot lasts {:.3f} s"
    else:
        end = video.found.media.duration if one.row.end is None else one.row.end
        seconds, said = end - (one.row.start or 0.0), "{:.3f} s are asked for"
    least, most = options.min_seconds, options.max_seconds
    if least is not None and seconds < least:
        return Fault(Reason.TOO_SHORT, f"{said.format(seconds)}, kept are {least:g} s or more", "filtered")
    if most is not None and seconds > most:
        return Fault(Reason.TOO_LONG, f"{said.format(seconds)}, kept are {most:g} s or less", "filtered")
    return None
