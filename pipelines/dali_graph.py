"""The DALI graph: a head that takes frames or decodes, then for each row operations, resize, mirror, normalise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

from pipelines.dali_module import dali
from pipelines.dali_operations import Inputs, operate
from pipelines.sampling import Resample

Source = Literal["frames", "encoded"]

_WHITE: Final = 255.0


@dataclass(frozen=True, slots=True)
class GraphConfig:
    """What the graph depends on.

    ``source`` and ``on_gpu`` choose the head. A clip is ``windows`` pieces of ``frames`` frames; ``rows`` rows of
    ``size`` pixels square are made of it, as many of each window. ``layers`` operations of RandAugment come before.
    ``resample`` is the filter. With ``own_sizes`` each row comes with its size, and clips may have any number of
    frames.

    Raises:
        ValueError: the rows do not divide among the windows.
    """

    source: Source
    on_gpu: bool
    frames: int
    size: int
    windows: int
    rows: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    layers: int = 0
    own_sizes: bool = False
    resample: Resample = "bilinear"

    def __post_init__(self) -> None:
        if min(self.windows, self.rows) < 1 or self.rows % self.windows:
            raise ValueError(f"{self.rows} rows do not divide among {self.windows} windows")

    def window(self, row: int) -> slice:
        """Return which frames of a clip make a row."""
        number = row * self.windows // self.rows
        return slice(number * self.frames, (number + 1) * self.frames)


def row_input(name: str, *numbers: int) -> str:
    """Return what the graph calls an input of a row, or of a row's layer."""
    return "_".join([name, *map(str, numbers)])


def build_pipeline(config: GraphConfig, **machinery: Any) -> Any:  # noqa: ANN401 - DALI carries no types
    """Build the pipeline of the graph.

    Args:
        config: the graph.
        machinery: batch size, threads and device, as DALI's ``Pipeline`` takes them.
    """
    define = dali().pipeline_def(define_graph, enable_conditionals=config.layers > 0)
    pipeline = define(config, exec_dynamic=True, prefetch_queue_depth=1, **machinery)
    pipeline.build()
    return pipeline


def define_graph(config: GraphConfig) -> tuple[Any, ...]:
    """Define the graph: head by source and device, then for each row region, resize and normalise, the same for all.

    Inputs by name: ``video`` (uint8 [K*T, H, W, 3]) or ``encoded`` (uint8 bytes) with ``frames`` (int32 [K*T]); for
    each row ``roi_start_N`` and ``roi_end_N`` (float32 [y, x] in pixels), the x swapped to mirror; for each layer of a
    row ``kind_N_M`` (int32), ``value_N_M`` (float32) and ``matrix_N_M`` (float32 [2, 3]); where rows have sizes of
    their own ``size_N`` (float32 [height, width]). The resize is bilinear or bicubic, with a
    filter as wide as the step between pixels where it shrinks. The results are one a row: ``(x / 255 - mean) / std``,
    float32 [3, T, size, size].
    """
    video = _decoded(on_gpu=config.on_gpu) if config.source == "encoded" else _given_frames(on_gpu=config.on_gpu)
    return tuple([_row(config, video, row) for row in range(config.rows)])


def _row(config: GraphConfig, video: Any, row: int) -> Any:  # noqa: ANN401 - nodes of DALI's graph
    fn, types = dali().fn, dali().types
    piece = video if config.windows == 1 else video[config.window(row)]
    for layer in range(config.layers):
        piece = operate(piece, _drawn(row, layer, on_gpu=config.on_gpu))
    resized = fn.resize(
        piece,
        size=_given(row_input("size", row), types.FLOAT, 1) if config.own_sizes else [config.size] * 2,
        roi_start=_given(row_input("roi_start", row), types.FLOAT, 1),
        roi_end=_given(row_input("roi_end", row), types.FLOAT, 1),
        interp_type=types.INTERP_CUBIC if config.resample == "bicubic" else types.INTERP_LINEAR,
        antialias=True,
        dtype=types.FLOAT,
    )
    return fn.crop_mirror_normalize(
        resized,
        mean=[_WHITE * value for value in config.mean],
        std=[_WHITE * value for value in config.std],
        output_layout="CFHW",
        dtype=types.FLOAT,
    )


def _drawn(row: int, layer: int, *, on_gpu: bool) -> Inputs:
    types = dali().types
    value = _given(row_input("value", row, layer), types.FLOAT, 0)
    return Inputs(
        kind=_given(row_input("kind", row, layer), types.INT32, 0),
        value=value,
        value_there=value.gpu() if on_gpu else value,
        matrix=_given(row_input("matrix", row, layer), types.FLOAT, 2),
        device="gpu" if on_gpu else "cpu",
    )


def _decoded(*, on_gpu: bool) -> Any:  # noqa: ANN401 - the same
    types = dali().types
    return dali().fn.decoders.video(
        _given("encoded", types.UINT8, 1),
        frames=_given("frames", types.INT32, 1),
        device="mixed" if on_gpu else "cpu",
        pad_mode="none",  # a frame beyond the end is an error, not a black picture
        affine=False,  # ranks of one machine would pin their threads to the same cores
    )


def _given_frames(*, on_gpu: bool) -> Any:  # noqa: ANN401 - the same
    video = _given("video", dali().types.UINT8, 4, layout="FHWC")
    return video.gpu() if on_gpu else video


def _given(name: str, dtype: Any, ndim: int, **layout: str) -> Any:  # noqa: ANN401 - the same
    return dali().fn.external_source(name=name, dtype=dtype, ndim=ndim, no_copy=True, **layout)
