"""Settings of the parts of a sample: its mask, its caption's tokens, its label, its views."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, get_args

from pipelines.augment import Grid

MaskKind = Literal["tube", "random", "running_cell"]
DecoderMaskKind = Literal["running_cell", "random"]

_CELL_RATIOS: Final = (0.25, 0.5, 0.75)


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
            require_positive(f"mask.{name}", getattr(self, name))
        require_choice("mask.kind", self.kind, get_args(MaskKind))
        require_choice("mask.decoder_kind", self.decoder_kind, get_args(DecoderMaskKind))

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
            require_positive(f"tokens.{name}", 1 if value is None else value)


@dataclass(frozen=True, slots=True)
class LabelConfig:
    """Which column of the dataset holds a clip's class.

    Whole numbers are classes as they are. Text is looked up in a list of names: that of the file ``classes`` (a path or
    URL, one name a line, the first is class 0) or, where None, all names that the column holds, sorted. ``limit`` is
    how many classes whole numbers may tell apart, the network's own (None: any number). A clip whose value is missing,
    not in the list or not below the limit is dropped, with that for a reason.

    Raises:
        ValueError: the column has no name, or the limit leaves no class.
    """

    column: str
    classes: str | None = None
    limit: int | None = None

    def __post_init__(self) -> None:
        if not self.column:
            raise ValueError("label.column is empty; give the name of a column of the dataset")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"label.limit is {self.limit}; it must be at least 1")


@dataclass(frozen=True, slots=True)
class ViewConfig:
    """How many views of a video are evaluated: ``clips`` along its time, ``crops`` along the picture's longer side.

    Raises:
        ValueError: a number is not positive.
    """

    clips: int = 1
    crops: int = 1

    def __post_init__(self) -> None:
        for name in ("clips", "crops"):
            require_positive(f"views.{name}", getattr(self, name))

    @property
    def count(self) -> int:
        """Views of a video."""
        return self.clips * self.crops


def require_positive(name: str, value: int) -> None:
    """Refuse a count below 1.

    Raises:
        ValueError: it is; the message names it.
    """
    if value < 1:
        raise ValueError(f"{name} is {value}; it must be at least 1")


def require_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Refuse what is not among the choices.

    Raises:
        ValueError: it is not; the message names it and them.
    """
    if value not in choices:
        raise ValueError(f"{name} is {value!r}; taken are {', '.join(choices)}")


def require_share(name: str, value: float) -> None:
    """Refuse what is no probability.

    Raises:
        ValueError: it is below 0 or above 1; the message names it.
    """
    if not 0 <= value <= 1:
        raise ValueError(f"{name} {value} is no probability; give 0 to 1")
