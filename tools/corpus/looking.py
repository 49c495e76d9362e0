"""Look for the shots of segments before any is cut: each frame of a source is decoded once for all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from tools.corpus.held_media import HeldMedia
from tools.corpus.media_file import Limits, Source
from tools.corpus.one_decode import Taken, decode_once
from tools.corpus.probe import Probe
from tools.corpus.shots import ShotFinder, ShotSettings, Thumbnails
from tools.corpus.timeline import Span

_MOST_LOOKS: Final = 256
"""How many overlapping spans are looked at in one reading; each holds a few small pictures."""


def find_cuts(
    source: Source | HeldMedia, found: Probe, spans: Sequence[Span], shots: ShotSettings, limits: Limits
) -> Iterator[Taken[tuple[int, ...]]]:
    """Decode a probed source once; yield by its index the frames at which new shots begin within each span."""
    begin = finders(found, spans, shots)
    return decode_once(source, found, spans, begin, limits=limits, most=_MOST_LOOKS)


def finders(found: Probe, spans: Sequence[Span], shots: ShotSettings) -> Callable[[int], ShotFinder]:
    """Return what makes a finder for each span of a probed source, by its index; they share their small pictures."""
    thumbnails = Thumbnails(shots.side)
    return lambda index: ShotFinder(spans[index], found.timeline, shots, thumbnails)
