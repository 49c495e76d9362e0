"""PackedBatch: clips that differ in length and size, side by side without padding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, Final

import torch
from jaxtyping import Bool, Float, Float32, Int64
from torch import Tensor

from pipelines.batch import VideoTextBatch, chunk_bounds, trimmed_tokens

# B clips; of each clip T frames of H rows and W columns, and N cubes; C colours, L tokens of a caption.

_CLIP_AXES: Final = 4
_LISTS: Final = ("video", "frame_times", "mask", "decoder_mask")
_AT_HOME: Final = ("mask", "decoder_mask", "tokens")


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class PackedBatch:
    """A ``VideoTextBatch`` whose clips keep shapes of their own: fields of that name mean the same.

    ``video``, ``frame_times`` and the masks are lists with a tensor for each clip; a clip that could not be used has
    ``valid`` False and zero frames, in the shape that its record says. Networks take the clips one behind the other
    in one sequence (``model.packing``); a clip's result is the one that it has alone.

    Raises:
        ValueError: lengths, shapes or types do not fit; the message names the field.
    """

    video: list[Float[Tensor, "C T H W"]]
    valid: Bool[Tensor, "B"]
    frame_times: list[Float32[Tensor, "T"]]
    keys: list[str]
    captions: list[str]
    sources: list[str]
    tokens: Int64[Tensor, "B L"] | None = None
    mask: list[Bool[Tensor, "N"]] | None = None
    label: Int64[Tensor, "B"] | None = None
    decoder_mask: list[Bool[Tensor, "N"]] | None = None
    dataset: Int64[Tensor, "B"] | None = None

    def __post_init__(self) -> None:
        size = len(self.video)
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and len(value) != size:
                raise ValueError(f"{field.name} has {len(value)} entries for a batch of {size} clips")
        for number, clip in enumerate(self.video):
            if clip.ndim != _CLIP_AXES or clip.dtype not in {torch.float32, torch.bfloat16}:
                raise ValueError(
                    f"clip {number} is {clip.dtype} {list(clip.shape)}; it must be float32 or bfloat16 [C, T, H, W]"
                )
            if self.frame_times[number].shape != clip.shape[1:2]:
                raise ValueError(f"clip {number} has {clip.shape[1]} frames and {len(self.frame_times[number])} times")
        self._check_masks()

    def _check_masks(self) -> None:
        if self.decoder_mask is not None and self.mask is None:
            raise ValueError("decoder_mask is given without mask; it chooses among the masked cubes")
        for number, (mask, spared) in enumerate(zip(self.mask or (), self.decoder_mask or (), strict=False)):
            if mask.shape != spared.shape:
                raise ValueError(f"clip {number} has a mask of {len(mask)} cubes and a decoder_mask of {len(spared)}")
        for mask in (*(self.mask or ()), *(self.decoder_mask or ())):
            if mask.dtype != torch.bool or mask.ndim != 1:
                raise ValueError(f"a mask is {mask.dtype} {list(mask.shape)}; it must be torch.bool [N]")

    def __len__(self) -> int:
        return len(self.video)

    def __repr__(self) -> str:
        shapes = ", ".join("x".join(map(str, clip.shape[1:])) for clip in self.video)
        return f"PackedBatch(clips {shapes}; {int(self.valid.sum())} of {len(self)} valid, on {self.valid.device})"

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> PackedBatch:
        """Return the batch on ``device``, save masks and tokens on the CPU; what is there already is shared."""

        def moved(name: str, value: Tensor) -> Tensor:
            stays = name in _AT_HOME and value.device.type == "cpu"
            return value if stays else value.to(device, non_blocking=non_blocking)

        return self._with(moved)

    def record_stream(self) -> None:
        """Tell torch that its current stream reads the batch; see ``VideoTextBatch.record_stream``."""

        def told(_: str, value: Tensor) -> Tensor:
            if value.is_cuda:
                value.record_stream(torch.cuda.current_stream(value.device))
            return value

        self._with(told)

    def select(self, rows: slice) -> PackedBatch:
        """Return the clips of a slice; tensors are views."""
        found: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            found[field.name] = None if value is None else value[rows]
        return replace(self, **found)

    def trimmed(self, multiple: int = 1) -> PackedBatch:
        """Return the batch with its tokens cut behind the longest text; see ``VideoTextBatch.trimmed``.

        Raises:
            ValueError: ``multiple`` is not positive.
        """
        if self.tokens is None or not len(self):
            return self
        return replace(self, tokens=trimmed_tokens(self.tokens, self.valid, multiple))

    def chunk(self, parts: int) -> list[PackedBatch]:
        """Return the batch as ``parts`` pieces in order, numbers of clips equal or one apart.

        Raises:
            ValueError: there are fewer clips than parts.
        """
        return [self.select(rows) for rows in chunk_bounds(len(self), parts)]

    def _with(self, change: Callable[[str, Tensor], Tensor]) -> PackedBatch:
        """Return the batch with each tensor replaced by what ``change`` makes of its field's name and it."""
        found: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tensor):
                found[field.name] = change(field.name, value)
            elif field.name in _LISTS and value is not None:
                found[field.name] = [change(field.name, one) for one in value]
        return replace(self, **found)


AnyBatch = VideoTextBatch | PackedBatch
"""A batch of either kind; fields of the same name mean the same."""
