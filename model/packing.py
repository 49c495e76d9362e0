"""Clips of different length and size behind one another in one sequence, without padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from model.attention import BlockDiagonal
from model.config import Grid
from model.masking import send
from model.patches import clip_grid, pick_cubes
from model.positions import resize_table, sinusoid_table

# Axes: C clips of a pack, N tokens of a clip, S tokens of all clips, V visible and M predicted tokens of all clips,
# T frames, H rows and W columns of pixels, t p p frames, rows and columns of a cube, D width.


@dataclass(frozen=True)
class Pack:
    """How many tokens each clip has in a packed sequence, in order.

    Attributes:
        lengths: Tokens of each clip.
    """

    lengths: tuple[int, ...]

    def __post_init__(self) -> None:
        """Refuse clips without tokens.

        Raises:
            ValueError: There is no clip, or one has no token.
        """
        if not self.lengths or min(self.lengths) < 1:
            raise ValueError(f"lengths {self.lengths}: there must be at least one clip, each of at least one token")

    @property
    def total(self) -> int:
        """Tokens of all clips, S."""
        return sum(self.lengths)

    @property
    def bias(self) -> BlockDiagonal:
        """Each clip sees itself only."""
        return BlockDiagonal.of(self.lengths)

    def bias_to(self, keys: Pack) -> BlockDiagonal:
        """Each clip's tokens see the same clip's tokens of another pack only."""
        return BlockDiagonal(self.lengths, keys.lengths)

    def pack(self, sequences: Sequence[Float[Tensor, "N D"]]) -> Float[Tensor, "1 S D"]:
        """Put sequences behind one another.

        Raises:
            ValueError: They do not have the pack's lengths.
        """
        given = tuple(len(sequence) for sequence in sequences)
        if given != self.lengths:
            raise ValueError(f"the sequences have {given} tokens and the pack {self.lengths}")
        return torch.cat(list(sequences))[None]

    def unpack(self, packed: Float[Tensor, "1 S D"]) -> list[Float[Tensor, "N D"]]:
        """Return each clip's tokens, as views."""
        self._require(packed)
        return list(torch.split(packed[0], list(self.lengths)))

    def mean(self, packed: Float[Tensor, "1 S D"]) -> Float[Tensor, "C D"]:
        """Average the tokens of each clip."""
        self._require(packed)
        counts = send(torch.tensor(self.lengths), packed.device)
        return torch.segment_reduce(packed[0], "mean", lengths=counts, axis=0, unsafe=True)

    def clip_numbers(self, device: torch.device | None = None) -> Int64[Tensor, "S"]:
        """Return the number of each token's clip."""
        return torch.repeat_interleave(torch.tensor(self.lengths), output_size=self.total).to(device)

    def firsts(self) -> list[int]:
        """Return the place of each clip's first token."""
        return [sum(self.lengths[:clip]) for clip in range(len(self.lengths))]

    def _require(self, packed: Tensor) -> None:
        if packed.shape[:2] != (1, self.total):
            raise ValueError(f"the packed sequence has shape {tuple(packed.shape)}: [1, {self.total}, D] is taken")


@dataclass(frozen=True)
class PackedSplit:
    """Where the tokens of packed clips are: the visible ones, and the ones that the decoder returns.

    Attributes:
        grids: The different grids of the clips; position tables lie behind one another in this order.
        visible: The encoder's sequence, each clip's visible tokens in ascending order.
        joint: The decoder's sequence, for each clip the visible tokens and then the masked ones that are predicted.
        predicted: What the decoder returns of each clip: its masked tokens, or all tokens where none is masked.
        visible_tokens: Token number in its clip of each visible token.
        predicted_tokens: The same of each returned token.
        visible_rows: Row of each visible token in the position tables.
        masked_rows: The same of each masked token that the decoder sees.
        order: For each place of the decoder's sequence, the number of its token among all visible tokens followed by
            all masked ones.
        keep: Places in the decoder's sequence of the returned tokens.
    """

    grids: tuple[Grid, ...]
    visible: Pack
    joint: Pack
    predicted: Pack
    visible_tokens: Int64[Tensor, "V"]
    predicted_tokens: Int64[Tensor, "M"]
    visible_rows: Int64[Tensor, "V"]
    masked_rows: Int64[Tensor, "G"]
    order: Int64[Tensor, "S"]
    keep: Int64[Tensor, "M"]


def split_packed(
    grids: Sequence[Grid],
    masks: Sequence[Bool[Tensor, "N"]],
    decoder_masks: Sequence[Bool[Tensor, "N"]] | None = None,
    *,
    device: torch.device | None = None,
) -> PackedSplit:
    """List the tokens of packed clips; each clip may hide another number, also none.

    All numbers are made on the host, from masks that best lie there, and sent to the device once.

    Args:
        grids: The cubes of each clip.
        masks: For each clip, True where a token is hidden.
        decoder_masks: For each clip, True where a hidden token is kept from the decoder too and not predicted.
        device: Where the numbers go.

    Raises:
        ValueError: Masks that are not the clips', or that leave nothing to see or nothing to predict.
    """
    whole = Pack(tuple(grid.tokens for grid in grids))
    clip = whole.clip_numbers()
    token = torch.arange(whole.total) - torch.tensor(whole.firsts())[clip]
    different = tuple(dict.fromkeys(grids))
    table_starts = Pack(tuple(grid.tokens for grid in different)).firsts()
    row = token + torch.tensor([table_starts[different.index(grid)] for grid in grids])[clip]
    hidden = _joined(masks, grids)
    guessed = hidden if decoder_masks is None else hidden & ~_joined(decoder_masks, grids)
    counts = _Counts.of(clip, hidden, guessed, len(grids))
    owner = torch.cat([clip[~hidden], clip[guessed]])
    late = torch.arange(len(owner)) >= sum(counts.visible)
    order = torch.argsort(owner, stable=True)  # so within a clip the visible tokens stay first
    returned = (late | ~counts.hides[owner])[order]
    lengths = torch.bincount(owner[order][returned]).tolist()
    return PackedSplit(
        grids=different,
        visible=Pack(counts.visible),
        joint=Pack(tuple(torch.bincount(owner).tolist())),
        predicted=Pack(tuple(lengths)),
        visible_tokens=_sent(token[~hidden], device),
        predicted_tokens=_sent(torch.cat([token[~hidden], token[guessed]])[order][returned], device),
        visible_rows=_sent(row[~hidden], device),
        masked_rows=_sent(row[guessed], device),
        order=_sent(order, device),
        keep=_sent(returned.nonzero()[:, 0], device),
    )


def clip_grids(clips: Sequence[Float[Tensor, "3 T H W"]], tubelet: int, patch: int) -> list[Grid]:
    """Return the cubes of each clip.

    Raises:
        ValueError: A clip is no [3, T, H, W], is an image while cubes span several frames, or does not come out even;
            its number is named.
    """
    grids = []
    for number, clip in enumerate(clips):
        if clip.ndim != 4:  # noqa: PLR2004 - the four axes of the legend
            raise ValueError(f"clip {number} has shape {tuple(clip.shape)}: [3, T, H, W] is taken")
        if clip.shape[1] == 1 and tubelet > 1:
            raise ValueError(
                f"clip {number} is an image, one frame, and the model's cubes span {tubelet} frames: "
                "pack images with a model of tubelet 1"
            )
        try:
            grids.append(clip_grid(clip[None], tubelet, patch))
        except ValueError as error:
            raise ValueError(f"clip {number}: {error}") from None
    return grids


def cut_packed(
    clips: Sequence[Float[Tensor, "3 T H W"]], tokens: Int64[Tensor, "S"], pack: Pack, tubelet: int, patch: int
) -> Float[Tensor, "1 S 3 t p p"]:
    """Cut the chosen cubes out of clips, all clips of one size at once.

    Args:
        clips: Clips of any sizes that come out even.
        tokens: Numbers of the wanted cubes in their clips, clip after clip.
        pack: How many are wanted of each clip.
        tubelet: Frames in a cube.
        patch: Edge of a cube in pixels.
    """
    sizes: dict[torch.Size, list[int]] = {}
    for number, clip in enumerate(clips):
        sizes.setdefault(clip.shape, []).append(number)
    wanted = torch.split(tokens, list(pack.lengths))
    pieces: dict[int, Tensor] = {}
    for members in sizes.values():
        part = Pack(tuple(pack.lengths[number] for number in members))
        video = torch.stack([clips[number] for number in members])
        chosen = torch.cat([wanted[number] for number in members])
        cubes = pick_cubes(video, tubelet, patch, send(part.clip_numbers(), tokens.device), chosen)
        pieces |= zip(members, torch.split(cubes, list(part.lengths)), strict=True)
    return torch.cat([pieces[number] for number in range(len(clips))])[None]


def packed_tables(
    grids: Sequence[Grid], base: Grid, width: int, device: torch.device, *, resize: bool
) -> Float[Tensor, "R D"]:
    """Return the sinusoid position tables of several grids behind one another, in float32.

    Args:
        grids: The different grids.
        base: The grid that the network is configured for.
        width: Channels D of a token.
        device: Where the tables are wanted.
        resize: True makes a table for ``base`` and resizes it to each grid; False makes one for each grid.
    """
    tables = [_table(grid, base if resize else grid, width, device) for grid in grids]
    return tables[0] if len(tables) == 1 else torch.cat(tables)


@lru_cache(maxsize=32)
def _table(grid: Grid, base: Grid, width: int, device: torch.device) -> Float[Tensor, "N D"]:
    with torch.inference_mode(mode=False), torch.device("cpu"):
        return resize_table(sinusoid_table(base.tokens, width), base, grid).to(device)


@dataclass(frozen=True)
class _Counts:
    """Visible tokens of each clip, and whether it hides any."""

    visible: tuple[int, ...]
    hides: Bool[Tensor, "C"]

    @classmethod
    def of(cls, clip: Tensor, hidden: Tensor, guessed: Tensor, clips: int) -> _Counts:
        seen, masked, predicted = (
            torch.bincount(clip[chosen], minlength=clips) for chosen in (~hidden, hidden, guessed)
        )
        for number, (shown, hides, asked) in enumerate(
            zip(*(c.tolist() for c in (seen, masked, predicted)), strict=True)
        ):
            if not shown:
                raise ValueError(f"the mask of clip {number} hides all {hides} tokens: leave at least one visible")
            if hides and not asked:
                raise ValueError(
                    f"the decoder mask of clip {number} hides every masked token: leave at least one to predict"
                )
        return cls(tuple(seen.tolist()), masked > 0)


def _joined(masks: Sequence[Bool[Tensor, "N"]], grids: Sequence[Grid]) -> Bool[Tensor, "S"]:
    if len(masks) != len(grids):
        raise ValueError(f"{len(masks)} masks for {len(grids)} clips: one for each is taken")
    for number, (mask, grid) in enumerate(zip(masks, grids, strict=True)):
        if mask.dtype != torch.bool or mask.shape != (grid.tokens,):
            raise ValueError(
                f"the mask of clip {number} is {mask.dtype} of shape {tuple(mask.shape)}: "
                f"a boolean [{grid.tokens}] is taken, {grid}"
            )
    return torch.cat([mask.cpu() for mask in masks])


def _sent(numbers: Int64[Tensor, "..."], device: torch.device | None) -> Int64[Tensor, "..."]:
    return numbers if device is None else send(numbers, device)
