"""Published checkpoints to our weights and back: every entry is used, or named with the reason why it is not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from model.clip_layouts import AnsweringLayout, ClipLayout, MultimodalLayout, RetrievalLayout, UniFormerLayout
from model.entries import listed, require_same_entries, shapes_of
from model.inferred_configs import infer_config
from model.inferred_sizes import UnfitShapesError, spell_shapes
from model.kinds import build_network
from model.layout import Layout
from model.run_layout import RunLayout
from model.videomae_layouts import HuggingFaceVideoMAELayout, VideoMAELayout

LAYOUTS: Final[Mapping[str, Layout]] = {
    layout.name: layout
    for layout in (
        VideoMAELayout(),
        HuggingFaceVideoMAELayout(),
        UniFormerLayout(),
        AnsweringLayout(),
        MultimodalLayout(),
        RetrievalLayout(),
        ClipLayout(),
        RunLayout(),
    )
}
"""The published layouts by the names that a user gives them, in the order in which a file is tried."""

_WRAPPERS: Final = tuple(wrapper for layout in LAYOUTS.values() for wrapper in layout.wrappers)
_BESIDE: Final = "lies beside the weights"
_NO_TENSOR: Final = "is no tensor"


@dataclass(frozen=True)
class Reading:
    """A published checkpoint as a network of ours.

    Attributes:
        layout: Name of the layout that it was read as.
        wrapper: Entry that the weights lay under; None where they were bare.
        kind: Kind of network.
        config: Its configuration.
        assumed: Fields that neither the weights' shapes nor the user tell, with the values taken.
        weights: Its weights by our names, floating-point ones in float32.
        used: Keys that became weights.
        left: Keys that did not, each with the reason.
        fresh: Our weights that the file does not hold; they have their first values.
        dtypes: How many of the used tensors had which type.
    """

    layout: str
    wrapper: str | None
    kind: str
    config: Any
    assumed: Mapping[str, Any]
    weights: Mapping[str, Tensor]
    used: tuple[str, ...]
    left: Mapping[str, str]
    fresh: tuple[str, ...]
    dtypes: Mapping[str, int]


@dataclass(frozen=True)
class Written:
    """Weights in a published layout.

    Attributes:
        entries: Tensors by the layout's keys.
        left: Our weights that have no place in it, each with the reason.
    """

    entries: Mapping[str, Tensor]
    left: Mapping[str, str]


def find_layout(name: str) -> Layout:
    """Return the layout of a name.

    Raises:
        ValueError: There is none.
    """
    if name not in LAYOUTS:
        raise ValueError(f"there is no layout {name!r}; known are {', '.join(LAYOUTS)}")
    return LAYOUTS[name]


def read_checkpoint(
    checkpoint: Mapping[str, Any],
    *,
    layout: str | None = None,
    kind: str | None = None,
    given: Mapping[str, Any] | None = None,
) -> Reading:
    """Read a published checkpoint as weights of ours.

    Args:
        checkpoint: What the file holds, by key.
        layout: Name of its layout; None finds it by the keys.
        kind: Kind of network that is wanted; None takes the one that the file is of.
        given: Fields of the configuration, as ``infer_config`` takes them.

    Raises:
        ValueError: The file is of no known layout or not of the one given, or a key is missing, unknown or of another
            shape than the rest asks for; it is named.
    """
    opened = _open(checkpoint, layout)
    kind = _choose_kind(opened, kind)
    source = _spell(opened, kind)
    given = given or {}
    left = opened.left | {source[name]: why for name, why in opened.layout.spare(kind, source, given).items()}
    entries = {name: opened.entries[key] for name, key in source.items() if key not in left}
    _require_values(entries, source)
    weights = opened.layout.read(kind, {name: as_float32(value) for name, value in entries.items()}, given)

    def spell(name: str) -> str:
        name = opened.layout.spell(kind, name)
        return source.get(name, name)

    try:
        inferred = infer_config(kind, weights, given)
    except UnfitShapesError as error:
        raise ValueError(f"in the layout {opened.layout.name}, {error.spelt(spell)}") from error
    told = spell_shapes(inferred.told_by, spell)
    try:
        fresh = _check_entries(opened.layout, kind, inferred.config, entries, source)
    except ValueError as error:
        raise ValueError(f"{error}; sizes are told by {told}") from error
    opened.layout.verify(kind, entries)
    return Reading(
        layout=opened.layout.name,
        wrapper=opened.wrapper,
        kind=kind,
        config=inferred.config,
        assumed=inferred.assumed,
        weights=_completed(kind, inferred.config, weights, fresh),
        used=tuple(source[name] for name in entries),
        left=left,
        fresh=fresh,
        dtypes=count_types(entries),
    )


def write_checkpoint(layout: str, kind: str, config: object, weights: Mapping[str, Tensor]) -> Written:
    """Lay weights of ours out as a published layout does.

    Raises:
        ValueError: The layout has no such kind of network, or cannot say something that this network has.
    """
    chosen = find_layout(layout)
    if not chosen.writes:
        raise ValueError(f"the layout {layout} is read, and not written")
    if kind not in chosen.writes:
        able = [each.name for each in LAYOUTS.values() if kind in each.writes]
        raise ValueError(
            f"the layout {layout} holds {' or '.join(chosen.writes)}, and this is a {kind}; "
            f"layouts for it: {', '.join(able) or 'none'}"
        )
    reasons = {name: chosen.unwritten(kind, name) for name in weights}
    held = {name: value for name, value in weights.items() if reasons[name] is None}
    return Written(chosen.write(kind, held, config), {name: why for name, why in reasons.items() if why})


def _require_values(entries: Mapping[str, Tensor], source: Mapping[str, str]) -> None:
    """Check that entries hold values one by one: real ones, in memory.

    Raises:
        ValueError: An entry is sparse, complex, quantised or a shape alone; it is named by its key in ``source``.
    """
    for name, value in entries.items():
        if value.layout != torch.strided or value.is_meta or value.is_complex() or value.is_quantized:
            what = "a shape without values" if value.is_meta else f"{value.dtype} in the form {value.layout}"
            raise ValueError(f"{source[name]} is {what.replace('torch.', '')}: dense real tensors are taken")


def as_float32(value: Tensor) -> Tensor:
    """Return a tensor with floating-point values in float32; whole numbers stay as they are."""
    return value.detach().float() if value.is_floating_point() else value.detach()


@dataclass(frozen=True)
class _Opened:
    """A checkpoint whose layout is known: the tensors of its weights, and what lies beside them."""

    layout: Layout
    wrapper: str | None
    kind: str
    entries: dict[str, Tensor]
    left: dict[str, str]


def _open(checkpoint: Mapping[str, Any], name: str | None) -> _Opened:
    """Find the layout of a checkpoint, and the weights in it."""
    wrapper = next((each for each in _WRAPPERS if isinstance(checkpoint.get(each), Mapping)), None)
    found = checkpoint if wrapper is None else checkpoint[wrapper]
    entries = {str(key): value for key, value in found.items() if isinstance(value, Tensor)}
    if not entries:
        held = listed([f"{key} ({type(value).__name__})" for key, value in found.items()]) or "nothing"
        places = ", ".join(dict.fromkeys(_WRAPPERS))
        raise ValueError(f"{wrapper or 'this'} holds no tensors; it holds {held}; weights lie bare or under {places}")
    left = {str(key): _NO_TENSOR for key, value in found.items() if not isinstance(value, Tensor)}
    if wrapper is not None:
        left |= {str(key): _BESIDE for key in checkpoint if key != wrapper}
    for layout in LAYOUTS.values() if name is None else (find_layout(name),):
        kind = layout.kind_of(entries)
        if kind is not None:
            return _Opened(layout, wrapper, kind, entries, left)
    wanted = f"the layout {name}" if name else "any layout known here"
    taken = [f"{each.name} ({each.keys})" for each in LAYOUTS.values() if name in (None, each.name)]
    raise ValueError(f"these keys are not of {wanted}: {listed(list(entries))}; taken are {', '.join(taken)}")


def _choose_kind(opened: _Opened, wanted: str | None) -> str:
    kinds = opened.layout.reads
    if wanted is not None and wanted not in kinds:
        raise ValueError(f"a {opened.layout.name} file makes {' or '.join(kinds)}, and not a {wanted}")
    return wanted or opened.kind


def _spell(opened: _Opened, kind: str) -> dict[str, str]:
    """Return the file's keys by their one spelling."""
    source: dict[str, str] = {}
    for key in opened.entries:
        name = opened.layout.canonical(kind, key)
        if name in source:
            raise ValueError(f"{source[name]} and {key} are the same weight twice")
        source[name] = key
    return source


def _check_entries(
    layout: Layout, kind: str, config: object, entries: Mapping[str, Tensor], source: Mapping[str, str]
) -> tuple[str, ...]:
    """Compare a file's entries with those of the network that they should make; return our weights that it lacks."""
    with torch.device("meta"):
        wanted = build_network(kind, config).state_dict()
    fresh = {name for name in wanted if layout.may_be_new(kind, name, source)}
    held = {name: value for name, value in wanted.items() if name not in fresh}
    written = layout.write(kind, held, config)
    shapes = shapes_of(written)
    spare = layout.spare(kind, shapes, {})  # what files have and no network needs may as well be absent
    spelt = {source.get(name, name): shape for name, shape in shapes.items() if name not in spare}
    fault = f"these weights are not those of a {kind} in the layout {layout.name}"
    require_same_entries({source[name]: tuple(value.shape) for name, value in entries.items()}, spelt, fault)
    for name, value in entries.items():
        if value.is_floating_point() != written[name].is_floating_point():
            taken = "floating-point numbers are" if written[name].is_floating_point() else "whole numbers are"
            raise ValueError(f"{source[name]} is {str(value.dtype).removeprefix('torch.')}: {taken} taken")
    return tuple(name for name in wanted if name in fresh)


def _completed(
    kind: str, config: object, weights: Mapping[str, Tensor], fresh: tuple[str, ...]
) -> Mapping[str, Tensor]:
    """Return the weights with first values for those that are new."""
    if not fresh:
        return weights
    new = build_network(kind, config).state_dict()
    return {name: weights.get(name, value) for name, value in new.items()}


def count_types(entries: Mapping[str, Tensor]) -> dict[str, int]:
    """Return how many tensors there are of each type."""
    names = [str(value.dtype).removeprefix("torch.") for value in entries.values()]
    return {name: names.count(name) for name in sorted(set(names))}
