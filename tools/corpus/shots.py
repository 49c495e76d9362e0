"""Find the cuts of a segment: PySceneDetect's detectors over our own decoded frames, so that cuts are frame numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from importlib.metadata import version
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import numpy as np
from av.video.reformatter import Interpolation
from numpy.typing import NDArray

from tools.corpus.timeline import Span, Timeline

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

ShotMode = Literal["clips", "cuts"]
"""What shots become: clips of their own, or times of cuts within the segments' clips."""

DetectorName = Literal["content", "adaptive", "hash", "histogram"]

DETECTORS: Final[tuple[DetectorName, ...]] = get_args(DetectorName)

_OPTIONS: Final[Mapping[DetectorName, tuple[str, str]]] = {
    "content": ("ContentDetector", "threshold"),
    "adaptive": ("AdaptiveDetector", "adaptive_threshold"),
    "hash": ("HashDetector", "threshold"),
    "histogram": ("HistogramDetector", "threshold"),
}
"""Each detector's class in PySceneDetect, and what it calls its threshold."""

_LEAST_SIDE: Final = 16
_MOST_SKIP: Final = 240
_CLOCK: Final = 1_000_000
"""Parts of a second that a length in seconds is taken to: 0.9 is nine tenths, not the nearest binary number."""

_SCALING: Final = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.BITEXACT


@dataclass(frozen=True, slots=True)
class ShotSettings:
    """How cuts are found, and what they are for.

    ``threshold`` None is the detector's own: 27 for content (mean change of hue, saturation and brightness, of 255), 3
    for adaptive (such a change over the mean of its neighbours), 0.35 for hash (share of differing bits), 0.2 for
    histogram (one less their correlation). No shot is shorter than ``min_seconds``: a cut nearer to the one before it
    or to the segment's ends is none. Pictures are looked at with their longer side at most ``side`` pixels, and
    ``skip`` frames are left out after each one looked at, so that a cut is found up to so many frames late.

    Raises:
        ValueError: the mode or the detector is unknown, or a number is out of range.
    """

    mode: ShotMode = "clips"
    detector: DetectorName = "content"
    threshold: float | None = None
    min_seconds: float = 0.6
    side: int = 256
    skip: int = 0

    def __post_init__(self) -> None:
        if self.mode not in get_args(ShotMode):
            raise ValueError(f"--shots {self.mode!r} is unknown; taken are {', '.join(get_args(ShotMode))}")
        if self.detector not in DETECTORS:
            raise ValueError(f"--shot-detector {self.detector!r} is unknown; taken are {', '.join(DETECTORS)}")
        if self.threshold is not None and not self.threshold > 0:
            raise ValueError(f"--shot-threshold is {self.threshold}; it must be more than 0")
        if not 0 <= self.min_seconds < float("inf"):
            raise ValueError(f"--shot-min-seconds is {self.min_seconds}; it must be 0 or more")
        if self.side < _LEAST_SIDE:
            raise ValueError(f"--shot-side is {self.side} pixels; it must be at least {_LEAST_SIDE}")
        if not 0 <= self.skip <= _MOST_SKIP:
            raise ValueError(f"--shot-skip is {self.skip} frames; taken are 0 to {_MOST_SKIP}")


class Thumbnails:
    """Small BGR pictures of frames; the last is kept, for several detectors that look at the same frame."""

    def __init__(self, side: int) -> None:
        self._side = side
        self._number = -1
        self._picture: NDArray[np.uint8] | None = None

    def get(self, frame: VideoFrame, number: int) -> NDArray[np.uint8]:
        """Return frame ``number`` as an array [H, W, 3], its longer side at most the side, never enlarged."""
        if self._picture is None or self._number != number:
            scale = min(Fraction(1), Fraction(self._side, max(frame.width, frame.height)))
            width, height = (max(2, round(length * scale)) for length in (frame.width, frame.height))
            small = frame.reformat(width=width, height=height, format="bgr24", interpolation=_SCALING, threads=1)
            self._number, self._picture = number, np.ascontiguousarray(small.to_ndarray(), np.uint8)
        return self._picture


class ShotFinder:
    """Takes every frame of a span in order and tells at the end where its shots begin.

    Args:
        span: the frames that come.
        timeline: when the source's frames are shown.
        settings: how to look.
        thumbnails: shared by the finders of one source.
    """

    def __init__(self, span: Span, timeline: Timeline, settings: ShotSettings, thumbnails: Thumbnails) -> None:
        self._number, self._span, self._timeline, self._thumbnails = span.first, span, timeline, thumbnails
        self._settings = settings
        self._detector = _detector(settings)
        self._timecode = _timecodes()
        self._cuts: list[int] = []
        self._size: tuple[int, ...] | None = None

    def push(self, frame: VideoFrame) -> None:
        """Look at the next frame; a frame of another size than those before begins a shot."""
        number, self._number = self._number, self._number + 1
        if (number - self._span.first) % (self._settings.skip + 1):
            return
        picture = self._thumbnails.get(frame, number)
        if self._size not in {None, picture.shape}:
            picture = _fitted(picture, self._size)
        self._size = picture.shape
        found = self._detector.process_frame(self._timecode(number), picture)
        self._cuts.extend(cut.frame_num for cut in found)

    def finish(self) -> tuple[int, ...]:
        """Return the numbers of the frames at which a shot begins that lasts, rising, without the span's first."""
        found = self._detector.post_process(self._timecode(self._number - 1))
        self._cuts.extend(cut.frame_num for cut in found)
        cuts = sorted({cut for cut in self._cuts if self._span.first < cut < self._span.stop})
        return lasting_cuts(cuts, self._span, self._timeline, self._settings.min_seconds)

    def close(self) -> None:
        """Give up."""


def lasting_cuts(cuts: Sequence[int], span: Span, timeline: Timeline, min_seconds: float) -> tuple[int, ...]:
    """Return those cuts (frame numbers) that leave no shot of the span shorter than ``min_seconds``.

    Times are those of the frames, exact also where the rate varies. From the front, a cut too near to the last that
    counts is none; at the end, cuts too near to the span's end are none.
    """
    kept: list[int] = []
    least = Fraction(min_seconds).limit_denominator(_CLOCK)
    last = span.first
    for cut in cuts:
        if timeline.at(cut) - timeline.at(last) >= least:
            kept.append(cut)
            last = cut
    while kept and timeline.at(span.stop) - timeline.at(kept[-1]) < least:
        kept.pop()
    return tuple(kept)


def shots_of(span: Span, cuts: Sequence[int]) -> list[Span]:
    """Return the shots of a span, given the frames at which new ones begin; the span's note stays with the last."""
    bounds = [span.first, *cuts, span.stop]
    shots = [Span(first, stop) for first, stop in pairwise(bounds)]
    return [*shots[:-1], Span(shots[-1].first, shots[-1].stop, span.note)]


def cut_seconds(span: Span, cuts: Sequence[int], timeline: Timeline) -> tuple[float, ...]:
    """Return cuts as seconds from the span's first frame."""
    return tuple(float(timeline.at(cut) - timeline.at(span.first)) for cut in cuts)


def detector_versions() -> dict[str, str]:
    """Return the versions of the libraries that decide where a cut is."""
    return {name: version(name) for name in ("scenedetect-headless", "opencv-python-headless")}


def _detector(settings: ShotSettings) -> Any:  # noqa: ANN401  # PySceneDetect has no types
    """Return a new detector that reports every change it sees: how long a shot must last is our own rule."""
    import cv2  # noqa: PLC0415  # takes a quarter of a second, and only runs with shots need it
    from scenedetect import detectors  # noqa: PLC0415  # as above

    cv2.setNumThreads(1)  # the worker processes are what uses the cores
    name, threshold = _OPTIONS[settings.detector]
    given = {} if settings.threshold is None else {threshold: settings.threshold}
    return getattr(detectors, name)(min_scene_len=0, **given)


@cache
def _timecodes() -> Callable[[int], Any]:
    """Return what makes a PySceneDetect time of a frame's number; the rate does not matter, numbers are kept whole."""
    from scenedetect import FrameTimecode  # noqa: PLC0415  # as above

    rate = Fraction(1)
    return lambda number: FrameTimecode(number, rate)


def _fitted(picture: NDArray[np.uint8], size: tuple[int, ...] | None) -> NDArray[np.uint8]:
    """Return a picture brought to the size [H, W, 3] of those before it."""
    import cv2  # noqa: PLC0415  # as above

    assert size is not None
    return np.asarray(cv2.resize(picture, (size[1], size[0]), interpolation=cv2.INTER_AREA), np.uint8)
