"""The columns of a batch beside its video: from samples to rows, where several rows may be made of a sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int64
from torch import Tensor

from pipelines.draws import draw_caption
from pipelines.samples import Sample
from pipelines.settings import LoaderConfig
from pipelines.tokenizer import TextTokenizer

# B samples of a batch, R rows of each, T frames, N cubes, L tokens.


class BatchColumns:
    """Takes the columns of a batch from its samples; rows of a sample follow each other. All is on the CPU.

    Args:
        config: the loader's settings.
        samples: the batch; each has its record.
    """

    def __init__(self, config: LoaderConfig, samples: Sequence[Sample]) -> None:
        self._config, self._samples, self._rows = config, samples, config.rows

    def texts(self, name: Literal["key", "source"]) -> list[str]:
        """Return a text of each row's record."""
        records = [sample.record for sample in self._samples]
        assert all(records), "a sample without a record ends the run"
        return [getattr(record, name) for record in records for _ in range(self._rows)]

    def captions(self) -> list[str]:
        """Return each row's caption; rows of a clip share theirs."""
        return [self._caption(sample) for sample in self._samples for _ in range(self._rows)]

    def valid(self) -> Bool[Tensor, "B*R"]:
        """Return which rows can be used."""
        return self._each(torch.tensor([sample.pixels is not None for sample in self._samples], dtype=torch.bool))

    def frame_times(self) -> Float32[Tensor, "B*R T"]:
        """Return when the frames of each row are shown, in seconds from the first of the video."""
        windows = self._config.windows
        times = np.zeros((len(self._samples), windows, self._config.frames), dtype=np.float32)
        for place, sample in zip(times, self._samples, strict=True):
            if sample.pixels is not None:
                place[:] = sample.pixels.times.reshape(place.shape)
        return torch.from_numpy(times.repeat(self._rows // windows, axis=1)).flatten(0, 1)

    def tokens(self, tokenizer: TextTokenizer) -> Int64[Tensor, "B*R L"]:
        """Encode the captions, all in one call; a sample that cannot be used gets padding only."""
        ids = np.full((len(self._samples), tokenizer.context), tokenizer.padding_id, dtype=np.int64)
        captions = {n: self._caption(s) for n, s in enumerate(self._samples) if s.pixels is not None}
        ids[list(captions)] = tokenizer.encode_rows(list(captions.values())).ids
        return self._each(torch.from_numpy(ids))

    def mask(self) -> Bool[Tensor, "B*R N"] | None:
        """Return what is hidden of each row."""
        return _stacked([masks.encoder for sample in self._samples for masks in sample.masks])

    def decoder_mask(self) -> Bool[Tensor, "B*R N"] | None:
        """Return what of that the decoder does without."""
        each = [masks.decoder for sample in self._samples for masks in sample.masks]
        return _stacked([mask for mask in each if mask is not None])

    def label(self) -> Int64[Tensor, "B*R"] | None:
        """Return each row's class."""
        labels = [sample.label for sample in self._samples if sample.label is not None]
        return self._each(torch.tensor(labels, dtype=torch.int64)) if labels else None

    def view(self) -> Int64[Tensor, "B*R"] | None:
        """Return each row's number among the views of its video."""
        if self._config.views is None:
            return None
        return torch.arange(self._rows).repeat(len(self._samples))

    def dataset(self) -> Int64[Tensor, "B*R"] | None:
        """Return the number of each row's dataset, where there are several."""
        if len(self._config.sources) == 1:
            return None
        return self._each(torch.tensor([sample.slot.source for sample in self._samples], dtype=torch.int64))

    def _caption(self, sample: Sample) -> str:
        assert sample.record is not None, "a sample without a record ends the run"
        return draw_caption(self._config, sample.slot, sample.record)

    def _each(self, values: Tensor) -> Tensor:
        return values.repeat_interleave(self._rows, dim=0)


def _stacked(masks: Sequence[Bool[np.ndarray, "N"]]) -> Bool[Tensor, "R N"] | None:
    return torch.from_numpy(np.stack(masks)) if masks else None
