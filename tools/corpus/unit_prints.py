"""Fingerprints of all rows of one video, which is opened once for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tools.corpus.ahead import ReadAhead
from tools.corpus.cut_options import CutOptions
from tools.corpus.faults import VIDEO_TROUBLE, fault_of
from tools.corpus.fingerprint_table import Fingerprint
from tools.corpus.held_media import HeldMedia
from tools.corpus.ingest import InputRow
from tools.corpus.outcome import Video, Wanted
from tools.corpus.probe import probe
from tools.corpus.segment_prints import segment_prints
from tools.corpus.wanted import clips_wanted


def unit_prints(rows: Sequence[InputRow], options: CutOptions, videos: ReadAhead, scratch: Path) -> list[Fingerprint]:
    """Return the fingerprints of the rows of one video that would become clips, none where it cannot be read.

    Raises:
        OSError: nothing is known of the video: its store is out of reach, or this machine has no room left.
    """
    if options.by_shot:
        options = replace(options, shots=None, filters=None, min_seconds=None, max_seconds=None)
    else:
        options = replace(options, shots=None)
    try:
        with videos.reading(rows[0].video, scratch) as source, HeldMedia(source, options.cut.limits) as media:
            video = Video(media, probe(media, limits=options.cut.limits))
            return segment_prints(_wanted(rows, video, options), video, options)
    except VIDEO_TROUBLE as error:
        fault_of(rows[0].video, error)  # raises what is no fault of the video's
        return []


def _wanted(rows: Sequence[InputRow], video: Video, options: CutOptions) -> list[Wanted]:
    fates = clips_wanted(rows, video, options)
    while True:
        try:
            next(fates)
        except StopIteration as end:
            wanted: list[Wanted] = end.value
            return wanted
