"""Where the tokens of each frame lie: clips of one shape as a batch, clips of many shapes packed behind each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from model.attention import BlockDiagonal
from model.config import Grid
from model.layers import DropPath
from model.patches import require_floating

# Axes: B clips, b clips of one shape, S time slots, F frames = slots of all clips, N tokens of a frame (the class token
# first, then the patches row by row), L patches of a frame, M rows of tokens, D width.
# "F N D" is the batch form: one row per frame. Packed clips are one row, [1, M, D], with all frames behind each other.


@dataclass(frozen=True)
class ClipGroup:
    """Clips of one shape.

    Attributes:
        count: How many.
        grid: Their time slots, and the patches of a frame.
    """

    count: int
    grid: Grid

    @property
    def frame_tokens(self) -> int:
        """Tokens of a frame, the class token among them."""
        return 1 + self.grid.rows * self.grid.columns

    @property
    def frames(self) -> int:
        """Frames of all clips."""
        return self.count * self.grid.slots


@dataclass(frozen=True)
class FrameLayout:
    """The shapes of the clips whose tokens lie in one tensor, group by group, clip by clip, frame by frame.

    Attributes:
        groups: Clips of equal shape stand together; one group is a plain batch.
    """

    groups: tuple[ClipGroup, ...]

    @property
    def clips(self) -> int:
        """Number of clips B."""
        return sum(group.count for group in self.groups)

    @property
    def packed(self) -> bool:
        """Whether clips of several shapes lie in one row."""
        return len(self.groups) > 1

    @cached_property
    def within_frames(self) -> BlockDiagonal | None:
        """The rule that tokens see their own frame only; a plain batch needs none."""
        return BlockDiagonal.of(self._frame_lengths) if self.packed else None

    @cached_property
    def class_to_frame(self) -> BlockDiagonal | None:
        """The rule that the class token of each frame sees its own frame only; a plain batch needs none."""
        lengths = self._frame_lengths
        return BlockDiagonal((1,) * len(lengths), lengths) if self.packed else None

    @property
    def _frame_lengths(self) -> tuple[int, ...]:
        return tuple(group.frame_tokens for group in self.groups for _ in range(group.frames))

    def join(self, parts: Sequence[Float[Tensor, "b S N D"]]) -> Float[Tensor, "F N D"]:
        """Lay the tokens of each group in one tensor: a copy where there are several groups, else none."""
        if not self.packed:
            return parts[0].flatten(0, 1)
        return torch.cat([part.flatten(0, 2) for part in parts])[None]

    def split(self, x: Float[Tensor, "F N D"]) -> list[Float[Tensor, "b S N D"]]:
        """View the tokens of each group by clip and frame; ``x`` holds all tokens of each frame, or one of each."""
        width = x.shape[-1]
        if not self.packed:
            group = self.groups[0]
            return [x.view(group.count, group.grid.slots, -1, width)]
        single = x.shape[1] == sum(group.frames for group in self.groups)
        sizes = [group.frames * (1 if single else group.frame_tokens) for group in self.groups]
        return [
            part.view(group.count, group.grid.slots, -1, width)
            for part, group in zip(torch.split(x[0], sizes), self.groups, strict=True)
        ]

    def class_tokens(self, x: Float[Tensor, "F N D"]) -> Float[Tensor, "F 1 D"]:
        """Take the class token of each frame; packed clips give one row of them, [1, F, D]."""
        if not self.packed:
            return x[:, :1]
        return self.join([part[:, :, :1] for part in self.split(x)])

    def patches(self, x: Float[Tensor, "F N D"]) -> list[Float[Tensor, "b S L D"]]:
        """View the tokens of each group without class tokens."""
        return [part[:, :, 1:] for part in self.split(x)]

    def class_mean(self, classes: Float[Tensor, "F 1 D"]) -> Float[Tensor, "B D"]:
        """Average the class tokens of each clip over its frames."""
        means = [part.mean(dim=(1, 2)) for part in self.split(classes)]
        return torch.cat(means) if self.packed else means[0]

    def drop_clips(self, drop_path: DropPath, branch: Float[Tensor, "F N D"]) -> Float[Tensor, "F N D"]:
        """Apply stochastic depth to a branch: a clip is dropped with all its frames.

        The public code drops along the first axis of tensors whose first axis is the token's position, so that in its
        backbone attention and MLP a position falls out in all frames of all clips at once. Here, as in Huang et al.
        (arXiv 1603.09382), it is the branch of one sample that falls out; the expected value is the same.
        """
        if not drop_path.training or not drop_path.rate:
            return branch
        dropped: Tensor
        if not self.packed:
            dropped = drop_path(branch.reshape(self.clips, -1, branch.shape[-1]))
            return dropped.view_as(branch)
        lengths = [part.shape[1:3].numel() for part in self.split(branch) for _ in range(part.shape[0])]
        dropped = drop_path(branch, BlockDiagonal.of(tuple(lengths)))
        return dropped


@dataclass(frozen=True)
class Grouping:
    """Clips sorted by shape.

    Attributes:
        groups: The clips of each shape, stacked.
        places: For each clip that was given, its number in the sorted order.
    """

    groups: tuple[Float[Tensor, "b 3 T H W"], ...]
    places: tuple[int, ...]


def group_clips(clips: Sequence[Float[Tensor, "3 T H W"]]) -> Grouping:
    """Stack the clips of equal shape; shapes stand in the order in which they first come.

    Raises:
        ValueError: No clips, or one that is no [3, T, H, W] in floating point.
    """
    if not clips:
        raise ValueError("no clips were given: at least one is taken")
    members: dict[torch.Size, list[int]] = {}
    for number, clip in enumerate(clips):
        if clip.ndim != 4:  # noqa: PLR2004 - the four axes of the legend
            raise ValueError(f"clip {number} has shape {tuple(clip.shape)}: [3, T, H, W] is taken")
        require_floating(clip)  # A stack with others would hide it.
        members.setdefault(clip.shape, []).append(number)
    order = [number for numbers in members.values() for number in numbers]
    places = sorted(range(len(order)), key=order.__getitem__)
    stacked = tuple(torch.stack([clips[number] for number in numbers]) for numbers in members.values())
    return Grouping(stacked, tuple(places))
