"""Choose frames by when they are shown: so many a second, and evenly where a video's rate varies."""

from __future__ import annotations

from typing import Final

import numpy as np
from jaxtyping import Float64, Int64

from pipelines.augment import draw_share

# N frames of a video, T frames of one clip, V views of one video. ``times`` are seconds from the first frame, rising.

Times = Float64[np.ndarray, "N"]
FrameIds = Int64[np.ndarray, "T"]

CLOSE: Final = 1e-4
"""Seconds by which times of frames may be off by rounding."""


def frames_at(times: Times, seconds: Float64[np.ndarray, "T"]) -> FrameIds:
    """Return which frame is shown at each of ``seconds``: the last one that is not later; before the first, the first.

    Raises:
        ValueError: there is no frame.
    """
    if len(times) == 0:
        raise ValueError("a video without frames shows none; give the time of at least one")
    ids = np.searchsorted(times, np.asarray(seconds) + CLOSE, side="right") - 1
    return np.maximum(ids, 0).astype(np.int64)


def at_even_pace(times: Times, ids: FrameIds) -> FrameIds:
    """Return what frames ``ids`` would be if as many frames were shown at a steady rate over the same time.

    So a choice by number becomes one by time: where the rate does not vary, nothing changes.

    Raises:
        ValueError: there is no frame.
    """
    pace = (times[-1] - times[0]) / max(1, len(times) - 1) if len(times) else 0.0
    return frames_at(times - times[:1], ids * pace)


def rate_frames(times: Times, clip_len: int, rate: float, rng: np.random.Generator | None) -> FrameIds:
    """Return ``clip_len`` frames, ``rate`` of them a second, from a random place; None takes the middle of the video.

    A video that is shorter than ``(clip_len - 1) / rate`` seconds is taken from its start, and its last frame repeated.

    Raises:
        ValueError: a number is not positive, or there is no frame.
    """
    _require(clip_len, rate, 1)
    room = _room(times, clip_len, rate)
    return _from(times, clip_len, rate, room / 2 if rng is None else room * draw_share(rng))


def rate_views(times: Times, clip_len: int, rate: float, views: int) -> Int64[np.ndarray, "V T"]:
    """Return ``views`` clips of ``rate`` frames a second, spread evenly over the video; one view is the middle one.

    Raises:
        ValueError: a number is not positive, or there is no frame.
    """
    _require(clip_len, rate, views)
    room = _room(times, clip_len, rate)
    starts = [room * view / (views - 1) for view in range(views)] if views > 1 else [room / 2]
    return np.stack([_from(times, clip_len, rate, start) for start in starts])


def even_rate_frames(times: Times, clip_len: int, rate: float) -> FrameIds:
    """Return frames of the whole video, ``rate`` a second; of too many ``clip_len`` evenly, too few are repeated.

    The first and the last of them are kept (as public code tests retrieval, with one frame a second).

    Raises:
        ValueError: a number is not positive, or there is no frame.
    """
    _require(clip_len, rate, 1)
    count = int((_last(times) + CLOSE) * rate) + 1
    if count < clip_len:
        chosen = np.arange(clip_len, dtype=np.int64) * count // clip_len
    else:
        chosen = np.linspace(0, count - 1, clip_len).astype(np.int64)
    return frames_at(times - times[:1], chosen / rate)


def _last(times: Times) -> float:
    return float(times[-1] - times[0]) if len(times) else 0.0


def _room(times: Times, clip_len: int, rate: float) -> float:
    """Return how many seconds a clip may begin after the first frame."""
    return max(0.0, _last(times) - (clip_len - 1) / rate)


def _from(times: Times, clip_len: int, rate: float, start: float) -> FrameIds:
    return frames_at(times - times[:1], start + np.arange(clip_len) / rate)


def _require(clip_len: int, rate: float, views: int) -> None:
    if min(clip_len, views) < 1 or not 0 < rate < np.inf:
        raise ValueError(
            f"clip_len {clip_len}, rate {rate}, views {views}: the counts must be at least 1, the rate above 0"
        )
