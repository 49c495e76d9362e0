"""What a run reads and how a clip becomes a sample, as settings."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from train.bucket_config import Bucket
from train.checks import (
    require,
    require_choice,
    require_counts,
    require_not_negative,
    require_rising_pair,
    require_shares,
)
from train.mix_config import MixSource

MASK_KINDS: Final = ("tube", "random", "running_cell")
DECODERS: Final = ("auto", "host", "dali")
SAMPLINGS: Final = (
    *("dense", "span", "center", "segment", "segment_center", "bin", "bin_center", "even"),
    *("fps", "fps_center", "fps_even"),
)
VARIABLE_RATES: Final = ("time", "frames")
RESAMPLES: Final = ("bilinear", "bicubic")
CROPS: Final = ("multiscale", "random_resized", "squash", "short", "center", "squash_center", "short_center")
MIXED_BY: Final = ("sample", "batch")
HELD_OUT_BY: Final = ("source", "key")
_MOST_RATE: Final = 1000
COLOURS: Final = ("imagenet", "clip", "half")


@dataclass(frozen=True, slots=True)
class DataConfig:
    """What the run reads and how a clip becomes a sample.

    ``train`` is a dataset's folder or URL; in its place ``mix`` lists several, which take turns by sample or by batch
    (``mix_by``). With ``whole_batches`` no batch is shared by two epochs. ``batch_size`` counts samples over all ranks.
    ``frames`` are taken ``stride`` frames apart and cropped to ``size`` pixels square. ``lanes`` and ``window``
    (shards) shape the order of samples. ``workers`` are threads of each rank that fetch and decode; ``cache_bytes``
    bounds ``cache_dir``, the local copies of remote shards (None, or 0 bytes: none are kept); a store may be out of
    reach for ``outage_seconds`` before the run ends. ``mask_ratio`` is the part of the cubes that is hidden, in the
    shape ``mask_kind``; ``decoder_mask_ratio`` is the part of those that is not predicted
    either (running cells, VideoMAE V2, arXiv 2303.16727; 0 predicts all).

    ``images`` is a second dataset whose samples are single frames, in batches of ``image_batch_size`` (None: as many as
    ``batch_size``), ``image_ratio`` such batches for each batch of clips; ``image_crop`` and ``image_crop_scale`` say
    how they are cut. ``sampling``, ``crop`` with ``crop_scale`` (part of the area) and ``crop_ratio`` (width over
    height), ``flip`` (probability), ``randaugment`` (as timm names it), ``erasing`` (probability) and ``repeats``
    (samples of each decoded clip) augment, ``clips`` pieces of each video are taken. ``rate`` is the frames a second of
    the samplings named fps; others go by time, too, where a video's rate varies, or by frames (``variable_rate``).
    Pictures are resized by the filter ``resample``, images by ``image_resample`` (None: by the same); ``colours`` names
    what pixels are normalised with. ``label`` is the
    dataset's column that holds a sample's class, ``classes`` a file that lists the classes (None: the values that
    occur). ``tokenizer`` is the path or URL of a vocabulary (None: one is made of the captions). ``val`` is the dataset
    that the run is judged on while it trains.

    ``where`` is a condition that clips must meet. ``holdout`` is the share of the videos (or of the clips, as
    ``holdout_by`` says) that training leaves out and that the run is judged on where ``val`` is None or the same
    dataset; ``holdout_salt`` draws others. Stage ``mvm`` takes clips of unequal shapes: with ``packing`` each in its
    own length and aspect, of ``pack_tokens`` cubes at most (None: those of ``frames`` and ``size``), or by ``buckets``
    in batches of several shapes (with ``mix_by=batch``).
    """

    train: str | None
    batch_size: int = 64
    frames: int = 16
    stride: int = 4
    size: int = 224
    lanes: int = 8
    window: int = 4
    workers: int = 2
    cache_dir: str | None = None
    cache_bytes: int = 64 << 30
    outage_seconds: float = 300.0
    decoder: str = "auto"
    mask_ratio: float = 0.9
    mask_kind: str = "tube"
    decoder_mask_ratio: float = 0.0
    images: str | None = None
    image_batch_size: int | None = None
    image_ratio: float = 1.0
    image_crop: str = "random_resized"
    image_crop_scale: tuple[float, float] = (0.9, 1.0)
    sampling: str = "dense"
    crop: str = "multiscale"
    crop_scale: tuple[float, float] = (0.08, 1.0)
    crop_ratio: tuple[float, float] = (0.75, 1.3333)
    flip: float = 0.0
    colours: str = "imagenet"
    randaugment: str | None = None
    erasing: float = 0.0
    repeats: int = 1
    clips: int = 1
    rate: float = 2.0
    variable_rate: str = "time"
    resample: str = "bilinear"
    image_resample: str | None = None
    label: str | None = None
    classes: str | None = None
    tokenizer: str | None = None
    val: str | None = None
    mix: list[MixSource] = field(default_factory=list)
    mix_by: str = "sample"
    whole_batches: bool = False
    where: str | None = None
    holdout: float = 0.0
    holdout_by: str = "source"
    holdout_salt: str = ""
    packing: bool = False
    pack_tokens: int | None = None
    buckets: list[Bucket] = field(default_factory=list)

    def __post_init__(self) -> None:
        # A composed configuration hands over lists.
        for name in ("image_crop_scale", "crop_scale", "crop_ratio"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        require_counts("data", self, "batch_size", "frames", "stride", "size", "lanes", "window")
        require_not_negative("data", self, "cache_bytes", "outage_seconds")
        require_counts("data", self, "image_batch_size", "repeats", "clips")
        require(self.workers >= 0, "data.workers", self.workers, "a whole number, 0 or more")
        self._check_datasets()
        require_choice("data.decoder", self.decoder, DECODERS)
        self._check_masks()
        self._check_pictures()
        self._check_names()
        self._check_parts()

    @property
    def is_unequal(self) -> bool:
        """Whether clips have several shapes."""
        shapes = [(one.frames, one.size) for one in self.mix] + [(one.frames, one.size) for one in self.buckets]
        return self.packing or any(frames or size for frames, size in shapes)

    @property
    def judged(self) -> str | None:
        """The dataset that the run is judged on: ``val``, or that of training, whose held-out part it is then."""
        return self.val or (self.train if self.holdout else None)

    @property
    def sources(self) -> list[MixSource]:
        """The datasets of clips, one or more."""
        return self.mix or [MixSource(self.train or "")]

    @property
    def kinds(self) -> int:
        """How many datasets the loader of clips tells apart: as many as there are, or the buckets of each."""
        return len(self.sources) * (len(self.buckets) or 1)

    @property
    def told(self) -> str:
        """What messages call the datasets of clips."""
        return ", ".join(one.source for one in self.sources)

    @property
    def rows(self) -> int:
        """Rows of a batch that are made of each clip."""
        return self.repeats * self.clips

    @property
    def image_batch(self) -> int:
        """Samples of a batch of images, over all ranks."""
        return self.batch_size if self.image_batch_size is None else self.image_batch_size

    def _check_datasets(self) -> None:
        if self.mix and self.train:
            raise ValueError(
                f"data.train={self.train} is one dataset and data.mix lists {len(self.mix)}; give one of the two"
            )
        require(
            bool(self.mix) or bool((self.train or "").strip()), "data.train", self.train, "a dataset's folder or URL"
        )
        require_choice("data.mix_by", self.mix_by, MIXED_BY)

    def _check_parts(self) -> None:
        require(0 <= self.holdout < 1, "data.holdout", self.holdout, "a share, at least 0 (none) and below 1")
        require_choice("data.holdout_by", self.holdout_by, HELD_OUT_BY)
        require_counts("data", self, "pack_tokens")
        if self.pack_tokens is not None and not self.packing:
            raise ValueError(f"data.pack_tokens={self.pack_tokens} is of packed clips, and data.packing is false")
        if self.packing and self.buckets:
            raise ValueError("data.packing=true packs clips of all shapes; leave out data.buckets")

    def _check_masks(self) -> None:
        require(0 < self.mask_ratio < 1, "data.mask_ratio", self.mask_ratio, "above 0 and below 1")
        require_choice("data.mask_kind", self.mask_kind, MASK_KINDS)
        in_cells = self.mask_kind != "running_cell" or self.mask_ratio in {0.25, 0.5, 0.75}
        require(in_cells, "data.mask_ratio", self.mask_ratio, "0.25, 0.5 or 0.75 with data.mask_kind=running_cell")
        spared = self.decoder_mask_ratio
        require(0 <= spared < 1, "data.decoder_mask_ratio", spared, "at least 0 and below 1")

    def _check_pictures(self) -> None:
        require_choice("data.sampling", self.sampling, SAMPLINGS)
        for name in ("crop", "image_crop"):
            require_choice(f"data.{name}", getattr(self, name), CROPS)
        for name in ("crop_scale", "crop_ratio", "image_crop_scale"):
            require_rising_pair(f"data.{name}", getattr(self, name))
        for name in ("crop_scale", "image_crop_scale"):
            require(
                getattr(self, name)[1] <= 1, f"data.{name}", list(getattr(self, name)), "parts of the whole, up to 1"
            )
        require_shares("data", self, "flip", "erasing")
        require(0 < self.rate <= _MOST_RATE, "data.rate", self.rate, f"above 0, {_MOST_RATE} frames a second at most")
        require_choice("data.variable_rate", self.variable_rate, VARIABLE_RATES)
        for name in ("resample", "image_resample"):
            require_choice(f"data.{name}", getattr(self, name) or self.resample, RESAMPLES)
        require_choice("data.colours", self.colours, COLOURS)

    def _check_names(self) -> None:
        for name in ("images", "label", "classes", "tokenizer", "val", "randaugment", "where"):
            value = getattr(self, name)
            require(value is None or bool(value.strip()), f"data.{name}", value, "a name, or null")
        require(0 < self.image_ratio < float("inf"), "data.image_ratio", self.image_ratio, "above 0")
        if self.classes is not None and self.label is None:
            raise ValueError(f"data.classes={self.classes} lists classes, and data.label names no column that has them")
