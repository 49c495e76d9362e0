"""From a slot to a sample: fetch the clip, draw frames, crop, flip and mask, decode; a failure becomes a value."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from threading import Event
from typing import Final

import numpy as np
from jaxtyping import Bool, Float32, Int64

from pipelines import augment, clips
from pipelines.augment import Region, Stream, sample_rng
from pipelines.dali import EncodedInput, FrameInput
from pipelines.decode import counts_plainly, decode_frames, frame_times
from pipelines.drops import Drop, Failure, attempt
from pipelines.meter import StageMeter, StageReading
from pipelines.plan import Slot
from pipelines.refusals import Refusals
from pipelines.settings import LoaderConfig
from pipelines.stream import ClipSource
from shards.reader import EncodedClip
from shards.record import Media, Record

# T frames of a clip, N cubes of a clip.

_MASKS: Final = {
    "tube": augment.tube_mask,
    "random": augment.random_mask,
    "running_cell": augment.running_cell_mask,
}


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
class Pixels:
    """What DALI makes a clip's pixels from, and the times of its frames in seconds from the video's first."""

    source: FrameInput | EncodedInput
    times: Float32[np.ndarray, "T"]


@dataclass(frozen=True, slots=True, eq=False)
class Masks:
    """What is hidden of a clip, and what of that is kept from the decoder too; True is hidden."""

    encoder: Bool[np.ndarray, "N"]
    decoder: Bool[np.ndarray, "N"] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """A slot ready for a batch, with its masks; ``pixels`` is None where it cannot be used, and ``failure`` says why.

    ``encoded`` is the clip as it is stored, for a second try where DALI cannot decode it.
    """

    slot: Slot
    shard: str
    record: Record | None = None
    encoded: EncodedClip | None = None
    pixels: Pixels | None = None
    masks: Masks | None = None
    failure: Failure | None = None

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
        meter: gets the time of both steps and the bytes fetched.
        closing: once set, slots pass through undone.

    ``refusals`` is what DALI is known to refuse: such clips are decoded on the host.
    """

    def __init__(self, config: LoaderConfig, source: ClipSource, meter: StageMeter, closing: Event) -> None:
        self._config, self._source, self._meter, self._closing = config, source, meter, closing
        self.refusals = Refusals()

    def fetch(self, slot: Slot) -> Fetched:
        """Read a slot's clip."""
        shard = self._source.stem(slot)
        if self._closing.is_set():
            return Fetched(slot, shard, failure=Failure(LoaderClosedError("the loader was closed"), ends_run=True))
        with self._meter.stage("fetch"):
            clip = attempt(partial(self._source.fetch, slot))
        if not isinstance(clip, Failure):
            self._meter.add("fetch", StageReading(bytes=len(clip.payload)))
            return Fetched(slot, shard, clip.record, clip)
        if clip.ends_run:
            return Fetched(slot, shard, failure=clip)
        record = attempt(partial(self._source.record, slot))
        if isinstance(record, Failure):
            return Fetched(slot, shard, failure=Failure(record.error, ends_run=True))
        return Fetched(slot, shard, record, failure=clip)

    def fetch_and_prepare(self, slot: Slot) -> Sample:
        """Do both steps, where reading is too quick to deserve threads of its own."""
        return self.prepare(self.fetch(slot))

    def prepare(self, fetched: Fetched) -> Sample:
        """Make a sample of a fetched clip: decode its frames here, or leave that to DALI."""
        slot, record, encoded = fetched.slot, fetched.record, fetched.clip
        sample = Sample(
            slot, fetched.shard, record, encoded, masks=draw_masks(self._config, slot), failure=fetched.failure
        )
        if encoded is None or self._closing.is_set():
            return sample
        media = encoded.record.media
        for_dali = self._dali_reads(media) and not self.refusals.cover(slot.sample_id, media)
        work = self._leave_to_dali if for_dali else self.decode
        with self._meter.stage("decode"):
            pixels = attempt(partial(work, slot, encoded))
        return replace(sample, failure=pixels) if isinstance(pixels, Failure) else replace(sample, pixels=pixels)

    def decode(self, slot: Slot, clip: EncodedClip) -> Pixels:
        """Decode a clip's frames on the host.

        Raises:
            BrokenClipError: they cannot be had.
        """
        media = clip.record.media
        ids = draw_frames(self._config, slot, media.num_frames).tolist()
        decoded = decode_frames(clip.payload, ids, expected=media)
        height, width = decoded.frames.shape[1:3]
        region = draw_region(self._config, slot, width, height)
        return Pixels(FrameInput(decoded.frames, region, draw_flip(self._config, slot)), decoded.times)

    def _leave_to_dali(self, slot: Slot, clip: EncodedClip) -> Pixels:
        """Leave decoding to DALI, after a look at the packets: all there, and counted as DALI counts them."""
        if not counts_plainly(clip.payload):
            return self.decode(slot, clip)
        media = clip.record.media
        ids = draw_frames(self._config, slot, media.num_frames)
        times = frame_times(clip.payload, ids.tolist(), expected=media)
        region = draw_region(self._config, slot, media.width, media.height)
        return Pixels(EncodedInput(clip.payload, ids, region, draw_flip(self._config, slot)), times)

    def _dali_reads(self, media: Media) -> bool:
        """Tell whether DALI shall decode a clip: it knows the codec, and no player would turn the picture."""
        config = self._config
        on_gpu = config.device != "cpu"
        if config.decoder == "host" or (config.decoder == "auto" and not on_gpu) or media.rotation:
            return False
        return media.decodable.nvdec if on_gpu else media.decodable.dali_cpu


def draw_frames(config: LoaderConfig, slot: Slot, num_frames: int) -> Int64[np.ndarray, "T"]:
    """Return which frames of a clip of ``num_frames`` a slot takes."""
    rng = _rng(config, slot, Stream.FRAMES)
    match config.sampling:
        case "dense":
            return clips.dense_frames(num_frames, config.frames, config.stride, rng)
        case "center":
            return clips.centred_frames(num_frames, config.frames, config.stride)
        case "segment":
            return clips.segment_frames(num_frames, config.frames, rng)
        case "segment_center":
            return clips.segment_views(num_frames, config.frames, 1).reshape(-1)
        case "bin":
            return clips.stretch(clips.bin_frames(num_frames, config.frames, rng), config.frames)
        case "bin_center":
            return clips.stretch(clips.bin_frames(num_frames, config.frames, None), config.frames)


def draw_region(config: LoaderConfig, slot: Slot, width: int, height: int) -> Region:
    """Return which part of the upright picture a slot takes, in pixels."""
    if config.crop == "center":
        return augment.centre_crop(width, height)
    return augment.multiscale_crop(width, height, config.size, _rng(config, slot, Stream.CROP))


def draw_flip(config: LoaderConfig, slot: Slot) -> bool:
    """Return whether a slot's clip is mirrored."""
    return augment.flip(_rng(config, slot, Stream.FLIP), config.flip)


def draw_masks(config: LoaderConfig, slot: Slot) -> Masks | None:
    """Return a slot's masks, or None without masked modelling."""
    if config.mask is None:
        return None
    settings, grid = config.mask, config.mask.grid(config.frames, config.size)
    mask = _MASKS[settings.kind](grid, settings.ratio, _rng(config, slot, Stream.MASK))
    if not settings.decoder_ratio:
        return Masks(mask)
    rng = _rng(config, slot, Stream.DECODER_MASK)
    if settings.decoder_kind == "random":
        return Masks(mask, augment.random_decoder_mask(mask, settings.decoder_ratio, rng))
    return Masks(mask, augment.running_cell_decoder_mask(mask, grid, settings.decoder_ratio, rng))


def _rng(config: LoaderConfig, slot: Slot, stream: Stream) -> np.random.Generator:
    return sample_rng(config.seed, slot.epoch, slot.sample_id, stream)
