"""From samples to a batch: one DALI run, broken samples as empty slots, and a second try where DALI cannot decode."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Float32
from torch import Tensor

from pipelines.batch import VideoTextBatch
from pipelines.columns import BatchColumns
from pipelines.dali import DaliAugmenter, DaliDecodeError, EncodedInput, FrameInput, exact_device
from pipelines.dali_graph import Source
from pipelines.drops import Drop, Failure, attempt
from pipelines.meter import StageMeter
from pipelines.samples import Sample, SampleMaker
from pipelines.settings import COLOURS, LoaderConfig
from pipelines.tokenizer import TextTokenizer

# B samples of a batch, G of them that are decoded already or by DALI, R rows of each, T frames, S pixels of a side,
# N cubes, L tokens.


@dataclass(frozen=True, slots=True, eq=False)
class Delivery:
    """What reaches the consumer for one step: a batch and what became of its samples, or why the run ends.

    ``number`` is the batch's number, from 0.
    """

    number: int
    batch: VideoTextBatch | None = None
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
        self._augmenters: dict[type, DaliAugmenter] = {}

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
        decoded = [n for n, s in enumerate(samples) if s.pixels and isinstance(s.pixels.source, FrameInput)]
        if decoded:
            parts.append(_Part(decoded, self._run(FrameInput, [samples[n] for n in decoded])))
        outcomes = [s.drop for s in samples]
        with self._meter.stage("copy"):
            batch = self._batch(samples, self._erased(samples, self._video(parts, len(samples))))
            if self._stream is not None:
                self._stream.synchronize()
        return Delivery(number, batch, outcomes)

    def _dali_decoded(self, samples: list[Sample]) -> tuple[list[_Part], list[Sample]]:
        """Let DALI decode what it was left; what it refuses is decoded on the host, or fails there with its reason."""
        encoded = [n for n, s in enumerate(samples) if s.pixels and isinstance(s.pixels.source, EncodedInput)]
        parts = self._bisect(samples, encoded)
        made = {place for part in parts for place in part.places}
        again = {n: self._second_try(samples[n]) for n in encoded if n not in made}
        return parts, [again.get(n, sample) for n, sample in enumerate(samples)]

    def _bisect(self, samples: list[Sample], chosen: list[int]) -> list[_Part]:
        """Run DALI on the chosen samples; one that it cannot decode fails all, so halve until the guilty stand alone.

        Alone or not, a sample that DALI can decode is decoded by it: its pixels do not depend on its neighbours. What
        was refused before, here or in an earlier batch, is left out at once.
        """
        chosen = [n for n in chosen if not self._is_refused(samples[n])]
        if not chosen:
            return []
        try:
            part = _Part(chosen, self._run(EncodedInput, [samples[n] for n in chosen]))
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

    def _run(self, kind: type[FrameInput | EncodedInput], samples: Sequence[Sample]) -> Float32[Tensor, "G*R 3 T S S"]:
        augmenter = self._augmenters.get(kind)
        if augmenter is None:
            config = self._config
            source: Source = "frames" if kind is FrameInput else "encoded"
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
            )
            self._augmenters[kind] = augmenter
        with self._meter.stage("augment" if kind is FrameInput else "dali"):
            return augmenter.run([s.pixels.source for s in samples if s.pixels is not None])

    def _video(self, parts: Sequence[_Part], size: int) -> Float32[Tensor, "B*R 3 T S S"]:
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

    def _batch(self, samples: Sequence[Sample], video: Float32[Tensor, "B*R 3 T S S"]) -> VideoTextBatch:
        columns = BatchColumns(self._config, samples)
        label, view = columns.label(), columns.view()
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
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """Clips that one DALI run made, and their places in the batch."""

    places: list[int]
    video: Float32[Tensor, "G*R 3 T S S"]
