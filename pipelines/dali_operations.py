"""RandAugment's operations as nodes of the DALI graph; each clip takes the branches that were drawn for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np

from pipelines.dali_module import dali
from pipelines.randaugment import FILL, KINDS, Kind

_BLUR: Final = ((1, 1, 1), (1, 5, 1), (1, 1, 1))
_WHITE: Final = 255.0
_MIDDLE: Final = 128
_ROUNDED_DOWN: Final = 0.499


@dataclass(frozen=True, slots=True)
class Inputs:
    """Nodes of what was drawn for a layer: the kind's number, its value and its matrix ([2, 3]), all on the host.

    ``device`` is where the video is, and ``value_there`` the value in the same place.
    """

    kind: Any
    value: Any
    value_there: Any
    matrix: Any
    device: Literal["cpu", "gpu"]


def operate(video: Any, given: Inputs) -> Any:  # noqa: ANN401 - nodes of DALI's graph
    """Return the video (uint8 [T, H, W, 3]) with a layer's operation; a graph with conditionals must hold it.

    What each does to a picture is what Pillow does, with bilinear warps and OpenCV's equalisation.
    """
    return _chosen(video, given, given.kind, [_OPERATIONS[kind] for kind in KINDS], 0)


def _chosen(video: Any, given: Inputs, kind: Any, steps: Sequence[Callable[..., Any]], first: int) -> Any:  # noqa: ANN401
    """Part the batch by halves until each clip stands before its own operation."""
    if len(steps) == 1:
        return steps[0](video, given)
    half = len(steps) // 2
    if kind < first + half:
        out = _chosen(video, given, kind, steps[:half], first)
    else:
        out = _chosen(video, given, kind, steps[half:], first + half)
    return out


def _identity(video: Any, given: Inputs) -> Any:  # noqa: ANN401, ARG001
    return video


def _warp(video: Any, given: Inputs) -> Any:  # noqa: ANN401
    module = dali()
    return module.fn.warp_affine(
        video, matrix=given.matrix, fill_value=FILL, interp_type=module.types.INTERP_LINEAR, inverse_map=True
    )


def _auto_contrast(video: Any, given: Inputs) -> Any:  # noqa: ANN401, ARG001
    fn, types = dali().fn, dali().types
    low = fn.cast(fn.reductions.min(video, axis_names="HW", keep_dims=True), dtype=types.FLOAT)
    high = fn.cast(fn.reductions.max(video, axis_names="HW", keep_dims=True), dtype=types.FLOAT)
    varies = high > low
    scale = _WHITE / (high - low + (high <= low) * _WHITE)  # 1 for a flat picture, which stays
    return _cut(video * scale - low * varies * scale)


def _equalize(video: Any, given: Inputs) -> Any:  # noqa: ANN401, ARG001
    return dali().fn.equalize(video)


def _invert(video: Any, given: Inputs) -> Any:  # noqa: ANN401, ARG001
    return dali().fn.cast(_WHITE - video, dtype=dali().types.UINT8)


def _posterize(video: Any, given: Inputs) -> Any:  # noqa: ANN401
    return video & dali().fn.cast(given.value_there, dtype=dali().types.UINT8)


def _solarize(video: Any, given: Inputs) -> Any:  # noqa: ANN401
    kept = video < given.value_there
    turned = video >= given.value_there
    return dali().fn.cast(kept * video + turned * (_WHITE - video), dtype=dali().types.UINT8)


def _solarize_add(video: Any, given: Inputs) -> Any:  # noqa: ANN401
    return _cut(video + (video < _MIDDLE) * given.value_there)


def _brightness(video: Any, given: Inputs) -> Any:  # noqa: ANN401
    return dali().fn.brightness(video, brightness=given.value)


def _colour(video: Any, given: Inputs) -> Any:  # noqa: ANN401
    return _away_from(_grey(video), video, given)


def _contrast(video: Any, given: Inputs) -> Any:  # noqa: ANN401
    module = dali()
    mean = module.fn.reductions.mean(_grey(video), axis_names="HW", keep_dims=True)
    return _away_from(module.math.floor(mean + 0.5), video, given)


def _sharpness(video: Any, given: Inputs) -> Any:  # noqa: ANN401
    kernel = np.array(_BLUR, dtype=np.float32) / np.sum(_BLUR)
    return _away_from(dali().fn.filter(video, dali().types.Constant(kernel, device=given.device)), video, given)


def _grey(video: Any) -> Any:  # noqa: ANN401
    types = dali().types
    return dali().fn.color_space_conversion(video, image_type=types.RGB, output_type=types.GRAY)


def _away_from(base: Any, video: Any, given: Inputs) -> Any:  # noqa: ANN401
    return _cut(video * given.value_there + base * (1.0 - given.value_there))


def _cut(levels: Any) -> Any:  # noqa: ANN401
    """Return levels as bytes, rounded down as Pillow does; the cast rounds to the nearest and keeps to 0 and 255."""
    return dali().fn.cast(levels - _ROUNDED_DOWN, dtype=dali().types.UINT8)


_OPERATIONS: Final[dict[Kind, Callable[[Any, Inputs], Any]]] = {
    "identity": _identity,
    "warp": _warp,
    "auto_contrast": _auto_contrast,
    "equalize": _equalize,
    "invert": _invert,
    "posterize": _posterize,
    "solarize": _solarize,
    "solarize_add": _solarize_add,
    "brightness": _brightness,
    "colour": _colour,
    "contrast": _contrast,
    "sharpness": _sharpness,
}
