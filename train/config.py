"""The run's configuration: its sections as frozen dataclasses, checked before anything heavy is loaded."""

from __future__ import annotations

import difflib
import math
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Final

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from model.config import VideoMAEConfig

STAGES: Final = ("mvm",)
PRECISIONS: Final = ("fp32", "bf16")
DEVICES: Final = ("auto", "cpu", "cuda")
MASK_KINDS: Final = ("tube", "random", "running_cell")
DECODERS: Final = ("auto", "host", "dali")


@dataclass(frozen=True, slots=True)
class DataConfig:
    """What the run reads and how a clip becomes a sample.

    ``train`` is a dataset's folder or URL. ``batch_size`` counts samples over all ranks. ``frames`` are
    taken ``stride`` frames apart and cropped to ``size`` pixels square. ``lanes`` and ``window`` (shards) shape the
    order of samples. ``workers`` are threads of each rank that fetch and decode; ``cache_bytes`` bounds ``cache_dir``,
    the local copies of remote shards (None: none are kept). ``mask_ratio`` is the part of the cubes that is hidden, in
    the shape ``mask_kind``; ``decoder_mask_ratio`` is the part of those that is not predicted either (running cells,
    VideoMAE V2, arXiv 2303.16727; 0 predicts all).
    """

    train: str
    batch_size: int = 64
    frames: int = 16
    stride: int = 4
    size: int = 224
    lanes: int = 8
    window: int = 4
    workers: int = 2
    cache_dir: str | None = None
    cache_bytes: int = 64 << 30
    decoder: str = "auto"
    mask_ratio: float = 0.9
    mask_kind: str = "tube"
    decoder_mask_ratio: float = 0.0

    def __post_init__(self) -> None:
        for name in ("batch_size", "frames", "stride", "size", "lanes", "window", "cache_bytes"):
            _require(getattr(self, name) >= 1, f"data.{name}", getattr(self, name), "a whole number, 1 or more")
        _require(self.workers >= 0, "data.workers", self.workers, "a whole number, 0 or more")
        _require(bool(self.train.strip()), "data.train", self.train, "a dataset's folder or URL")
        _require(0 < self.mask_ratio < 1, "data.mask_ratio", self.mask_ratio, "above 0 and below 1")
        _require(self.mask_kind in MASK_KINDS, "data.mask_kind", self.mask_kind, "one of " + ", ".join(MASK_KINDS))
        in_cells = self.mask_kind != "running_cell" or self.mask_ratio in {0.25, 0.5, 0.75}
        _require(in_cells, "data.mask_ratio", self.mask_ratio, "0.25, 0.5 or 0.75 with data.mask_kind=running_cell")
        spared = self.decoder_mask_ratio
        _require(0 <= spared < 1, "data.decoder_mask_ratio", spared, "at least 0 and below 1")
        _require(self.decoder in DECODERS, "data.decoder", self.decoder, "one of " + ", ".join(DECODERS))


@dataclass(frozen=True, slots=True)
class AdamWConfig:
    """AdamW as VideoMAE pretraining sets it (arXiv 2203.12602; sources in ``train/conf/optim``).

    ``lr`` is the peak rate that is used, not one per 256 samples; None takes 1.5e-4 * batch / 256. ``min_lr`` is what
    the cosine falls towards; None takes lr / 15, the recipe's 1e-5 to 1.5e-4. ``warmup_steps`` None takes the recipe's
    40 of 801 epochs. ``clip_norm`` None leaves gradients as they are.
    """

    lr: float | None = None
    min_lr: float | None = None
    warmup_steps: int | None = None
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    clip_norm: float | None = None

    def __post_init__(self) -> None:
        # A composed configuration hands over a list of any length.
        betas: tuple[float, ...] = tuple(self.betas)
        object.__setattr__(self, "betas", betas)
        for name in ("lr", "min_lr", "weight_decay", "warmup_steps"):
            value = getattr(self, name)
            _require(value is None or (math.isfinite(value) and value >= 0), f"optim.{name}", value, "0 or more")
        fit = len(betas) == 2 and all(0 <= beta < 1 for beta in betas)  # noqa: PLR2004 - AdamW has two
        _require(fit, "optim.betas", list(self.betas), "two numbers, each at least 0 and below 1")
        _require(math.isfinite(self.eps) and self.eps > 0, "optim.eps", self.eps, "above 0")
        _require(self.clip_norm is None or self.clip_norm > 0, "optim.clip_norm", self.clip_norm, "above 0, or null")
        if self.lr is not None and self.min_lr is not None and self.min_lr > self.lr:
            raise ValueError(
                f"optim.min_lr={self.min_lr} is above optim.lr={self.lr}: the rate falls from lr to min_lr"
            )


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """How long and on what the run trains, and what it leaves behind.

    ``max_steps`` None takes 801 epochs, as the recipe does. ``accumulate`` cuts each rank's share of a batch into that
    many parts, one after the other. Every ``checkpoint_every`` steps a checkpoint is written; the last ``keep`` stay.
    With ``resume`` the run goes on from the newest whole checkpoint under ``out``, if there is one.
    """

    max_steps: int | None = None
    seed: int = 0
    precision: str = "fp32"
    accumulate: int = 1
    log_every: int = 10
    checkpoint_every: int = 1000
    keep: int = 3
    device: str = "auto"
    resume: bool = True

    def __post_init__(self) -> None:
        for name in ("max_steps", "accumulate", "log_every", "checkpoint_every", "keep"):
            value = getattr(self, name)
            _require(value is None or value >= 1, f"train.{name}", value, "a whole number, 1 or more")
        _require(0 <= self.seed < 1 << 63, "train.seed", self.seed, "0 to 2**63 - 1")
        _require(self.precision in PRECISIONS, "train.precision", self.precision, "one of " + ", ".join(PRECISIONS))
        _require(self.device in DEVICES, "train.device", self.device, "one of " + ", ".join(DEVICES))


@dataclass(frozen=True, slots=True)
class RunConfig:
    """Everything a run is told. ``out`` is the folder or URL that takes checkpoints and logs."""

    stage: str
    model: VideoMAEConfig
    data: DataConfig
    optim: AdamWConfig
    train: TrainConfig
    out: str

    def __post_init__(self) -> None:
        _require(self.stage in STAGES, "stage", self.stage, "one of " + ", ".join(STAGES))
        _require(bool(self.out.strip()), "out", self.out, "a folder or URL")
        if self.model.frames != self.data.frames:
            raise ValueError(f"model.frames={self.model.frames} and data.frames={self.data.frames} must be equal")
        if tuple(self.model.image_size) != (self.data.size, self.data.size):
            raise ValueError(
                f"model.image_size={list(self.model.image_size)} and data.size={self.data.size} must be equal",
            )
        self.require_shares(1)
        steps, warmup = self.train.max_steps, self.optim.warmup_steps
        if steps is not None and warmup is not None and warmup > steps:
            raise ValueError(f"optim.warmup_steps={warmup} does not fit into train.max_steps={steps}")

    def require_shares(self, world: int) -> None:
        """Check that the batch is large enough for ``world`` ranks, of which each cuts its share into parts.

        Raises:
            ValueError: the smallest share has fewer samples than ``train.accumulate``.
        """
        share, parts = self.data.batch_size // world, self.train.accumulate
        if share < parts:
            raise ValueError(
                f"data.batch_size={self.data.batch_size} over {world} rank(s) leaves a rank {share} sample(s), fewer"
                f" than train.accumulate={parts}: each part needs one; give data.batch_size={world * parts} or more, or"
                " a smaller train.accumulate",
            )

    def as_dict(self) -> dict[str, Any]:
        """Return the configuration as nested plain values, as JSON holds them."""
        plain: dict[str, Any] = _plain(asdict(self))
        return plain


SECTIONS: Final = {"model": VideoMAEConfig, "data": DataConfig, "optim": AdamWConfig, "train": TrainConfig}
"""The sections of the configuration and their types."""


def register() -> None:
    """Make the sections known to Hydra under the name ``schema``, so that it refuses unknown keys and wrong types."""
    schema = OmegaConf.structured(RunConfig)
    # The nodes of frozen dataclasses refuse every change, also Hydra's, until they are told not to.
    OmegaConf.set_readonly(schema, value=None)
    for name, section in SECTIONS.items():
        schema[name] = OmegaConf.structured(section)
        OmegaConf.set_readonly(schema[name], value=None)
    ConfigStore.instance().store(name="schema", node=schema)


def known_keys() -> list[str]:
    """Return the dotted names of all settings."""
    inner = [f"{name}.{field.name}" for name, section in SECTIONS.items() for field in fields(section)]
    return [field.name for field in fields(RunConfig)] + inner


def no_such_key(key: str) -> str:
    """Return what to say of a setting that does not exist."""
    near = difflib.get_close_matches(key, known_keys(), n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"there is no setting {key}{hint} (--help lists all)"


def to_run_config(composed: DictConfig) -> RunConfig:
    """Turn what Hydra composed into dataclasses; nothing after this knows Hydra.

    Raises:
        ValueError: a value is missing, unknown or out of its range, or two values do not fit each other.
    """
    # Hydra lets "+key=value" add keys that the schema does not have.
    given = [str(name) for name in composed]
    given += [f"{name}.{key}" for name in SECTIONS for key in composed[name]]
    for key in given:
        if key not in known_keys():
            raise ValueError(no_such_key(key))
    missing = sorted(OmegaConf.missing_keys(composed))
    if missing:
        told = ", ".join(f"{key}=..." for key in missing)
        raise ValueError(f"nothing says {', '.join(missing)}: add {told}")
    made = OmegaConf.to_object(composed)
    assert isinstance(made, RunConfig)
    height, width = made.model.image_size  # Hydra hands over a list
    return replace(made, model=replace(made.model, image_size=(height, width)))


def _require(holds: bool, name: str, value: object, wanted: str) -> None:  # noqa: FBT001 - reads as a sentence
    if not holds:
        raise ValueError(f"{name}={value} must be {wanted}")


def _plain(value: Any) -> Any:  # noqa: ANN401 - walks values of any kind
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value
