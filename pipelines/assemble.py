"""From samples to a batch: one DALI run, broken samples as empty slots, and a second try where DALI cannot decode."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import torch

from pipelines.batch import VideoTextBatch
from pipelines.dali import DaliDecodeError, EncodedInput, FittedInput, FrameInput, exact_device
from pipelines.drops import Drop, Failure, attempt
from pipelines.forms import Form, Kind, Part, SquareForm
from pipelines.meter import StageMeter
from pipelines.packed_batch import PackedBatch
from pipelines.packed_form import PackedForm
from pipelines.samples import Sample, SampleMaker
from pipelines.settings import LoaderConfig
from pipelines.tokenizer import TextTokenizer

_DECODED: Final[tuple[Kind, ...]] = (FittedInput, FrameInput)
"""What samples are that were decoded on the host."""


@dataclass(frozen=True, slots=True, eq=False)
class Delivery:
    """What reaches the consumer for one step: a batch and what became of its samples, or why the run ends.

    ``number`` is the batch's number, from 0.
    """

    number: int
    batch: VideoTextBatch | PackedBatch | None = None
    outcomes: Sequence[Drop | None] = ()
    failure: Failure | None = None


class BatchMaker:
    """Makes batches of samples, in one thread.

    On a GPU it works on a stream of its own, so that it does not wait for what the consumer has the GPU do. A batch is
    complete when it is delivered; the stream that reads it must be made known (``VideoTextBatch.record_stream``).

    Args:
        config: the loader's settings.
        maker: decodes on the host what DALI refuses.
        meter: gets the time of each batch, and knows of it when it is ready.
        size: samples of a batch, at most.
        tokenizer: makes token ids of the captions; None makes none.
    """

    def __init__(
        self,
        config: LoaderConfig,
        maker: SampleMaker,
        meter: StageMeter,
        size: int,
        tokenizer: TextTokenizer | None = None,
    ) -> None:
        self._config, self._maker, self._meter, self._size = config, maker, meter, size
        self._tokenizer = tokenizer
        self._device = exact_device(config.device)
        self._stream = torch.cuda.Stream(self._device) if self._device.type == "cuda" else None  # type: ignore[no-untyped-call] # torch
        self._refusals = maker.refusals
        self._forms: dict[tuple[int, int], Form[Any]] = {}

    def make(self, samples: list[Sample]) -> Delivery:
        """Return the batch of some samples; what ends the run comes as a value, in its turn."""
        number = samples[0].slot.position // self._config.batch_size
        ending = next((s.failure for s in samples if s.failure is not None and s.failure.ends_run), None)
        made: Delivery | Failure
        if ending is not None:
            made = ending
        else:
            with self._own_stream():
                made = attempt(partial(self._make, number, samples))
        self._meter.change_ready(1)
        return Delivery(number, failure=made) if isinstance(made, Failure) else made

    def _own_stream(self) -> AbstractContextManager[object]:
        return nullcontext() if self._stream is None else torch.cuda.stream(self._stream)

    def _make(self, number: int, samples: list[Sample]) -> Delivery:
        parts, samples = self._dali_decoded(samples)
        parts += [self._run(kind, chosen, samples) for kind in _DECODED if (chosen := _of_kind(kind, samples))]
        outcomes = [s.drop for s in samples]
        with self._meter.stage("copy"):
            batch = self._form(samples).batch(parts, samples)
            if self._stream is not None:
                self._stream.synchronize()
        return Delivery(number, batch, outcomes)

    def _dali_decoded(self, samples: list[Sample]) -> tuple[list[Part[Any]], list[Sample]]:
        """Let DALI decode what it was left; what it refuses is decoded on the host, or fails there with its reason."""
        encoded = _of_kind(EncodedInput, samples)
        parts = self._bisect(samples, encoded)
        made = {place for part in parts for place in part.places}
        again = {n: self._second_try(samples[n]) for n in encoded if n not in made}
        return parts, [again.get(n, sample) for n, sample in enumerate(samples)]

    def _bisect(self, samples: list[Sample], chosen: list[int]) -> list[Part[Any]]:
        """Run DALI on the chosen samples; one that it cannot decode fails all, so halve until the guilty stand alone.

        Alone or not, a sample that DALI can decode is decoded by it: its pixels do not depend on its neighbours. What
        was refused before, here or in an earlier batch, is left out at once.
        """
        chosen = [n for n in chosen if not self._is_refused(samples[n])]
        if not chosen:
            return []
        try:
            part = self._run(EncodedInput, chosen, samples)
        except DaliDecodeError as error:
            if len(chosen) == 1:
                sample = samples[chosen[0]]
                assert sample.record is not None, "a sample left to DALI has its record"
                self._refusals.note(sample.slot.sample_id, sample.shard, sample.record, error.reason)
                return []
        else:
            self._refusals.note_decoded()
            return [part]
        middle = len(chosen) // 2
        return self._bisect(samples, chosen[:middle]) + self._bisect(samples, chosen[middle:])

    def _is_refused(self, sample: Sample) -> bool:
        assert sample.record is not None, "a sample left to DALI has its record"
        return self._refusals.cover(sample.slot.sample_id, sample.record.media)

    def _second_try(self, sample: Sample) -> Sample:
        assert sample.encoded is not None, "a sample left to DALI has its clip"
        pixels = attempt(partial(self._maker.decode, sample.slot, sample.encoded))
        if isinstance(pixels, Failure):
            return replace(sample, pixels=None, label=sample.label and 0, failure=pixels)
        return replace(sample, pixels=pixels)

    def _run(self, kind: Kind, places: list[int], samples: Sequence[Sample]) -> Part[Any]:
        with self._meter.stage("dali" if kind is EncodedInput else "augment"):
            return self._form(samples).run(kind, places, samples)

    def _form(self, samples: Sequence[Sample]) -> Form[Any]:
        """Return what makes batches of the samples' shape, which all samples of a batch have."""
        config = self._config.of_source(samples[0].slot.source)
        shape = (config.frames, config.size)
        if shape not in self._forms:
            form = SquareForm if config.packing is None else PackedForm
            self._forms[shape] = form(config, self._device, self._size, self._tokenizer)
        return self._forms[shape]


def _of_kind(kind: Kind, samples: Sequence[Sample]) -> list[int]:
    """Return the places of the samples whose pixels are of a kind."""
    return [n for n, sample in enumerate(samples) if sample.pixels and isinstance(sample.pixels.source, kind)]
