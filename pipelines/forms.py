"""The form of a batch: how samples of one shape go through DALI and into a VideoTextBatch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import torch
from jaxtyping import Float32
from torch import Tensor

from pipelines.batch import VideoTextBatch
from pipelines.columns import BatchColumns
from pipelines.dali import DaliAugmenter, EncodedInput, FittedInput, FrameInput
from pipelines.dali_graph import Source
from pipelines.dali_rows import RowAugmenter
from pipelines.packed_batch import PackedBatch
from pipelines.samples import Sample
from pipelines.settings import COLOURS, LoaderConfig
from pipelines.tokenizer import TextTokenizer

# B samples of a batch, G of them that one DALI run made, R rows of each, T frames, S pixels of a side.


Kind = type[FrameInput | FittedInput | EncodedInput]
"""What samples are that go through one DALI run: their pixels are all of one kind."""


Square = Float32[Tensor, "G*R 3 T S S"]
V = TypeVar("V")
"""What a form makes of clips: their rows as one tensor, or row by row."""


@dataclass(frozen=True, slots=True, eq=False)
class Part(Generic[V]):
    """Clips that one DALI run made, and their places in the batch."""

    places: list[int]
    video: V


class Form(Protocol[V]):
    """What makes batches of a kind: runs DALI on samples, and puts what it made together."""

    def run(self, kind: Kind, places: list[int], samples: Sequence[Sample]) -> Part[V]:
        """Let DALI make the rows of the samples at some places, which are all of one kind."""

    def batch(self, parts: Sequence[Part[V]], samples: Sequence[Sample]) -> VideoTextBatch | PackedBatch:
        """Put the parts and the columns of all samples together; slots without a part are zeros."""


class SquareForm:
    """Batches of clips of one number of frames and one size.

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
        self._augmenters: dict[Source, DaliAugmenter] = {}
        self._fitted: RowAugmenter | None = None

    def run(self, kind: Kind, places: list[int], samples: Sequence[Sample]) -> Part[Square]:
        """Let DALI make the rows of some samples, which are all of one kind.

        Raises:
            DaliDecodeError, MemoryError, RuntimeError: see ``DaliAugmenter.run``.
        """
        chosen = [pixels.source for place in places if (pixels := samples[place].pixels) is not None]
        fitted = [source for source in chosen if isinstance(source, FittedInput)]
        if kind is FittedInput:
            return Part(places, self._rows().run(fitted))
        others = [source for source in chosen if not isinstance(source, FittedInput)]
        return Part(places, self._augmenter("frames" if kind is FrameInput else "encoded").run(others))

    def batch(self, parts: Sequence[Part[Square]], samples: Sequence[Sample]) -> VideoTextBatch:
        """Put the parts and the columns of all samples together; slots without a part are zeros."""
        video = self._erased(samples, self._video(parts, len(samples)))
        columns = BatchColumns(self._config, samples)
        label, view, dataset = columns.label(), columns.view(), columns.dataset()
        return VideoTextBatch(
            video=video,
            valid=columns.valid().to(self._device),
            frame_times=columns.frame_times().to(self._device),
            keys=columns.texts("key"),
            captions=columns.captions(),
            sources=columns.texts("source"),
            tokens=None if self._tokenizer is None else columns.tokens(self._tokenizer),
            mask=columns.mask(),
            decoder_mask=columns.decoder_mask(),
            label=None if label is None else label.to(self._device),
            view=None if view is None else view.to(self._device),
            dataset=None if dataset is None else dataset.to(self._device),
        )

    def _rows(self) -> RowAugmenter:
        if self._fitted is None:
            config = self._config
            self._fitted = RowAugmenter(
                self._size * config.rows, COLOURS[config.colours], device=self._device, mirrors=config.flip > 0
            )
        return self._fitted

    def _augmenter(self, source: Source) -> DaliAugmenter:
        augmenter = self._augmenters.get(source)
        if augmenter is None:
            config = self._config
            augmenter = DaliAugmenter(
                self._size,
                config.frames,
                config.size,
                windows=config.windows,
                rows=config.rows,
                layers=0 if config.operations is None else config.operations.layers,
                device=self._device,
                mean=COLOURS[config.colours].mean,
                std=COLOURS[config.colours].std,
                source=source,
                resample=config.resample,
            )
            self._augmenters[source] = augmenter
        return augmenter

    def _video(self, parts: Sequence[Part[Square]], size: int) -> Float32[Tensor, "B*R 3 T S S"]:
        """Put the parts into their places; slots without a part are zeros."""
        if len(parts) == 1 and len(parts[0].places) == size:
            return parts[0].video
        config = self._config
        shape = (size, config.rows, 3, config.frames, config.size, config.size)
        video = torch.zeros(shape, dtype=torch.float32, device=self._device)
        for part in parts:
            video[torch.tensor(part.places, device=self._device)] = part.video.reshape(len(part.places), *shape[1:])
        return video.flatten(0, 1)

    def _erased(
        self, samples: Sequence[Sample], video: Float32[Tensor, "B*R 3 T S S"]
    ) -> Float32[Tensor, "B*R 3 T S S"]:
        """Put noise where it was drawn."""
        for place, sample in enumerate(samples):
            for row, take in enumerate(() if sample.pixels is None else sample.pixels.source.takes):
                if (found := take.erasure) is not None:
                    height, width = found.noise.shape[2:]
                    part = video[
                        place * self._config.rows + row, :, :, found.y : found.y + height, found.x : found.x + width
                    ]
                    part.copy_(torch.from_numpy(found.noise))
        return video
