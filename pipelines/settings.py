"""What a loader is told: the dataset, the order, how a clip becomes a sample, and the machinery."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from itertools import chain, count
from pathlib import Path
from typing import Any, Final, Literal, get_args

from pipelines.buckets import BucketConfig, in_buckets
from pipelines.colours import COLOURS, Colours, ColourScale
from pipelines.drops import DropBudget
from pipelines.outages import OUTAGE_SECONDS
from pipelines.packing import PackConfig
from pipelines.part_settings import (
    LabelConfig,
    MaskConfig,
    TokenConfig,
    ViewConfig,
    require_choice,
    require_positive,
    require_share,
)
from pipelines.plan import MOST_SOURCES, OrderConfig
from pipelines.randaugment import RandAugment, parse_randaugment
from pipelines.sampling import MIDDLE, WITHOUT_VIEWS, Resample, Sampling, VariableRate, goes_by_rate
from pipelines.source_config import SourceConfig
from pipelines.split import SplitConfig
from pipelines.stream import CacheConfig

__all__ = [
    "COLOURS",
    "BucketConfig",
    "ColourScale",
    "Colours",
    "LabelConfig",
    "LoaderConfig",
    "MaskConfig",
    "PackConfig",
    "SourceConfig",
    "SplitConfig",
    "TokenConfig",
    "ViewConfig",
]

Crop = Literal["multiscale", "random_resized", "squash", "short", "center", "squash_center", "short_center"]
DecoderChoice = Literal["auto", "host", "dali"]
CaptionChoice = Literal["any", "first"]
MixBy = Literal["sample", "batch"]
LastBatch = Literal["short", "padded", "dropped"]

_MOST_RATE: Final = 1000.0
_DEVICE: Final = re.compile(r"cpu|cuda(:\d+)?")
_COUNTS: Final = ("frames", "stride", "size", "repeats", "clips", "prefetch_batches")
_SHAPING: Final = ("frames", "stride", "size", "sampling", "crop", "flip")
_LATER: Final = {
    "colours": "imagenet",
    "crop_scale": (0.08, 1.0),
    "crop_ratio": (0.75, 1.3333),
    "repeats": 1,
    "randaugment": None,
    "erasing": 0.0,
    "captions": "any",
    "rate": 2.0,
    "variable_rate": "time",
    "clips": 1,
    "resample": "bilinear",
    "packing": None,
}
"""Settings that earlier versions had not, with the values that do what these did."""

_MIDDLE_CROP: Final[dict[Crop, Crop]] = {
    "multiscale": "center",
    "random_resized": "center",
    "squash": "squash_center",
    "short": "short_center",
}


@dataclass(frozen=True, slots=True)
class LoaderConfig:
    """Everything that ``build_loader`` needs.

    The dataset: ``source`` is its folder or URL, or several are mixed (``SourceConfig``), sample by sample or batch by
    batch as ``mix_by`` says: one of several shapes only so. The order (see ``pipelines.plan`` and ``pipelines.mix``):
    ``batch_size`` over all ranks, ``seed``, ``lanes`` (for training on many machines, at least as many as machines, so
    that each fetches its own shards only), ``window`` in shards; ``whole_batches`` has no batch shared by two epochs.
    ``last_batch`` is for ``evaluation_loader``: where the samples do not divide, the last batch is "short", "padded"
    with rows that are not valid, or "dropped".

    A sample: ``frames`` frames (1: a picture), chosen as ``sampling`` says; the part of them that ``crop`` says,
    resized to ``size`` pixels square; mirrored with probability ``flip``; normalised by the mean and deviation of
    ``COLOURS[colours]``; ``mask`` for masked modelling, else None; ``tokens`` for the captions' token ids, else None;
    ``label`` for classes, else None. Of several captions of a clip one is drawn in each epoch ("any"), or it is always
    the "first" (``captions``). Of the frames of a clip ``repeats`` rows are made, each with its own crop, flip
    and mask, of each of ``clips`` pieces of the video: a batch has ``batch_size * clips * repeats`` rows, those of a
    piece one after the other. ``views`` are for ``evaluation_loader``, which makes so many rows of a clip.

    The sampling: ``stride`` frames apart, from a random place ("dense"); spread over ``frames * stride`` frames with
    both ends, from a random place ("span", as VideoMAE fine-tunes) or the middle ("center"); or spread over the whole
    video, whatever ``stride`` is: a random frame of each of ``frames`` touching segments ("segment", as UniFormerV2
    trains) or the middle one ("segment_center"), a random frame of each of ``frames`` bins that share none ("bin", as
    InternVideo's video-text training) or the middle one ("bin_center"), the first, the last and frames evenly between
    ("even"). By time, whatever a video's frame rate is: ``rate`` frames a second from a random place ("fps") or the
    middle ("fps_center"), or those of the whole video, thinned out evenly where they are too many ("fps_even"). A video
    of too few frames repeats some. Where a video's frame rate varies, the others go by time, too, as if it were steady
    (``variable_rate="time"``), or by frames as they come ("frames").

    The crop: one of the sizes and places of VideoMAE's pretraining ("multiscale"); a part of the picture's area within
    ``crop_scale`` and of a width over height within ``crop_ratio``, which is then not kept ("random_resized"); a
    random ``size`` square of the whole picture resized to 256/224 of ``size`` square ("squash", as InternVideo's
    video-text training) or its middle ("squash_center"); the same of the picture with its shorter side resized to
    that ("short", "short_center"); the middle square of the picture ("center"). It is resized with a "bilinear" or a
    "bicubic" filter (``resample``), antialiased.

    Unequal clips: with ``packing`` clips keep their own length, size and aspect, under a budget of tokens: batches are
    then ``PackedBatch``, which ``build_packed_loader`` gives; ``crop`` is not looked at. ``buckets`` sort the clips of
    each dataset by conditions into batches of their own frames and size (``mix_by="batch"``). Evaluation does
    without both.

    Other changes, the same for all frames: ``randaugment``, a policy such as "rand-m7-n4-mstd0.5-inc1" (see
    ``pipelines.randaugment``), before the crop; ``erasing``, the probability that a rectangle of the row becomes noise.

    The machinery, which changes no sample: ``decoder`` is "host" (PyAV), "dali" (DALI where it can read the clip's
    codec on ``device``, else PyAV) or "auto" (host on the CPU, DALI on a GPU). The two may differ in the last bits of a
    pixel, and a GPU's decoder does not see damage inside a picture's slices: it conceals it, where the host drops the
    clip; take "host" where that matters. ``workers`` decoding threads; ``prefetch_batches`` finished batches kept
    ready; ``cache_dir`` and ``cache_bytes`` for copies of remote shards (no folder or no bytes: no copies, clips come
    through memory); ``outage_seconds`` that a remote store may be out of reach before the run ends; ``rank`` of
    ``world``; ``device``, which is "cpu", "cuda" (torch's current device in the thread that asks for the first batch)
    or "cuda:N"; ``drop_log``, a local file that names dropped samples; ``drops``, how many may be dropped.

    Raises:
        ValueError: a value is out of range or does not fit another; the message names the fields.
    """

    source: str | tuple[SourceConfig, ...]
    batch_size: int
    seed: int = 0
    lanes: int = 8
    window: int = 4
    frames: int = 16
    stride: int = 4
    size: int = 224
    sampling: Sampling = "dense"
    crop: Crop = "multiscale"
    crop_scale: tuple[float, float] = (0.08, 1.0)
    crop_ratio: tuple[float, float] = (0.75, 1.3333)
    flip: float = 0.0
    colours: Colours = "imagenet"
    randaugment: str | None = None
    erasing: float = 0.0
    mask: MaskConfig | None = None
    tokens: TokenConfig | None = None
    label: LabelConfig | None = None
    captions: CaptionChoice = "any"
    repeats: int = 1
    clips: int = 1
    rate: float = 2.0
    variable_rate: VariableRate = "time"
    resample: Resample = "bilinear"
    packing: PackConfig | None = None
    buckets: tuple[BucketConfig, ...] = ()
    views: ViewConfig | None = None
    decoder: DecoderChoice = "auto"
    workers: int = 2
    prefetch_batches: int = 2
    cache_dir: str | None = None
    cache_bytes: int = 64 << 30
    outage_seconds: float = OUTAGE_SECONDS
    rank: int = 0
    world: int = 1
    device: str = "cpu"
    drop_log: str | None = None
    drops: DropBudget = field(default_factory=DropBudget)
    mix_by: MixBy = "sample"
    whole_batches: bool = False
    last_batch: LastBatch = "short"

    def __post_init__(self) -> None:
        self._check_sources()
        self._check_sample()
        self._check_machinery()
        self._check_shapes()
        if not 0 <= self.rank < self.world <= self.order.batch_size:
            raise ValueError(
                f"rank {self.rank}, world {self.world}, batch_size {self.batch_size}: a rank counts from 0 within its "
                "world, and every rank needs a sample of each batch",
            )

    def _check_sources(self) -> None:
        told: object = self.source
        several = isinstance(told, tuple) and all(isinstance(each, SourceConfig) for each in told)
        if not several and not isinstance(told, str | Path):
            raise ValueError(f"source is {self.source!r}; give a folder, a URL, or a tuple of SourceConfig")
        require_choice("mix_by", self.mix_by, get_args(MixBy))
        require_choice("last_batch", self.last_batch, get_args(LastBatch))
        if not 1 <= len(self.sources) <= MOST_SOURCES:
            raise ValueError(f"source lists {len(self.sources)} datasets; 1 to {MOST_SOURCES} are taken")
        weightless = [one.source for one in self.sources if one.weight is None]
        if len(weightless) not in {0, len(self.sources)}:
            raise ValueError(f"{', '.join(weightless)} has no weight and others have: give one to each, or to none")
        shapes = {(one.frames or self.frames, one.size or self.size) for one in self.sources}
        if len(shapes) > 1 and self.mix_by == "sample":
            raise ValueError(
                f"datasets of {len(shapes)} shapes (frames and size) cannot share a batch; give mix_by='batch', which"
                " takes each batch from one of them",
            )
        if self.whole_batches and len(self.sources) > 1:
            raise ValueError(
                f"whole_batches was given with {len(self.sources)} datasets or buckets, whose epochs end at different"
                " places; it is for one: leave it out"
            )

    def _check_shapes(self) -> None:
        for one in self.sources:
            frames, size = one.frames or self.frames, one.size or self.size
            if self.packing is not None:
                self.packing.budget(frames, size)
            elif self.mask is not None:
                self.mask.grid(frames, size)
        if self.packing is None:
            return
        if self.mask is not None:
            self.packing.require_fit(self.mask)
        taken = {"views": self.views is not None, "clips": self.clips > 1, "erasing": self.erasing > 0}
        if any(taken.values()):
            names = ", ".join(name for name, is_taken in taken.items() if is_taken)
            raise ValueError(f"packing takes clips whole, one window of each and without erasing; leave out {names}")

    def _check_sample(self) -> None:
        for name in _COUNTS:
            require_positive(name, getattr(self, name))
        require_share("flip", self.flip)
        require_share("erasing", self.erasing)
        require_choice("sampling", self.sampling, get_args(Sampling))
        require_choice("crop", self.crop, get_args(Crop))
        require_choice("captions", self.captions, get_args(CaptionChoice))
        require_choice("colours", self.colours, get_args(Colours))
        require_choice("variable_rate", self.variable_rate, get_args(VariableRate))
        require_choice("resample", self.resample, get_args(Resample))
        if not 0 < self.rate <= _MOST_RATE:
            raise ValueError(f"rate is {self.rate}; it must be above 0 and at most {_MOST_RATE:g} frames a second")
        _require_range("crop_scale", self.crop_scale, 1.0)
        _require_range("crop_ratio", self.crop_ratio, float("inf"))
        self._check_views()
        self.operations  # noqa: B018 - a policy that cannot be read is refused

    def _check_machinery(self) -> None:
        if self.workers < 0:
            raise ValueError(f"workers is {self.workers}; it must be 0 (no threads of their own) or more")
        for name in ("cache_bytes", "outage_seconds"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be 0 or more")
        require_choice("decoder", self.decoder, get_args(DecoderChoice))
        if not _DEVICE.fullmatch(self.device):
            raise ValueError(f"device is {self.device!r}; taken are cpu, cuda and cuda:N")
        for name in ("cache_dir", "drop_log"):
            if "://" in (getattr(self, name) or ""):
                raise ValueError(f"{name} {getattr(self, name)!r} is a URL; give a path on this machine")

    def _check_views(self) -> None:
        if self.views is not None and max(self.repeats, self.clips) > 1:
            given = f"repeats {self.repeats}" if self.repeats > 1 else f"clips {self.clips}"
            raise ValueError(f"{given} and views were given; views are rows of a clip without chance")
        if self.windows > 1 and self.sampling in WITHOUT_VIEWS:
            name = "clips" if self.views is None else "views.clips"
            raise ValueError(
                f"{name} is {self.windows}, but sampling {self.sampling!r} has one clip of a video; give 1"
            )

    @property
    def sources(self) -> tuple[SourceConfig, ...]:
        """What clips are taken from, one or more: the datasets, or the buckets of each."""
        return tuple(part for one in self.datasets for part in in_buckets(one, self.buckets))

    @property
    def datasets(self) -> tuple[SourceConfig, ...]:
        """The datasets as they were given."""
        return self.source if isinstance(self.source, tuple) else (SourceConfig(str(self.source)),)

    @property
    def source_names(self) -> tuple[str, ...]:
        """What messages and logs call the datasets: no two alike."""
        names: list[str] = []
        for one in self.sources:
            name = one.name or one.source.rstrip("/").rpartition("/")[2]
            numbered = (f"{name}#{number}" for number in count(2))
            names.append(next(each for each in chain([name], numbered) if each not in names))
        return tuple(names)

    def of_source(self, source: int) -> LoaderConfig:
        """Return the settings of the samples of one dataset: with the frames, stride and size that are its own."""
        one = self.sources[source]
        if one.frames is one.stride is one.size is None:
            return self
        return replace(
            self,
            source=tuple(replace(each, frames=None, stride=None, size=None) for each in self.sources),
            buckets=(),
            frames=one.frames or self.frames,
            stride=one.stride or self.stride,
            size=one.size or self.size,
        )

    @property
    def operations(self) -> RandAugment | None:
        """How operations that change pictures are drawn."""
        return None if self.randaugment is None else parse_randaugment(self.randaugment)

    @property
    def windows(self) -> int:
        """How many pieces of a video are taken: the clips of training, or the views along its time."""
        return self.clips if self.views is None else self.views.clips

    @property
    def rows(self) -> int:
        """How many rows of a batch are made of a clip."""
        return self.clips * self.repeats if self.views is None else self.views.count

    @property
    def order(self) -> OrderConfig:
        """What the order of samples depends on."""
        return OrderConfig(self.seed, self.batch_size, self.lanes, self.window, self.whole_batches)

    @property
    def cache(self) -> CacheConfig | None:
        """Where copies of remote shards go."""
        if self.cache_dir is None or not self.cache_bytes:
            return None
        return CacheConfig(Path(self.cache_dir), self.cache_bytes)

    def for_evaluation(self) -> LoaderConfig:
        """Return these settings without chance: the middle of what is drawn, no flip, one row of a clip or its views.

        Masks stay: they are drawn as in the first epoch.
        """
        return replace(
            self,
            sampling=MIDDLE.get(self.sampling, self.sampling),
            crop=_MIDDLE_CROP.get(self.crop, self.crop),
            flip=0.0,
            randaugment=None,
            erasing=0.0,
            captions="first",
            repeats=1,
            packing=None,
            buckets=(),
            clips=1,
        )

    def sample_settings(self) -> dict[str, Any]:
        """Return what decides how a sample looks, as JSON values: a saved state must agree on all of it.

        Settings that an earlier version had not are in it only where they change a sample, so that its states stay
        good. Of token ids it is the vocabulary, of labels the list of classes, which the loader adds: the same file may
        lie elsewhere.
        """
        named = {name: getattr(self, name) for name in _SHAPING} | {"mask": self.mask and self.mask.as_settings()}
        return named | {name: _as_json(getattr(self, name)) for name in _LATER if self._differs(name)}

    def _differs(self, name: str) -> bool:
        if name.startswith("crop_") and self.crop != "random_resized":
            return False
        if name == "rate" and not goes_by_rate(self.sampling):
            return False
        value: object = getattr(self, name)
        return value != _LATER[name]


def _as_json(value: object) -> object:
    if isinstance(value, PackConfig):
        return value.as_settings()
    return list(value) if isinstance(value, tuple) else value


def _require_range(name: str, value: tuple[float, float], most: float) -> None:
    if not 0 < value[0] <= value[1] <= most:
        raise ValueError(f"{name} is {value}; it must be two positive numbers, the larger one last, {most} at most")
