"""Runs the DALI graph for rows that the host has cut and resized: mirror and normalise."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from pipelines.colours import ColourScale
from pipelines.dali import FittedInput, exact_device
from pipelines.dali_module import dali
from pipelines.faults import Fault, fault_of, reason_of

# G clips that are given, R rows of each, T frames of H rows and W columns, 3 colours (RGB).

_WHITE: Final = 255.0
_MOST_THREADS: Final = 8


class RowAugmenter:
    """Mirrors and normalises rows on the device; holds no state. Not for use by several threads at once.

    Args:
        batch_size: most rows of one run.
        colours: mean and deviation of red, green and blue in 0 to 1.
        device: ``cpu``, ``cuda`` (torch's current device in the thread that builds this object) or ``cuda:N``.
        mirrors: whether any row is mirrored.
        threads: of DALI's pool; by default one per core that this process may use, 8 at most.

    Raises:
        ValueError: the batch size is not positive, or the device is unknown or not there.
    """

    def __init__(
        self,
        batch_size: int,
        colours: ColourScale,
        *,
        device: str | torch.device = "cpu",
        mirrors: bool = True,
        threads: int | None = None,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; it must be at least 1")
        self._batch_size, self._colours, self._device = batch_size, colours, exact_device(device)
        self._threads = threads or min(_MOST_THREADS, len(os.sched_getaffinity(0)))
        self._mirrors = mirrors
        self._pipeline: Any = None

    def run(self, inputs: Sequence[FittedInput]) -> Float32[Tensor, "G*R 3 T H W"]:
        """Return ``(x / 255 - mean) / deviation`` of all rows, mirrored where their takes say so.

        The tensor stays valid after later runs. On the CPU it is DALI's own memory; on a GPU it is torch's, complete
        when this returns, and belongs to torch's current stream in the calling thread.

        Raises:
            MemoryError: the GPU's memory does not hold the run.
            RuntimeError: DALI failed for another reason, such as a GPU that is gone.
            ValueError: there are no rows, more than ``batch_size``, or of several sizes.
        """
        rows = [np.ascontiguousarray(row) for item in inputs for row in item.rows]
        mirrors = [np.array(take.mirror, dtype=np.int32) for item in inputs for take in item.takes]
        self._check(rows, mirrors)
        try:
            if self._pipeline is None:
                self._pipeline = self._build()
            (found,) = self._pipeline.run(video=rows, **({"mirror": mirrors} if self._mirrors else {}))
        except RuntimeError as error:
            if fault_of(str(error)) is not Fault.MEMORY:
                raise
            raise MemoryError(
                f"{self._device} ran out of memory over {len(rows)} rows; lower batch_size, size or prefetch_batches "
                f"({reason_of(str(error))})"
            ) from error
        video = from_dlpack(found.as_tensor())
        if self._device.type == "cpu":
            return video
        copy = video.clone()  # DALI reuses its memory in the order of its own streams
        torch.cuda.current_stream(self._device).synchronize()
        return copy

    def _check(self, rows: Sequence[np.ndarray], mirrors: Sequence[np.ndarray]) -> None:
        shapes = {row.shape for row in rows}
        if not 1 <= len(rows) <= self._batch_size or len(mirrors) != len(rows) or len(shapes) > 1:
            raise ValueError(
                f"{len(rows)} rows of sizes {sorted(shapes)} with {len(mirrors)} takes were given; 1 to "
                f"{self._batch_size} rows of one size are taken, each with its take"
            )
        if not self._mirrors and any(mirrors):
            raise ValueError("a row is to be mirrored, and this augmenter was built with mirrors=False")

    def _build(self) -> Any:  # noqa: ANN401 - DALI carries no types
        on_gpu = self._device.type == "cuda"
        define = dali().pipeline_def(_define)
        pipeline = define(
            self._colours,
            on_gpu=on_gpu,
            mirrors=self._mirrors,
            batch_size=self._batch_size,
            num_threads=self._threads,
            device_id=self._device.index if on_gpu else None,
            exec_dynamic=True,
            prefetch_queue_depth=1,
        )
        pipeline.build()
        return pipeline


def _define(colours: ColourScale, *, on_gpu: bool, mirrors: bool) -> Any:  # noqa: ANN401 - the same
    """Define the graph: ``video`` is uint8 [3, T, H, W], frames as depth, for DALI mirrors no other layout of these."""
    fn, types = dali().fn, dali().types
    video = fn.external_source(name="video", dtype=types.UINT8, ndim=4, layout="CDHW", no_copy=True)
    video = video.gpu() if on_gpu else video
    if mirrors:
        mirror = fn.external_source(name="mirror", dtype=types.INT32, ndim=0, no_copy=True)
        video = fn.flip(video, horizontal=mirror)
    return fn.normalize(
        video,
        axes=[1, 2, 3],
        mean=_levels(colours.mean),
        stddev=_levels(colours.std),
        dtype=types.FLOAT,
    )


def _levels(values: Sequence[float]) -> np.ndarray:
    return (_WHITE * np.array(values, dtype=np.float64)).astype(np.float32).reshape(3, 1, 1, 1)
