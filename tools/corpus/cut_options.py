"""Where the videos of a run are, how clips are made of them, and which clips are kept."""

from __future__ import annotations

from dataclasses import dataclass

from tools.corpus.captions import CaptionSettings
from tools.corpus.cut_settings import CutSettings
from tools.corpus.dedup import DedupSettings
from tools.corpus.filters import Filters
from tools.corpus.shots import ShotSettings
from tools.corpus.sources import Sources


@dataclass(frozen=True, slots=True)
class CutOptions:
    """Where the videos are, how to cut them, and which clips to keep.

    A segment is kept where the seconds that it asks for (all of the video's where it names no end) lie between the
    bounds; where shots are clips, a shot is kept where its own seconds do. ``shots`` None looks for no cuts,
    ``filters`` None keeps all. ``dry`` finds out what would become of each row and makes no clip. ``captions`` says
    what is done to captions before, ``dedup`` what fingerprints hold.
    """

    sources: Sources
    cut: CutSettings
    min_seconds: float | None = None
    max_seconds: float | None = None
    shots: ShotSettings | None = None
    filters: Filters | None = None
    dry: bool = False
    captions: CaptionSettings | None = None
    dedup: DedupSettings | None = None

    @property
    def by_shot(self) -> bool:
        """Whether every shot becomes a clip of its own."""
        return self.shots is not None and self.shots.mode == "clips"

    @property
    def looks_first(self) -> bool:
        """Whether cuts are looked for before clips are made: some of these need no decoding, or none is made."""
        return self.shots is not None and (self.by_shot or self.dry or self.cut.preset == "copy")
