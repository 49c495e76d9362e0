"""The stages of a recipe: what each of them trains, on what data, and the settings that only it has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from model.clip_config import AnsweringConfig, UniFormerClassifierConfig, VideoTextConfig
from model.config import ClassifierConfig, VideoMAEConfig
from model.coordination_config import CoordinationConfig
from train.checks import require, require_shares

ModelConfig: TypeAlias = (
    VideoMAEConfig
    | VideoTextConfig
    | ClassifierConfig
    | UniFormerClassifierConfig
    | AnsweringConfig
    | CoordinationConfig
)
"""The sizes of any network that a run trains."""

MODEL_KINDS: Final[Mapping[str, type[Any]]] = {
    "videomae_pretrain": VideoMAEConfig,
    "mm_full": VideoTextConfig,
    "videomae_classifier": ClassifierConfig,
    "uniformerv2": UniFormerClassifierConfig,
    "mm_vqa": AnsweringConfig,
    "coordination": CoordinationConfig,
}
"""The kinds of networks that runs train, by the names that weights files use (``model.kinds``)."""


@dataclass(frozen=True, slots=True)
class MaskedSettings:
    """Stage ``mvm``: ``normalize_target`` compares each cube by its own mean and deviation."""

    normalize_target: bool = True


@dataclass(frozen=True, slots=True)
class VideoLanguageSettings:
    """Stage ``vlc``: what its two losses weigh, whether the text tower learns, similarities held at once (rows)."""

    contrastive_weight: float = 1.0
    captioning_weight: float = 1.0
    freeze_text: bool = False
    chunk: int = 256

    def __post_init__(self) -> None:
        for name in ("contrastive_weight", "captioning_weight"):
            value = getattr(self, name)
            hint = "a number above 0 (model.captioner=null leaves out captioning)"
            require(0 < value < float("inf"), f"objective.{name}", value, hint)
        require(self.chunk >= 1, "objective.chunk", self.chunk, "a whole number, 1 or more")


@dataclass(frozen=True, slots=True)
class CoordinationSettings:
    """Stage ``cma``: ``label_smoothing``, and how neighbouring clips are mixed.

    ``mixup`` and ``cutmix`` are the alphas of the beta distributions that weights are drawn from; 0 leaves that way
    out. A batch's pairs are mixed with ``mix_probability``; where both ways are there, cut with ``switch_probability``.
    """

    label_smoothing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    mix_probability: float = 1.0
    switch_probability: float = 0.5

    def __post_init__(self) -> None:
        require(0 <= self.label_smoothing < 1, "objective.label_smoothing", self.label_smoothing, "at least 0, below 1")
        for name in ("mixup", "cutmix"):
            value = getattr(self, name)
            require(0 <= value < float("inf"), f"objective.{name}", value, "0 or more")
        require_shares("objective", self, "mix_probability", "switch_probability")


@dataclass(frozen=True, slots=True)
class SupervisedSettings(CoordinationSettings):
    """Stage ``sft``: what ``cma`` has, and ``freeze_backbone``, which trains all but the encoder that CLIP began."""

    freeze_backbone: bool = False


ObjectiveSettings: TypeAlias = MaskedSettings | VideoLanguageSettings | SupervisedSettings | CoordinationSettings
"""The settings of any stage."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage: its settings' type, the kinds of networks it trains, what it needs or refuses of data.

    ``images``: single frames may take turns with clips. ``labels``: samples need a class. ``repeats``: a clip may give
    several samples. ``imagenet``: clips must come in ImageNet's colours, from which the objective goes on.
    ``parts_add_up``: a batch may be trained on in parts, one after the other.
    """

    settings: type[Any]
    kinds: tuple[str, ...]
    images: bool = False
    labels: bool = False
    repeats: bool = False
    imagenet: bool = False
    parts_add_up: bool = True


STAGES: Final[Mapping[str, Stage]] = {
    "mvm": Stage(MaskedSettings, ("videomae_pretrain",), repeats=True, imagenet=True),
    "vlc": Stage(VideoLanguageSettings, ("mm_full",), images=True, parts_add_up=False),
    "sft": Stage(SupervisedSettings, ("videomae_classifier", "uniformerv2", "mm_vqa"), labels=True, repeats=True),
    "cma": Stage(CoordinationSettings, ("coordination",), labels=True, repeats=True, imagenet=True),
}
"""The stages in the order of the recipe (InternVideo, arXiv 2212.03191)."""


@dataclass(frozen=True, slots=True)
class Clips:
    """The clips that a network takes: frames, and height and width in pixels, with the settings that say so."""

    where: str
    frames: int
    image_size: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Classes:
    """How many classes a network scores, with the setting that says so."""

    where: str
    count: int


def clips_of(model: ModelConfig) -> Clips:
    """Return the clips that a network takes; cross-model attention takes its masked encoder's."""
    if isinstance(model, VideoTextConfig):
        return Clips("model.video", model.video.frames, model.video.image_size)
    if isinstance(model, CoordinationConfig):
        return Clips("model.masked", model.masked.frames, model.masked.image_size)
    return Clips("model", model.frames, model.image_size)


def classes_of(model: ModelConfig) -> Classes:
    """Return how many classes a network scores; cross-model attention as many as its masked encoder.

    Raises:
        ValueError: it scores none.
    """
    if isinstance(model, CoordinationConfig):
        return Classes("model.masked.classes", model.masked.classes)
    if isinstance(model, AnsweringConfig):
        return Classes("model.answers", model.answers)
    if isinstance(model, ClassifierConfig | UniFormerClassifierConfig):
        return Classes("model.classes", model.classes)
    raise ValueError(f"a {kind_of(model)} scores no classes")


def kind_of(model: ModelConfig) -> str:
    """Return the kind of a network by its sizes' type."""
    return next(kind for kind, config in MODEL_KINDS.items() if type(model) is config)
