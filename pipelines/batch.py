"""VideoTextBatch: what the loader hands to training, with its shapes checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Bool, Float, Float32, Int64
from torch import Tensor

# B samples, C colours, T frames, H rows, W columns, L tokens of a caption, N cubes of a clip.

_AXES = 5
_MASKS = ("mask", "decoder_mask")
_AT_HOME = (*_MASKS, "tokens")
_SHORTEST_TEXT = 2
"""Positions of a start and an end token."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class VideoTextBatch:
    """One batch of clips with their captions.

    ``video`` is normalised RGB; a sample that could not be used has ``valid`` False and zero frames, and must stay
    out of every loss. ``mask`` (True: masked) is there for masked modelling, and ``decoder_mask`` (True: masked, and
    not predicted either) where the decoder does without a part of the masked cubes; ``tokens`` where a tokeniser is
    set, ``label`` where samples have classes. ``frame_times`` are seconds from the clip's first frame. An image is
    T = 1. Where several rows are made of a clip they follow each other and repeat its key; ``view`` then numbers those
    of an evaluation: all crops of the video's first piece, of its second and so on. ``dataset`` is the number of the
    dataset that each row is of, where the loader has several.

    All tensors are on one device, save masks and tokens, which may stay on the CPU: models read their counts on the
    host, which would wait for all that a GPU has to do. The loader leaves them there.

    Raises:
        ValueError: shapes, types or devices do not fit; the message names the field.
    """

    video: Float[Tensor, "B C T H W"]
    valid: Bool[Tensor, "B"]
    frame_times: Float32[Tensor, "B T"]
    keys: list[str]
    captions: list[str]
    sources: list[str]
    tokens: Int64[Tensor, "B L"] | None = None
    mask: Bool[Tensor, "B N"] | None = None
    label: Int64[Tensor, "B"] | None = None
    decoder_mask: Bool[Tensor, "B N"] | None = None
    view: Int64[Tensor, "B"] | None = None
    dataset: Int64[Tensor, "B"] | None = None

    def __post_init__(self) -> None:
        if self.video.ndim != _AXES or self.video.dtype not in {torch.float32, torch.bfloat16}:
            raise ValueError(
                f"video is {self.video.dtype} {list(self.video.shape)}; it must be float32 or bfloat16 [B, C, T, H, W]",
            )
        size, frames = self.video.shape[0], self.video.shape[2]
        self._check("valid", self.valid, torch.bool, [size])
        self._check("frame_times", self.frame_times, torch.float32, [size, frames])
        self._check("tokens", self.tokens, torch.int64, [size, None])
        self._check("mask", self.mask, torch.bool, [size, None])
        if self.decoder_mask is not None and self.mask is None:
            raise ValueError("decoder_mask is given without mask; it chooses among the masked cubes")
        self._check("decoder_mask", self.decoder_mask, torch.bool, [] if self.mask is None else [*self.mask.shape])
        for name in ("label", "view", "dataset"):
            self._check(name, getattr(self, name), torch.int64, [size])
        for name in ("keys", "captions", "sources"):
            count = len(getattr(self, name))
            if count != size:
                raise ValueError(f"{name} has {count} entries for a batch of {size}")

    def _check(self, name: str, value: Tensor | None, dtype: torch.dtype, shape: list[int | None]) -> None:
        if value is None:
            return
        fits = value.ndim == len(shape) and all(
            want in {None, got} for want, got in zip(shape, value.shape, strict=True)
        )
        if value.dtype != dtype or not fits:
            raise ValueError(f"{name} is {value.dtype} {list(value.shape)}; it must be {dtype} {shape}")
        at_home = name in _AT_HOME and value.device.type == "cpu"
        if value.device != self.video.device and not at_home:
            raise ValueError(f"{name} is on {value.device}, video on {self.video.device}; move the batch as a whole")

    def __len__(self) -> int:
        return self.video.shape[0]

    def __repr__(self) -> str:
        parts = ", ".join(f"{name} {list(value.shape)}" for name, value in self._tensors().items())
        return f"VideoTextBatch({parts}, {int(self.valid.sum())} of {len(self)} valid, on {self.video.device})"

    def _tensors(self) -> dict[str, Tensor]:
        named = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in named.items() if isinstance(value, Tensor)}

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> VideoTextBatch:
        """Return the batch on ``device``, save masks and tokens on the CPU; what is there already is shared."""
        moved: Mapping[str, Any] = {
            name: value.to(device, non_blocking=non_blocking)
            for name, value in self._tensors().items()
            if name not in _AT_HOME or value.device.type != "cpu"
        }
        return replace(self, **moved)

    def record_stream(self) -> None:
        """Tell torch that its current stream in the calling thread reads the batch, where another stream made it.

        Memory of a tensor that is let go is then used again only after that stream has come to where it was let go
        (torch, ``Tensor.record_stream``). On the CPU there is nothing to tell.
        """
        for value in self._tensors().values():
            if value.is_cuda:
                value.record_stream(torch.cuda.current_stream(value.device))

    def select(self, rows: slice) -> VideoTextBatch:
        """Return the samples of a slice; tensors are views."""
        parts: dict[str, Any] = {name: value[rows] for name, value in self._tensors().items()}
        parts |= {name: getattr(self, name)[rows] for name in ("keys", "captions", "sources")}
        return replace(self, **parts)

    def trimmed(self, multiple: int = 1) -> VideoTextBatch:
        """Return the batch with its tokens cut behind the longest text of a valid sample; other tensors are shared.

        A text ends with its last end token, the largest id of a row. What is cut off is padding, which no earlier
        position sees and no loss counts. On a GPU this waits for the tokens; the loader leaves them on the CPU.

        Args:
            multiple: the length is a multiple of it where the row has room, so that few lengths occur.

        Raises:
            ValueError: ``multiple`` is not positive.
        """
        if self.tokens is None or not len(self):
            return self
        return replace(self, tokens=trimmed_tokens(self.tokens, self.valid, multiple))

    def chunk(self, parts: int) -> list[VideoTextBatch]:
        """Return the batch as ``parts`` pieces in order, sizes equal or one apart, as gradient accumulation needs.

        Raises:
            ValueError: there are fewer samples than parts.
        """
        return [self.select(rows) for rows in chunk_bounds(len(self), parts)]


def trimmed_tokens(tokens: Int64[Tensor, "B L"], valid: Bool[Tensor, "B"], multiple: int = 1) -> Int64[Tensor, "B l"]:
    """Return the tokens cut behind the longest text of a valid sample; see ``VideoTextBatch.trimmed``.

    Raises:
        ValueError: ``multiple`` is not positive.
    """
    if multiple < 1:
        raise ValueError(f"multiple is {multiple}; it must be at least 1")
    context = tokens.shape[1]
    ends = context - tokens.flip(1).argmax(1)
    longest = int(torch.where(valid.to(ends.device), ends, 0).max())
    length = -(-max(longest, _SHORTEST_TEXT) // multiple) * multiple
    return tokens[:, : min(length, context)]


def chunk_bounds(size: int, parts: int) -> list[slice]:
    """Return where a batch is cut into pieces, sizes equal or one apart.

    Raises:
        ValueError: there are fewer samples than parts.
    """
    if not 1 <= parts <= size:
        raise ValueError(f"cannot cut a batch of {size} samples into {parts} parts")
    return [slice(low, high) for low, high in pairwise(size * part // parts for part in range(parts + 1))]
