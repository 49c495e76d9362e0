"""Weights of one network as the first weights of another: every key of both is used, or named with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import Tensor, nn

from model.class_rows import ClassLists, fit_head, is_head
from model.clip_config import UniFormerConfig, VideoTextConfig
from model.config import Grid, ViTConfig
from model.coordination_config import CoordinationConfig
from model.entries import listed
from model.positions import resize_table
from model.saved import Description, describe
from model.uniformer import inflate_patch_kernel

_SAME: Final = (("", ""),)
_ROUTES: Final[Mapping[tuple[str, str], tuple[tuple[str, str], ...]]] = {
    ("videomae_pretrain", "videomae_classifier"): (("encoder.", ""),),
    ("mm_video_encoder", "uniformerv2"): (("visual.", ""),),
    ("mm_full", "uniformerv2"): (("video.visual.", ""),),
    ("mm_full", "mm_video_encoder"): (("video.", ""),),
    ("mm_full", "mm_vqa"): _SAME,
    ("mm_video_encoder", "mm_full"): (("", "video."),),
    ("uniformerv2", "mm_full"): (("", "video.visual."),),
    ("clip_text", "mm_full"): (("", "text."),),
}
"""How names change from one kind of network to another, by how they begin; a kind's own names stay."""

_POSITIONS: Final = "positional_embedding"
_CUBE_POSITIONS: Final = "pos_embed"
_IMAGE_KERNEL: Final = "conv1.weight"
_KERNEL_AXES: Final = 5


@dataclass(frozen=True)
class Transfer:
    """What of a source becomes first weights of a target.

    Attributes:
        weights: Weights by the target's names, of its shapes and types.
        used: Keys of the source that became weights.
        left_out: Keys of the source that did not, each with the reason.
        fresh: Weights of the target that the source does not give, each with the reason; they keep their first values.
        changed: Weights of the target that the source gives in another shape, each with what was done.
        notes: What no weight shows and one should know.
    """

    weights: dict[str, Tensor]
    used: tuple[str, ...]
    left_out: Mapping[str, str]
    fresh: Mapping[str, str]
    changed: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def transfer(
    weights: Mapping[str, Tensor], source: Description, target: nn.Module, *, classes: ClassLists | None = None
) -> Transfer:
    """Find first weights for a network among those of another.

    =====================  ==================================================================================
    videomae_pretrain      a ``videomae_classifier`` takes the encoder; its norm and its head start fresh
    mm_full                ``uniformerv2`` takes the video encoder, ``mm_vqa`` all but the predictor
    mm_video_encoder       ``uniformerv2`` and ``mm_full`` take it
    uniformerv2            ``mm_full`` takes it, without its head
    clip_text              ``mm_full`` takes it
    any                    another network of its kind
    =====================  ==================================================================================

    Between networks of other sizes: position tables of frames are resized as the network itself would do it; a patch
    kernel of one frame is put in the middle of three (UniFormerV2, arXiv 2211.09552); the text tower's positions are
    cut to a shorter context; a head keeps the rows of classes that both class lists name. Where CLIP's weights are the
    source, what is new starts as the identity, because a fresh network does.

    Args:
        weights: Weights by the names of the source's kind; some of them may be absent.
        source: What they are of.
        target: The network that takes them; it is not changed.
        classes: What the rows of the two heads stand for, where both have one.

    Raises:
        ValueError: The one kind has no use for the other, the two have other shapes or heads, or nothing fits.
    """
    about = describe(target)
    wanted = target.state_dict()
    names = _route(weights, source.kind, about.kind)
    places = {name: key for key, name in names.items() if name in wanted}
    left = {key: f"a {about.kind} has no such part" for key, name in names.items() if name not in wanted}
    _require_same_heads(source, about)
    fitting = _Fitting(source, about, classes or ClassLists())
    for name, key in places.items():
        fitting.fit(name, weights[key], wanted[name])
    fitting.require_shapes()
    found = fitting.weights
    if not found:
        raise ValueError(f"nothing of this {source.kind} fits the {about.kind}: {listed(list(names))}")
    left |= {key: fitting.fresh[name] for name, key in places.items() if name in fitting.fresh}
    absent = {name: f"the {source.kind} does not give it" for name in wanted if name not in places}
    return Transfer(
        weights=found,
        used=tuple(key for name, key in places.items() if name in found),
        left_out=left,
        fresh=absent | fitting.fresh,
        changed=fitting.changed,
        notes=(*fitting.notes, *_notes(source, about, found)),
    )


class _Fitting:
    """Fits tensors one by one to the places that they go to, and keeps account."""

    def __init__(self, source: Description, target: Description, classes: ClassLists) -> None:
        self.weights: dict[str, Tensor] = {}
        self.fresh: dict[str, str] = {}
        self.changed: dict[str, str] = {}
        self.notes: dict[str, None] = {}
        self._wrong: list[str] = []
        self._target, self._classes = target, classes
        self._before, self._after = _grids(source), _grids(target)

    def fit(self, name: str, value: Tensor, own: Tensor) -> None:
        """Fit one tensor, called ``name`` in the target, which has ``own`` there."""
        if is_head(self._target.kind, name) and value.shape[1:] == own.shape[1:]:
            self._take_rows(name, value, own)
            return
        fitted = _reshaped(name, value, own, self._before.get(_tower(name)), self._after.get(_tower(name)))
        if fitted.value.shape != own.shape:
            self._wrong.append(f"{name} is {list(value.shape)} and should be {list(own.shape)}")
            return
        self.weights[name] = fitted.value.detach().to(own.dtype)
        if fitted.how:
            self.changed[name] = fitted.how

    def _take_rows(self, name: str, value: Tensor, own: Tensor) -> None:
        head = fit_head(value, own, self._classes)
        if head.value is None:
            self.fresh[name] = head.how
            return
        self.weights[name] = head.value
        if head.how:
            self.changed[name] = head.how
        if head.assumed:
            self.notes[f"the {len(own)} classes are taken to be the same, in the same order: no two lists say"] = None

    def require_shapes(self) -> None:
        """Refuse what fits nowhere.

        Raises:
            ValueError: Tensors have other shapes than the target's; they are named.
        """
        if self._wrong:
            raise ValueError(f"the weights are of a network of other sizes: {listed(self._wrong)}")


@dataclass(frozen=True)
class _Fitted:
    value: Tensor
    how: str | None = None


def _route(weights: Mapping[str, Tensor], source: str, target: str) -> dict[str, str | None]:
    """Return the target's name for each key, or None where it is of a part that the target does not take."""
    rules = _SAME if source == target else _ROUTES.get((source, target))
    if rules is None:
        able = [kind for kind, taken in _ROUTES if taken == target]
        raise ValueError(f"a {target} does not start from a {source}: {', '.join([target, *able])} are taken")
    starts = {key: next((rule for rule in rules if key.startswith(rule[0])), None) for key in weights}
    return {key: rule and rule[1] + key.removeprefix(rule[0]) for key, rule in starts.items()}


def _reshaped(name: str, value: Tensor, own: Tensor, before: Grid | None, after: Grid | None) -> _Fitted:
    """Bring a tensor into the shape of the target's where there is a way that keeps its meaning."""
    if name.endswith(_CUBE_POSITIONS) and before is not None and after is not None:
        return _resize_cubes(value, before, after)
    if name.endswith(_POSITIONS):
        if before is not None and after is not None:
            return _resize(value, before, after)
        if len(value) > len(own):
            return _Fitted(value[: len(own)], f"cut from {len(value)} to {len(own)} positions")
    if name.endswith(_IMAGE_KERNEL) and value.ndim == own.ndim == _KERNEL_AXES and value.shape[2] == 1 < own.shape[2]:
        frames = own.shape[2]
        return _Fitted(inflate_patch_kernel(value[:, :, 0], frames), f"put in the middle of {frames} frames")
    return _Fitted(value)


def _resize(table: Tensor, before: Grid, after: Grid) -> _Fitted:
    """Resize the positions of a frame's patches, as ``UniFormerTrunk`` does for clips of another size."""
    if (before.rows, before.columns) == (after.rows, after.columns) or len(table) != before.rows * before.columns + 1:
        return _Fitted(table)
    source, target = Grid(1, before.rows, before.columns), Grid(1, after.rows, after.columns)
    resized = resize_table(table[1:].float(), source, target)
    how = f"resized from {before.rows}x{before.columns} to {after.rows}x{after.columns} patches"
    return _Fitted(torch.cat([table[:1].float(), resized]), how)


def _resize_cubes(table: Tensor, before: Grid, after: Grid) -> _Fitted:
    """Resize learnable positions of cubes, as the fixed ones are where ``base_grid`` says so."""
    if before == after or table.shape[1:-1].numel() != before.tokens:
        return _Fitted(table)
    how = f"resized from {_spelt(before)} to {_spelt(after)} cubes"
    return _Fitted(resize_table(table[0].float(), before, after)[None], how)


def _spelt(grid: Grid) -> str:
    return f"{grid.slots}x{grid.rows}x{grid.columns}"


def _tower(name: str) -> str:
    return name.removesuffix(_POSITIONS).removesuffix(_CUBE_POSITIONS)


def _grids(about: Description) -> dict[str, Grid]:
    """Return the grids of position tables, by what stands before their names in a network that takes them."""
    config = about.config
    if isinstance(config, CoordinationConfig):
        others = {f"multimodal.{number}.": each.grid for number, each in enumerate(config.multimodal)}
        return {"masked.": config.masked.grid} | others
    tower = config.video if isinstance(config, VideoTextConfig) else config
    if not isinstance(tower, UniFormerConfig | ViTConfig):
        return {}
    return dict.fromkeys(("", "visual.", "video.visual."), tower.grid)


def _towers(config: object) -> dict[str, Any]:
    """Return the configurations of a network's towers, by what they are."""
    if isinstance(config, CoordinationConfig):
        return {"masked": config.masked} | {f"multimodal.{i}": each for i, each in enumerate(config.multimodal)}
    if isinstance(config, VideoTextConfig):
        return {"video": config.video, "text": config.text, "captioner": config.captioner}
    return {"video" if isinstance(config, UniFormerConfig | ViTConfig) else "text": config}


def _require_same_heads(source: Description, target: Description) -> None:
    """Refuse weights that were trained with another number of attention heads: their shapes do not show it."""
    others = _towers(target.config)
    for tower, before in _towers(source.config).items():
        after = others.get(tower)
        for name in ("heads", "global_heads", "decoder_heads"):
            mine, wanted = _heads(before, name), _heads(after, name)
            if mine and wanted and mine != wanted:
                raise ValueError(
                    f"the weights are of a network with {tower} {name}={mine} and the model has {wanted}, which no "
                    f"shape shows; give the model {name}={mine}, or convert the file with --set {name}={wanted} if "
                    "that is what it is"
                )


def _heads(config: object, name: str) -> int | None:
    found: int | None = getattr(config, name, None)
    return getattr(config, "heads", None) if name == "global_heads" and found is None else found


def _notes(source: Description, target: Description, found: Mapping[str, Tensor]) -> list[str]:
    """Say what differs between the towers and shows in no shape, but can be meant."""
    notes = []
    others = _towers(target.config)
    for tower, before in _towers(source.config).items():
        after = others.get(tower)
        if isinstance(before, ViTConfig) and isinstance(after, ViTConfig):
            notes += [] if getattr(after, "learnable_positions", False) else _grid_note(before, after)
        elif isinstance(before, UniFormerConfig) and isinstance(after, UniFormerConfig):
            has_blocks = any("transformer.dec." in name for name in found)
            if has_blocks and before.global_blocks != after.global_blocks:
                notes.append(f"global blocks stood after blocks {before.global_blocks}, and now {after.global_blocks}")
    return notes


def _base_grid(config: ViTConfig) -> Grid:
    base: Grid | None = getattr(config, "base_grid", None)
    return base or config.grid


def _grid_note(source: ViTConfig, target: ViTConfig) -> list[str]:
    before, after = _base_grid(source), _base_grid(target)
    if before == after:
        return []
    base = f"slots={before.slots} rows={before.rows} columns={before.columns}"
    made = f"the positions were those of {_spelt(before)} cubes and are made anew for {_spelt(after)}"
    return [f"{made}; a classifier with base_grid {base} resizes the former"]
