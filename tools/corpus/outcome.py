"""What becomes of a segment that a table asks for: pieces of video, a promise of one, or a reason why there is none."""

from __future__ import annotations

from dataclasses import dataclass

from shards.ledger import Status
from tools.corpus.cut import stays_as_it_is
from tools.corpus.cut_settings import CutSettings
from tools.corpus.held_media import HeldMedia
from tools.corpus.ingest import InputRow
from tools.corpus.media_file import source_size
from tools.corpus.piece import Piece
from tools.corpus.probe import Probe
from tools.corpus.sizing import clip_bytes
from tools.corpus.tables import Fault
from tools.corpus.timeline import Span


@dataclass(frozen=True, slots=True)
class Expected:
    """A clip that a dry run would have made: its length, its frames, and about how many bytes it would have."""

    seconds: float
    frames: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one clip that a row asks for; ``attempts`` counts the tries.

    ``shot`` of ``shots`` numbers the clips of one segment where its shots are clips, else it is the only one; ``cuts``
    are the seconds within the clip at which new shots begin, None where nobody looked for them.
    """

    row: InputRow
    made: Piece | Expected | Fault
    attempts: int = 1
    shot: int = 0
    shots: int = 1
    cuts: tuple[float, ...] | None = None

    @property
    def status(self) -> Status:
        """The clip's status in the ledger."""
        return self.made.status if isinstance(self.made, Fault) else "success"


def failed(row: InputRow, fault: Fault, *, attempts: int = 1) -> Outcome:
    """Return the outcome of a row of which no clip could be made."""
    return Outcome(row, fault, attempts)


@dataclass(frozen=True, slots=True)
class Video:
    """The video of several rows, held open, and what a probe found in it."""

    media: HeldMedia
    found: Probe

    def expected(self, span: Span, cut: CutSettings) -> Expected:
        """Return what the clip of a span would be like."""
        line, packets, media = self.found.timeline, self.found.packets, self.found.media
        seconds = float(line.at(span.stop) - line.at(span.first))
        if stays_as_it_is(self.found, span, cut):  # with its sound, and all else that is in the file
            return Expected(seconds, span.count, source_size(self.media.source))
        held = int(packets.size[packets.shown[span.first : span.stop]].sum())
        return Expected(seconds, span.count, clip_bytes(cut, seconds, min(media.width, media.height), held))


@dataclass(frozen=True, slots=True)
class Wanted:
    """One clip to make: the row that asks for it and its frames.

    ``shot`` of ``shots`` numbers the clips of one segment; ``cuts`` are the source's frames at which new shots begin
    within the clip, None where nobody looked for them.
    """

    row: InputRow
    span: Span
    shot: int = 0
    shots: int = 1
    cuts: tuple[int, ...] | None = None

    def became(self, made: Piece | Expected | Fault, cuts: tuple[float, ...] | None = None) -> Outcome:
        """Return the outcome of this clip; ``cuts`` are seconds within it."""
        return Outcome(self.row, made, shot=self.shot, shots=self.shots, cuts=cuts)
