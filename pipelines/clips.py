"""Choose which frames of a video make a clip: dense, centred, one per segment or bin, or as several views."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int64

from pipelines.augment import draw_below

# T frames of one clip, V views of one video. Every function returns frame numbers in presentation order, from 0.

FrameIds = Int64[np.ndarray, "T"]
ViewIds = Int64[np.ndarray, "V T"]


def dense_starts(num_frames: int, clip_len: int, stride: int) -> int:
    """Return how many start frames a dense clip can choose from; a video too short for the clip has one, frame 0."""
    _require(num_frames, clip_len, stride)
    return max(1, num_frames - clip_len * stride + 1)


def dense_frames(num_frames: int, clip_len: int, stride: int, start: np.random.Generator | int) -> FrameIds:
    """Return ``clip_len`` frames, ``stride`` apart, from a random or a given start.

    The walk stops before the last frame and repeats where it stands, as the published pretraining does (InternVideo,
    ``HybridVideoMAE``; VideoMAE, arXiv 2203.12602, section 4).

    Args:
        num_frames: frames of the video.
        clip_len: frames to return (T).
        stride: distance in frames between neighbours.
        start: the first frame, or a generator that draws it uniformly.

    Raises:
        ValueError: a number is not positive, or ``start`` lies outside the video.
    """
    starts = dense_starts(num_frames, clip_len, stride)
    first = start if isinstance(start, int) else draw_below(start, starts)
    if not 0 <= first < num_frames:
        raise ValueError(f"start {first} is outside a video of {num_frames} frames; give 0 to {num_frames - 1}")
    steps = max(0, (num_frames - 2 - first) // stride)
    ids: FrameIds = first + stride * np.minimum(np.arange(clip_len, dtype=np.int64), steps)
    return ids


def centred_frames(num_frames: int, clip_len: int, stride: int) -> FrameIds:
    """Return the dense clip in the middle of the video, both ends of its span included (fine-tuning's validation).

    ``clip_len`` frames are spread evenly over ``clip_len * stride`` frames, so neighbours are a little more than
    ``stride`` apart. A shorter video gives one frame per ``stride`` and then repeats its last frame.

    Raises:
        ValueError: a number is not positive.
    """
    _require(num_frames, clip_len, stride)
    return _spanned(num_frames, clip_len, stride, max(0, num_frames - clip_len * stride) // 2)


def span_frames(num_frames: int, clip_len: int, stride: int, rng: np.random.Generator) -> FrameIds:
    """Return the frames of ``centred_frames`` from a random place (VideoMAE's fine-tuning).

    Raises:
        ValueError: a number is not positive.
    """
    _require(num_frames, clip_len, stride)
    return _spanned(num_frames, clip_len, stride, draw_below(rng, max(1, num_frames - clip_len * stride)))


def even_frames(num_frames: int, clip_len: int) -> FrameIds:
    """Return the first frame, the last, and frames evenly between, rounded down; a clip of one frame is the first.

    Raises:
        ValueError: a number is not positive.
    """
    _require(num_frames, clip_len, 1)
    ids: FrameIds = np.linspace(0, num_frames - 1, clip_len).astype(np.int64)
    return ids


def dense_views(num_frames: int, clip_len: int, stride: int, views: int) -> ViewIds:
    """Return ``views`` dense clips spread evenly over the video; one view is the middle one.

    A video too short for a clip repeats its last kept frame.

    Raises:
        ValueError: a number is not positive.
    """
    _require(num_frames, clip_len, stride, views)
    kept = np.arange(0, num_frames, stride, dtype=np.int64)
    kept = np.pad(kept, (0, max(0, clip_len - len(kept))), mode="edge")
    room = len(kept) - clip_len
    starts = [room * view // (views - 1) for view in range(views)] if views > 1 else [room // 2]
    return np.stack([kept[start : start + clip_len] for start in starts])


def sparse_views(num_frames: int, clip_len: int, views: int) -> ViewIds:
    """Return ``views`` clips of one frame per segment; view ``v`` takes the phase ``v / views`` of each segment.

    Raises:
        ValueError: a number is not positive.
    """
    _require(num_frames, clip_len, 1, views)
    ticks = np.arange(clip_len * views, dtype=np.int64) * num_frames // (clip_len * views)
    return np.ascontiguousarray(ticks.reshape(clip_len, views).T)


def segment_frames(num_frames: int, clip_len: int, rng: np.random.Generator) -> FrameIds:
    """Return a random frame of each of ``clip_len`` equal segments that touch.

    A segment runs from one rounded border to the next with both included, so neighbours may take the same frame, and
    a video of any length works (TSN, arXiv 1608.00859, section 3.1; the borders are those of UniFormerV2's public
    code).

    Raises:
        ValueError: a number is not positive.
    """
    _require(num_frames, clip_len, 1)
    borders = _segment_borders(num_frames, clip_len)
    ids: FrameIds = borders[:-1] + _draw_each(rng, np.diff(borders) + 1)
    return ids


def segment_views(num_frames: int, clip_len: int, views: int) -> ViewIds:
    """Return ``views`` clips of one frame per segment of ``segment_frames``, each at a place of its own.

    View ``v`` lies ``(v + 1) / (views + 1)`` into each segment, rounded down, so one view is the middle one
    (UniFormerV2, arXiv 2211.09552, evaluation).

    Raises:
        ValueError: a number is not positive.
    """
    _require(num_frames, clip_len, 1, views)
    part = (num_frames - 1) / clip_len / (views + 1)
    inside = (part * np.arange(1, views + 1)).astype(np.int64)
    return _segment_borders(num_frames, clip_len)[None, :-1] + inside[:, None]


def bin_frames(num_frames: int, clip_len: int, rng: np.random.Generator | None) -> FrameIds:
    """Return a frame of each of ``clip_len`` bins that share no frame: a random one, or the middle one.

    A random draw leaves out the last frame of its bin, as the published multimodal training does, but where the bin
    has no other. A video of fewer frames than ``clip_len`` gives each of them once; ``stretch`` makes a clip of them.

    Args:
        num_frames: frames of the video.
        clip_len: number of bins (T).
        rng: draws the frames; None takes the middle ones.

    Returns:
        Frame numbers in order, all different, ``min(clip_len, num_frames)`` of them.

    Raises:
        ValueError: a number is not positive.
    """
    _require(num_frames, clip_len, 1)
    bounds = np.linspace(0, num_frames, min(clip_len, num_frames) + 1).astype(np.int64)
    widths = np.diff(bounds)
    inside = (widths - 1) // 2 if rng is None else _draw_each(rng, np.maximum(widths - 1, 1))
    ids: FrameIds = bounds[:-1] + inside
    return ids


def stretch(ids: FrameIds, clip_len: int) -> FrameIds:
    """Repeat frames evenly, in order, until there are ``clip_len``; a full clip stays as it is.

    Raises:
        ValueError: there is no frame, or there are more than ``clip_len``.
    """
    if not 1 <= len(ids) <= clip_len:
        raise ValueError(f"{len(ids)} frames cannot be stretched to {clip_len}; 1 to {clip_len} are taken")
    return ids[np.arange(clip_len) * len(ids) // clip_len]


def _spanned(num_frames: int, clip_len: int, stride: int, first: int) -> FrameIds:
    """Return ``clip_len`` frames spread over ``clip_len * stride`` from ``first``, both ends included."""
    span = clip_len * stride
    if num_frames <= span:
        walk = np.linspace(0, num_frames, max(1, num_frames // stride))[:clip_len]
        spread = np.pad(walk, (0, clip_len - len(walk)), constant_values=num_frames)
        last = num_frames - 1
    else:
        spread = np.linspace(first, first + span, clip_len)
        last = first + span - 1
    ids: FrameIds = np.minimum(spread.astype(np.int64), last)
    return ids


def _segment_borders(num_frames: int, clip_len: int) -> Int64[np.ndarray, "T+1"]:
    """Return the first frame of each segment, and the last frame; halves are rounded to even numbers."""
    return np.round((num_frames - 1) / clip_len * np.arange(clip_len + 1)).astype(np.int64)


def _draw_each(rng: np.random.Generator, counts: Int64[np.ndarray, "T"]) -> FrameIds:
    return np.array([draw_below(rng, int(count)) for count in counts], dtype=np.int64)


def _require(num_frames: int, clip_len: int, stride: int, views: int = 1) -> None:
    if min(num_frames, clip_len, stride, views) < 1:
        raise ValueError(
            f"num_frames {num_frames}, clip_len {clip_len}, stride {stride}, views {views}: each must be at least 1",
        )
