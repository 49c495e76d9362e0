"""Cut a source into the clips of many spans in one go: packets of all copies first, then all encoders in one pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from av.video.frame import VideoFrame

from tools.corpus.cut import ClipEncoder, clip_as_it_is, encoder
from tools.corpus.cut_settings import DEFAULT_SHORT_SIDE, CutSettings
from tools.corpus.held_media import HeldMedia
from tools.corpus.looking import finders
from tools.corpus.one_decode import TROUBLE, Taken, Taker, decode_once, fault_of_one, takers_at_once
from tools.corpus.piece import Piece
from tools.corpus.probe import Probe
from tools.corpus.shots import ShotFinder, ShotSettings
from tools.corpus.timeline import Span


@dataclass(frozen=True, slots=True)
class Cut:
    """A clip, and the source's frames at which new shots begin in it; None where nobody looked for them."""

    piece: Piece
    cuts: tuple[int, ...] | None = None


def cut_once(
    media: HeldMedia, found: Probe, spans: Sequence[Span], settings: CutSettings, shots: ShotSettings | None = None
) -> Iterator[Taken[Cut]]:
    """Yield the clip of each span of a probed source by its index, in the order in which they are done, or its error.

    Clips that can be copied come first, by their first frames; then each frame that others
    need is decoded once and given to all their encoders, of which as many are open at a time as memory allows. With
    ``shots`` the frames that are encoded are looked at for cuts on the way. Each clip has the bytes that
    ``cut_segment`` gives it alone. One clip is held at a time.

    Raises:
        OSError: the fault is the machine's or the store's.
    """
    reasons: dict[int, str] = {}
    for index in sorted(range(len(spans)), key=lambda one: (spans[one].first, spans[one].stop, one)):
        try:
            kept = clip_as_it_is(media, found, spans[index], settings)
        except TROUBLE as error:
            yield Taken(index, fault_of_one(error))
            continue
        if isinstance(kept, Piece):
            yield Taken(index, Cut(kept))
        else:
            reasons[index] = kept
    places, jobs = list(reasons), [_Job(spans[index], why) for index, why in reasons.items()]
    for taken in _encoded(media, found, jobs, settings, shots):
        yield Taken(places[taken.index], taken.result)


@dataclass(frozen=True, slots=True)
class _Job:
    """A span to encode, and why."""

    span: Span
    why: str


def _encoded(
    media: HeldMedia, found: Probe, jobs: Sequence[_Job], settings: CutSettings, shots: ShotSettings | None
) -> Iterator[Taken[Cut]]:
    """Encode spans in one pass; yield them by the index of their jobs."""
    spans = [job.span for job in jobs]
    find = None if shots is None else finders(found, spans, shots)

    def begin(index: int) -> Taker[Cut]:
        job = jobs[index]
        made = encoder(media.source, found, job.span, settings, job.why)
        return _Looked(made, None if find is None else find(index))

    scale = 1.0
    if settings.preset != "copy":
        scale = min(1.0, (settings.short_side or DEFAULT_SHORT_SIDE) / min(found.media.width, found.media.height))
    most = takers_at_once(round(found.media.width * scale), round(found.media.height * scale))
    return decode_once(media, found, spans, begin, limits=settings.limits, most=most)


@dataclass(frozen=True, slots=True)
class _Looked:
    """Encodes the frames of a span, and looks for cuts in them where there is a finder."""

    encoder: ClipEncoder
    finder: ShotFinder | None

    def push(self, frame: VideoFrame) -> None:
        if self.finder is not None:
            self.finder.push(frame)
        self.encoder.push(frame)

    def finish(self) -> Cut:
        cuts = None if self.finder is None else self.finder.finish()
        return Cut(self.encoder.finish(), cuts)

    def close(self) -> None:
        self.encoder.close()
