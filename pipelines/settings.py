"""What a loader is told: the dataset, the order, how a clip becomes a sample, and the machinery."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, get_args

from pipelines.augment import Grid
from pipelines.drops import DropBudget
from pipelines.plan import OrderConfig
from pipelines.stream import CacheConfig

MaskKind = Literal["tube", "random", "running_cell"]
DecoderMaskKind = Literal["running_cell", "random"]
Sampling = Literal["dense", "center", "segment", "segment_center", "bin", "bin_center"]
Crop = Literal["multiscale", "center"]
DecoderChoice = Literal["auto", "host", "dali"]

_DEVICE: Final = re.compile(r"cpu|cuda(:\d+)?")
_CELL_RATIOS: Final = (0.25, 0.5, 0.75)
_COUNTS: Final = ("frames", "stride", "size", "prefetch_batches", "cache_bytes")


@dataclass(frozen=True, slots=True)
class MaskConfig:
    """How much of a clip is hidden, and in which shape.

    ``ratio`` is the hidden part; a cube is ``tubelet`` frames of ``patch`` x ``patch`` pixels. ``tube`` hides the same
    places in all frames, ``random`` draws them freely, ``running_cell`` hides a quarter, a half or three quarters of
    each 2 x 2 cell, places that move on from slot to slot. ``decoder_ratio`` is the part of the hidden cubes that is
    not predicted either and that the decoder does without (VideoMAE V2, arXiv 2303.16727, takes 0.5); ``decoder_kind``
    says how they are chosen.

    Raises:
        ValueError: a value is out of range; the message names the field.
    """

    ratio: float = 0.9
    tubelet: int = 2
    patch: int = 16
    kind: MaskKind = "tube"
    decoder_ratio: float = 0.0
    decoder_kind: DecoderMaskKind = "running_cell"

    def __post_init__(self) -> None:
        if not 0 <= self.ratio < 1:
            raise ValueError(f"mask.ratio {self.ratio} is not in [0, 1)")
        if self.kind == "running_cell" and self.ratio not in _CELL_RATIOS:
            raise ValueError(f"mask.ratio {self.ratio} does not suit running cells of 4 places; give 0.25, 0.5 or 0.75")
        if not 0 <= self.decoder_ratio < 1:
            raise ValueError(f"mask.decoder_ratio {self.decoder_ratio} is not in [0, 1)")
        for name in ("tubelet", "patch"):
            _require_positive(f"mask.{name}", getattr(self, name))
        _require_choice("mask.kind", self.kind, get_args(MaskKind))
        _require_choice("mask.decoder_kind", self.decoder_kind, get_args(DecoderMaskKind))

    def grid(self, frames: int, size: int) -> Grid:
        """Return the cubes of a clip of ``frames`` frames, ``size`` pixels square.

        Raises:
            ValueError: the clip does not divide into cubes.
        """
        if frames % self.tubelet:
            raise ValueError(f"frames {frames} does not divide by mask.tubelet {self.tubelet}")
        if size % self.patch:
            raise ValueError(f"size {size} does not divide by mask.patch {self.patch}")
        return Grid(frames // self.tubelet, size // self.patch, size // self.patch)

    def as_settings(self) -> dict[str, Any]:
        """Return what shapes a sample; without a decoder mask that is what it was before there were any."""
        plain = asdict(self)
        return plain if self.decoder_ratio else {n: v for n, v in plain.items() if not n.startswith("decoder_")}


@dataclass(frozen=True, slots=True)
class TokenConfig:
    """How captions become token ids.

    ``tokenizer`` is the path or URL of CLIP's merge list or of a tokenizer.json; None trains a vocabulary of at most
    ``vocabulary`` ids on the dataset's captions and keeps it in the cache folder. ``context`` is the positions of a
    row; None takes the file's own, 77 where it has none. A text that is too long is cut, its end token kept.

    Raises:
        ValueError: a value is out of range; the message names the field.
    """

    tokenizer: str | None = None
    context: int | None = None
    vocabulary: int = 49_408

    def __post_init__(self) -> None:
        for name, value in (("context", self.context), ("vocabulary", self.vocabulary)):
            _require_positive(f"tokens.{name}", 1 if value is None else value)


@dataclass(frozen=True, slots=True)
class LoaderConfig:
    """Everything that ``build_loader`` needs.

    The dataset: ``source`` is its folder or URL. The order (see ``pipelines.plan``): ``batch_size`` over all ranks,
    ``seed``, ``lanes`` (for training on many machines, at least as many as machines, so that each fetches its own
    shards only), ``window`` in shards.

    A sample: ``frames`` frames, chosen as ``sampling`` says; cut out at random ("multiscale") or as the middle square
    ("center") and resized to ``size`` pixels square; mirrored with probability ``flip``; ``mask`` for masked modelling,
    else None; ``tokens`` for the captions' token ids, else None.

    The sampling: ``stride`` frames apart, from a random place ("dense") or the middle ("center"); or spread over the
    whole video, whatever ``stride`` is: a random frame of each of ``frames`` touching segments ("segment", as
    UniFormerV2 trains) or the middle one ("segment_center"), a random frame of each of ``frames`` bins that share none
    ("bin", as InternVideo's video-text training) or the middle one ("bin_center"). A video of too few frames repeats
    some.

    The machinery, which changes no sample: ``decoder`` is "host" (PyAV), "dali" (DALI where it can read the clip's
    codec on ``device``, else PyAV) or "auto" (host on the CPU, DALI on a GPU). The two may differ in the last bits of a
    pixel, and a GPU's decoder does not see damage inside a picture's slices: it conceals it, where the host drops the
    clip; take "host" where that matters. ``workers`` decoding threads; ``prefetch_batches`` finished batches kept
    ready; ``cache_dir`` and ``cache_bytes`` for copies of remote shards (no folder: no copies); ``rank`` of ``world``;
    ``device``, which is "cpu", "cuda" (torch's current device in the thread that asks for the first batch) or "cuda:N";
    ``drop_log``, a local file that names dropped samples; ``drops``, how many may be dropped.

    Raises:
        ValueError: a value is out of range or does not fit another; the message names the fields.
    """

    source: str
    batch_size: int
    seed: int = 0
    lanes: int = 8
    window: int = 4
    frames: int = 16
    stride: int = 4
    size: int = 224
    sampling: Sampling = "dense"
    crop: Crop = "multiscale"
    flip: float = 0.0
    mask: MaskConfig | None = None
    tokens: TokenConfig | None = None
    decoder: DecoderChoice = "auto"
    workers: int = 2
    prefetch_batches: int = 2
    cache_dir: str | None = None
    cache_bytes: int = 64 << 30
    rank: int = 0
    world: int = 1
    device: str = "cpu"
    drop_log: str | None = None
    drops: DropBudget = field(default_factory=DropBudget)

    def __post_init__(self) -> None:
        for name in _COUNTS:
            _require_positive(name, getattr(self, name))
        if self.workers < 0:
            raise ValueError(f"workers is {self.workers}; it must be 0 (no threads of their own) or more")
        if not 0 <= self.flip <= 1:
            raise ValueError(f"flip {self.flip} is no probability; give 0 to 1")
        _require_choice("sampling", self.sampling, get_args(Sampling))
        _require_choice("crop", self.crop, get_args(Crop))
        _require_choice("decoder", self.decoder, get_args(DecoderChoice))
        if not _DEVICE.fullmatch(self.device):
            raise ValueError(f"device is {self.device!r}; taken are cpu, cuda and cuda:N")
        for name in ("cache_dir", "drop_log"):
            if "://" in (getattr(self, name) or ""):
                raise ValueError(f"{name} {getattr(self, name)!r} is a URL; give a path on this machine")
        if self.mask is not None:
            self.mask.grid(self.frames, self.size)
        if not 0 <= self.rank < self.world <= self.order.batch_size:
            raise ValueError(
                f"rank {self.rank}, world {self.world}, batch_size {self.batch_size}: a rank counts from 0 within its "
                "world, and every rank needs a sample of each batch",
            )

    @property
    def order(self) -> OrderConfig:
        """What the order of samples depends on."""
        return OrderConfig(self.seed, self.batch_size, self.lanes, self.window)

    @property
    def cache(self) -> CacheConfig | None:
        """Where copies of remote shards go."""
        return None if self.cache_dir is None else CacheConfig(Path(self.cache_dir), self.cache_bytes)

    def sample_settings(self) -> dict[str, Any]:
        """Return what decides how a sample looks, as JSON values: a saved state must agree on all of it.

        Of token ids it is the vocabulary, which the loader adds: the same file may lie elsewhere.
        """
        names = ("frames", "stride", "size", "sampling", "crop", "flip")
        return {name: getattr(self, name) for name in names} | {"mask": self.mask and self.mask.as_settings()}


def _require_positive(name: str, value: int) -> None:
    if value < 1:
        raise ValueError(f"{name} is {value}; it must be at least 1")


def _require_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} is {value!r}; taken are {', '.join(choices)}")
