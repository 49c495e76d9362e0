"""How clips are to be made: the preset, and what may be asked of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from tools.corpus.encode import RECIPES, RecipeName
from tools.corpus.media_file import Limits

DEFAULT_SHORT_SIDE: Final = 256
_LEAST_SIDE: Final = 16
_MOST_FPS: Final = 1000.0


@dataclass(frozen=True, slots=True)
class CutSettings:
    """How clips are made.

    ``preset`` copy keeps the source's bytes or packets wherever they hold exactly the segment; the others encode every
    clip: train (H.264, a key frame every 16 frames, quick to decode), intra (H.264, key frames only), vp9, mjpeg.
    ``short_side`` is the encoded picture's shorter side in pixels (None: 256); pictures are never enlarged. ``fps`` is
    the highest rate that clips keep (None: their own). With ``audio`` clips keep the sound of their segment; a whole
    video whose bytes are kept has its sound in any case.

    Raises:
        ValueError: the preset is unknown, or short side or rate do not suit.
    """

    preset: RecipeName = "copy"
    short_side: int | None = None
    fps: float | None = None
    audio: bool = False
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if self.preset not in RECIPES:
            raise ValueError(f"preset {self.preset!r} is unknown; taken are {', '.join(RECIPES)}")
        if self.fps is not None and not 0 < self.fps <= _MOST_FPS:
            raise ValueError(f"fps {self.fps:g}; take a number of frames a second above 0, up to {_MOST_FPS:g}")
        if self.preset == "copy" and self.fps is not None:
            raise ValueError("preset copy keeps the frames as they are; fps needs a preset that encodes")
        if self.short_side is None:
            return
        if self.preset == "copy":
            raise ValueError("preset copy keeps the pictures as they are; a short side needs a preset that encodes")
        if self.short_side < _LEAST_SIDE or self.short_side % 2:
            raise ValueError(f"short side {self.short_side} pixels; take an even number from {_LEAST_SIDE} on")

    def versions(self) -> dict[str, str]:
        """Return which version of the preset makes clips; none for the first, which plans did not name."""
        version = RECIPES[self.preset].version
        return {} if version == 1 else {f"preset_{self.preset}": str(version)}
