"""Runs the DALI graph for clips that differ in length and size: each row comes out in a shape of its own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import torch
from jaxtyping import Float32
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from pipelines.colours import ColourScale
from pipelines.dali import EncodedInput, FrameInput, exact_device, feeds_of, named_error
from pipelines.dali_graph import GraphConfig, Source, build_pipeline
from pipelines.sampling import Resample

# G clips that are given, R rows of each; of each clip T frames, and H rows and W columns of its rows' pictures.

_MOST_THREADS: Final = 8


class RaggedAugmenter:
    """Turns clips into normalised rows, one run for all; holds no state. Not for use by several threads at once.

    Takes say the size of each row (``Take.size``); a row has as many frames as its clip was given with.

    Args:
        batch_size: most clips of one run.
        source: ``frames`` (``FrameInput``) or ``encoded`` (``EncodedInput``).
        rows: rows made of a clip.
        layers: operations that change a row's pictures before its region is taken.
        colours: what pixels are normalised with.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        resample: the filter of the resize.
    """

    def __init__(
        self,
        batch_size: int,
        source: Source,
        *,
        rows: int,
        layers: int,
        colours: ColourScale,
        device: str | torch.device = "cpu",
        resample: Resample = "bilinear",
    ) -> None:
        self._batch_size, self._source, self._device = batch_size, source, exact_device(device)
        graph = GraphConfig(source, self._device.type == "cuda", 1, 1, 1, rows, colours.mean, colours.std, layers)
        self._graph = replace(graph, own_sizes=True, resample=resample)
        self._pipeline: Any = None

    def run(self, inputs: Sequence[FrameInput | EncodedInput]) -> list[list[Float32[Tensor, "3 T H W"]]]:
        """Return the rows of each clip, in memory of their own; on a GPU they are complete when this returns.

        Raises:
            DaliDecodeError: an encoded clip cannot be decoded; this object can be used afterwards.
            MemoryError: the GPU's memory does not hold the run.
            RuntimeError: DALI failed for another reason than a clip.
        """
        try:
            if self._pipeline is None:
                self._pipeline = self._build()
            rows = self._pipeline.run(**feeds_of(inputs))
        except RuntimeError as error:
            found = named_error(error, self._device, len(inputs), self._source)
            if found is error:
                raise
            raise found from error
        # Each is copied out, for DALI's memory holds the rows of all clips and is used again.
        made = [[from_dlpack(row[clip]).clone() for row in rows] for clip in range(len(inputs))]
        if self._device.type == "cuda":
            torch.cuda.current_stream(self._device).synchronize()
        return made

    def _build(self) -> Any:  # noqa: ANN401 - DALI carries no types
        return build_pipeline(
            self._graph,
            batch_size=self._batch_size,
            num_threads=min(_MOST_THREADS, len(os.sched_getaffinity(0))),
            device_id=self._device.index if self._graph.on_gpu else None,
        )
