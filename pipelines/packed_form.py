"""The form of a packed batch: clips of all lengths and sizes through few DALI runs into a PackedBatch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float32
from torch import Tensor

from pipelines.columns import BatchColumns
from pipelines.dali import FittedInput, FrameInput
from pipelines.dali_graph import Source
from pipelines.dali_ragged import RaggedAugmenter
from pipelines.dali_rows import RowAugmenter
from pipelines.forms import Kind, Part
from pipelines.packed_batch import PackedBatch
from pipelines.samples import Sample
from pipelines.settings import COLOURS, LoaderConfig
from pipelines.tokenizer import TextTokenizer

# R rows of a clip, T frames of H rows and W columns, N cubes; they differ from clip to clip.

Rows = list[Float32[Tensor, "3 T H W"]]


class PackedForm:
    """Batches of clips that keep shapes of their own.

    Args:
        config: the settings of the batch's samples.
        device: where the video goes.
        size: samples of a batch, at most.
        tokenizer: makes token ids of the captions; None makes none.
    """

    def __init__(
        self, config: LoaderConfig, device: torch.device, size: int, tokenizer: TextTokenizer | None = None
    ) -> None:
        self._config, self._device, self._size, self._tokenizer = config, device, size, tokenizer
        self._augmenters: dict[Source, RaggedAugmenter] = {}
        self._fitted = RowAugmenter(max(1, size) * config.rows, COLOURS[config.colours], device=device)

    def run(self, kind: Kind, places: list[int], samples: Sequence[Sample]) -> Part[list[Rows]]:
        """Let DALI make the rows of some samples, which are all of one kind.

        Raises:
            DaliDecodeError, MemoryError, RuntimeError: see ``RaggedAugmenter.run``.
        """
        chosen = [pixels.source for place in places if (pixels := samples[place].pixels) is not None]
        if kind is FittedInput:
            return Part(places, self._normalised([source for source in chosen if isinstance(source, FittedInput)]))
        others = [source for source in chosen if not isinstance(source, FittedInput)]
        return Part(places, self._augmenter("frames" if kind is FrameInput else "encoded").run(others))

    def batch(self, parts: Sequence[Part[list[Rows]]], samples: Sequence[Sample]) -> PackedBatch:
        """Put the parts and the columns of all samples together; slots without a part are zeros."""
        made = {place: rows for part in parts for place, rows in zip(part.places, part.video, strict=True)}
        video = [row for place, sample in enumerate(samples) for row in made.get(place) or self._blank(sample)]
        columns = BatchColumns(self._config, samples)
        label, dataset = columns.label(), columns.dataset()
        masks = [masks for sample in samples for masks in sample.masks]
        spared = [masks.decoder for masks in masks if masks.decoder is not None]
        return PackedBatch(
            video=video,
            valid=columns.valid().to(self._device),
            frame_times=self._times(samples, video),
            keys=columns.texts("key"),
            captions=columns.captions(),
            sources=columns.texts("source"),
            tokens=None if self._tokenizer is None else columns.tokens(self._tokenizer),
            mask=_tensors([masks.encoder for masks in masks]),
            decoder_mask=_tensors(spared),
            label=None if label is None else label.to(self._device),
            dataset=None if dataset is None else dataset.to(self._device),
        )

    def _normalised(self, given: Sequence[FittedInput]) -> list[Rows]:
        """Return the rows of clips that were cut on the host, one run for each shape that occurs."""
        shapes: dict[tuple[int, ...], list[int]] = {}
        for number, one in enumerate(given):
            shapes.setdefault(one.rows.shape, []).append(number)
        found: dict[int, Rows] = {}
        for numbers in shapes.values():
            rows = self._fitted.run([given[number] for number in numbers])
            each = rows.reshape(len(numbers), -1, *rows.shape[1:])
            found |= {number: list(clip) for number, clip in zip(numbers, each, strict=True)}
        return [found[number] for number in range(len(given))]

    def _augmenter(self, source: Source) -> RaggedAugmenter:
        if source not in self._augmenters:
            config = self._config
            self._augmenters[source] = RaggedAugmenter(
                self._size,
                source,
                rows=config.rows,
                layers=0 if config.operations is None else config.operations.layers,
                colours=COLOURS[config.colours],
                device=self._device,
                resample=config.resample,
            )
        return self._augmenters[source]

    def _blank(self, sample: Sample) -> Rows:
        assert sample.shape is not None, "a packed sample has a shape"
        size = (3, sample.shape.frames, sample.shape.height, sample.shape.width)
        return [torch.zeros(size, device=self._device) for _ in range(self._config.rows)]

    def _times(self, samples: Sequence[Sample], video: Rows) -> list[Float32[Tensor, "T"]]:
        """Return when the frames of each row are shown, zeros where it cannot be used."""
        rows = self._config.rows
        found = []
        for number, clip in enumerate(video):
            pixels = samples[number // rows].pixels
            times = np.zeros(clip.shape[1], dtype=np.float32) if pixels is None else pixels.times.astype(np.float32)
            found.append(torch.from_numpy(times).to(self._device))
        return found


def _tensors(masks: Sequence[Bool[np.ndarray, "N"]]) -> list[Bool[Tensor, "N"]] | None:
    return [torch.from_numpy(mask) for mask in masks] or None
