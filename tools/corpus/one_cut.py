"""Cut a source into the clips of many spans in one go: packets of all copies first, then all encoders in one pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tools.corpus.cut import ClipEncoder, clip_as_it_is, encoder
from tools.corpus.cut_settings import DEFAULT_SHORT_SIDE, CutSettings
from tools.corpus.held_media import HeldMedia
from tools.corpus.media_file import Source
from tools.corpus.one_decode import TROUBLE, Taken, decode_once, fault_of_one, takers_at_once
from tools.corpus.piece import Piece
from tools.corpus.probe import Probe
from tools.corpus.timeline import Span


def cut_once(source: Source, found: Probe, spans: Sequence[Span], settings: CutSettings) -> Iterator[Taken[Piece]]:
    """Yield the clip of each span of a probed source by its index, in the order in which they are done, or its error.

    The source is opened once. Clips that can be copied come first, by their first frames; then each frame that others
    need is decoded once and given to all their encoders, of which as many are open at a time as memory allows. Each
    clip has the bytes that ``cut_segment`` gives it alone. One clip is held at a time.

    Raises:
        OSError: the fault is the machine's or the store's.
    """
    reasons: dict[int, str] = {}
    with HeldMedia(source, settings.limits) as media:
        for index in sorted(range(len(spans)), key=lambda one: (spans[one].first, spans[one].stop, one)):
            try:
                kept = clip_as_it_is(media, found, spans[index], settings)
            except TROUBLE as error:
                yield Taken(index, fault_of_one(error))
                continue
            if isinstance(kept, Piece):
                yield Taken(index, kept)
            else:
                reasons[index] = kept
        yield from _encoded(media, found, {index: (spans[index], why) for index, why in reasons.items()}, settings)


def _encoded(
    media: HeldMedia, found: Probe, wanted: dict[int, tuple[Span, str]], settings: CutSettings
) -> Iterator[Taken[Piece]]:
    """Encode spans, each with the reason why, in one pass."""
    numbers = list(wanted)
    spans = [span for span, _ in wanted.values()]

    def begin(place: int) -> ClipEncoder:
        span, why = wanted[numbers[place]]
        return encoder(media.source, found, span, settings, why)

    scale = 1.0
    if settings.preset != "copy":
        scale = min(1.0, (settings.short_side or DEFAULT_SHORT_SIDE) / min(found.media.width, found.media.height))
    most = takers_at_once(round(found.media.width * scale), round(found.media.height * scale))
    for taken in decode_once(media, found, spans, begin, limits=settings.limits, most=most):
        yield Taken(numbers[taken.index], taken.result)
