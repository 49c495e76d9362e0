"""From a slot to a sample: fetch the clip, draw frames, crop, flip and mask, decode; a failure becomes a value."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from threading import Event

from pipelines.draws import Masks, draw_masks
from pipelines.drops import Drop, Failure, attempt
from pipelines.labels import Labels
from pipelines.meter import StageMeter
from pipelines.packed_shapes import ClipShape, clip_shape, of_length
from pipelines.pixels import PixelMaker, Pixels
from pipelines.plan import Slot
from pipelines.refusals import Refusals
from pipelines.settings import LoaderConfig
from pipelines.sources import ClipStream
from shards.reader import EncodedClip
from shards.record import Record


class LoaderClosedError(RuntimeError):
    """The loader was closed while the sample was on its way."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A slot with its encoded clip, or with the reason why there is none; the record is kept where it could be read."""

    slot: Slot
    shard: str
    record: Record | None = None
    clip: EncodedClip | None = None
    failure: Failure | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """A slot ready for a batch; ``pixels`` is None where it cannot be used, and ``failure`` says why.

    ``masks`` are those of its rows, none without masked modelling. ``label`` is its class, 0 where it cannot be used,
    None without classes. ``encoded`` is the clip as it is stored, for a second try where DALI cannot decode it.
    ``shape`` is that of its rows, where clips are packed.
    """

    slot: Slot
    shard: str
    record: Record | None = None
    encoded: EncodedClip | None = None
    pixels: Pixels | None = None
    masks: tuple[Masks, ...] = ()
    label: int | None = None
    failure: Failure | None = None
    shape: ClipShape | None = None

    @property
    def drop(self) -> Drop | None:
        """The sample's name and why it is dropped, or None where it can be used."""
        if self.failure is None:
            return None
        key = "" if self.record is None else self.record.key
        kind = type(self.failure.error).__name__
        return Drop(self.slot.position, self.slot.epoch, self.shard, key, kind, str(self.failure.error))


class SampleMaker:
    """The two steps of a sample, each safe in any thread and free of exceptions.

    Args:
        config: the loader's settings.
        source: where clips come from.
        meter: gets the time of decoding.
        closing: once set, slots pass through undone.
        labels: gives clips their classes; None gives none.

    ``refusals`` is what DALI is known to refuse: such clips are decoded on the host.
    """

    def __init__(
        self,
        config: LoaderConfig,
        source: ClipStream,
        meter: StageMeter,
        closing: Event,
        labels: Labels | None = None,
    ) -> None:
        self._source, self._closing = source, closing
        self._configs = [config.of_source(source) for source in range(len(config.sources))]
        self._labels = labels
        self.refusals = Refusals()
        self._pixels = PixelMaker(meter, self.refusals)

    def fetch(self, slot: Slot) -> Fetched:
        """Read a slot's clip."""
        shard = self._source.stem(slot)
        if self._closing.is_set():
            return Fetched(slot, shard, failure=Failure(LoaderClosedError("the loader was closed"), ends_run=True))
        if slot.padding:
            return self._padding(slot, shard)
        clip = attempt(partial(self._source.fetch, slot))
        if not isinstance(clip, Failure):
            return Fetched(slot, shard, clip.record, clip)
        if clip.ends_run:
            return Fetched(slot, shard, failure=clip)
        record = attempt(partial(self._source.record, slot))
        if isinstance(record, Failure):
            return Fetched(slot, shard, failure=Failure(record.error, ends_run=True))
        return Fetched(slot, shard, record, failure=clip)

    def _padding(self, slot: Slot, shard: str) -> Fetched:
        """Return a slot that only fills its batch: with its record, and without a clip or a failure."""
        record = attempt(partial(self._source.record, slot))
        if isinstance(record, Failure):
            return Fetched(slot, shard, failure=Failure(record.error, ends_run=True))
        return Fetched(slot, shard, record)

    def fetch_and_prepare(self, slot: Slot) -> Sample:
        """Do both steps, where reading is too quick to deserve threads of its own."""
        return self.prepare(self.fetch(slot))

    def prepare(self, fetched: Fetched) -> Sample:
        """Make a sample of a fetched clip: decode its frames here, or leave that to DALI."""
        slot, record, encoded = fetched.slot, fetched.record, fetched.clip
        shape = None if record is None else clip_shape(self._configs[slot.source], record.media)
        sample = Sample(
            slot,
            fetched.shard,
            record,
            encoded,
            masks=self._masks(slot, shape),
            label=None if self._labels is None else 0,
            failure=fetched.failure,
            shape=shape,
        )
        if encoded is None or self._closing.is_set():
            return sample
        label = attempt(partial(self._label, encoded.record))
        if isinstance(label, Failure):
            return replace(sample, failure=label)
        pixels = attempt(partial(self._pixels.make, self._told(slot, shape), slot, encoded, shape))
        if isinstance(pixels, Failure):
            return replace(sample, failure=pixels)
        return replace(sample, pixels=pixels, label=label)

    def _told(self, slot: Slot, shape: ClipShape | None) -> LoaderConfig:
        config = self._configs[slot.source]
        return config if shape is None else of_length(config, shape.frames)

    def _masks(self, slot: Slot, shape: ClipShape | None) -> tuple[Masks, ...]:
        config = self._configs[slot.source]
        grid = None if shape is None or config.packing is None else shape.grid(config.packing)
        drawn = (draw_masks(config, slot, row, grid) for row in range(config.rows))
        return tuple(masks for masks in drawn if masks is not None)

    def _label(self, record: Record) -> int | None:
        return None if self._labels is None else self._labels.of(record)

    def decode(self, slot: Slot, clip: EncodedClip) -> Pixels:
        """Decode a clip's frames on the host.

        Raises:
            BrokenClipError: they cannot be had.
        """
        shape = clip_shape(self._configs[slot.source], clip.record.media)
        return self._pixels.decode(self._told(slot, shape), slot, clip, shape)
