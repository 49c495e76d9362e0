"""The sizes and switches of a network, read off the shapes of its weights."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from torch import Tensor

from model.kinds import config_from_plain, config_to_plain, find_kind

_HEAD_WIDTH: Final = 64
_WIDE_HEADS: Final[Mapping[int, int]] = {1280: 16, 1408: 16, 1664: 16}
"""Widths whose published networks (VideoMAE-H, g and G) have wider heads, and how many."""

_NEW_GLOBAL_BLOCKS: Final = 4
"""Global blocks that a backbone from CLIP gets where the user gives none; the public code takes 4, too."""

_LOCAL_REDUCTION: Final = 1.5
_SOME_SCALE: Final = 0.1
"""First value of layer scales that a file then fills: anything but 0, which would leave them out."""

_OF_TRAINING: Final = (
    "base_grid",
    "checkpoint_blocks",
    "drop_path",
    "global_drop_path",
    "resize_positions",
    "head_scale",
    "layer_scale",
)
"""Fields beside rates of dropout that change no result of a trained network: their defaults are not worth a word."""


@dataclass(frozen=True)
class Inferred:
    """A configuration read off weights.

    Attributes:
        config: The configuration.
        assumed: Fields that nobody gave and no weight tells, with the values taken.
        told_by: Shapes that tell sizes, by our names of the weights.
    """

    config: Any
    assumed: Mapping[str, Any]
    told_by: Mapping[str, tuple[int, ...] | None]


class UnfitShapesError(ValueError):
    """The weights that tell sizes are missing, or tell sizes that cannot be.

    Attributes:
        what: What is wrong.
        shapes: Shapes of the weights in question by our names; None where one is missing.
    """

    def __init__(self, what: str, shapes: Mapping[str, tuple[int, ...] | None]) -> None:
        super().__init__(f"{what}: {spell_shapes(shapes, str)}")
        self.what = what
        self.shapes = shapes

    def spelt(self, spell: Callable[[str], str]) -> str:
        """Return the message with the weights' names as ``spell`` gives them."""
        return f"{self.what}: {spell_shapes(self.shapes, spell)}"


def spell_shapes(shapes: Mapping[str, tuple[int, ...] | None], spell: Callable[[str], str]) -> str:
    """Return weights in a row with their shapes."""
    return ", ".join(
        spell(name) + (" is missing" if shape is None else f" {list(shape)}") for name, shape in shapes.items()
    )


class _Sizes:
    """What is known of a network, or of one tower of it, while its weights are read.

    Attributes:
        home: How the names of the tower's weights begin in the whole network.
        told_by: Shapes that were read so far, by names in the whole network.
        weights: Weights by our names inside the tower.
        given: Fields that the user gives.
        told: Fields that the weights tell.
        guessed: Fields that follow from the weights by custom; what the user gives wins.
    """

    def __init__(self, weights: Mapping[str, Tensor], given: Mapping[str, Any], home: str = "") -> None:
        self.home = home
        self.told_by: dict[str, tuple[int, ...] | None] = {}
        self.weights = weights
        self.given = given
        self.told: dict[str, Any] = {}
        self.guessed: dict[str, Any] = {}

    def shape(self, name: str, axes: int) -> tuple[int, ...]:
        """Return the shape of a weight that has so many axes."""
        found = tuple(self.weights[name].shape) if name in self.weights else None
        if found is None or len(found) != axes or 0 in found:
            fault = f"a weight with {axes} axes tells sizes of the network"
            raise UnfitShapesError(fault, {self.home + name: found})
        self.told_by[self.home + name] = found
        return found

    def tower(self, name: str) -> _Sizes:
        """Return what is known of a tower, from the weights and fields below its name."""
        given = self.given.get(name, {})
        if not isinstance(given, Mapping):
            raise ValueError(f"{name} is given as {given!r}: give {name}.depth and the like")  # noqa: TRY004 - a user's fault
        prefix = f"{name}."
        inside = {each.removeprefix(prefix): value for each, value in self.weights.items() if each.startswith(prefix)}
        tower = _Sizes(inside, given, prefix)
        tower.told_by = self.told_by
        return tower

    def has(self, ending: str) -> bool:
        return any(name.endswith(ending) for name in self.weights)

    def count(self, prefix: str) -> int:
        """Return how many numbered parts there are below ``prefix``: the largest number plus one."""
        numbered = re.compile(rf"{re.escape(prefix)}\.(\d+)\.")
        return max((int(match[1]) + 1 for match in map(numbered.match, self.weights) if match), default=0)

    def guess_heads(self, name: str, width: int) -> None:
        heads = _WIDE_HEADS.get(width, width // _HEAD_WIDTH if width % _HEAD_WIDTH == 0 else 0)
        if heads:
            self.guessed[name] = heads
        elif name not in self.given:
            raise ValueError(
                f"no weight tells the number of attention heads, and there is no custom for a width of {width}: "
                f"give {name}"
            )

    def tell_ratio(self, name: str, width: int, hidden: int) -> None:
        """Tell the ratio of two widths, which is rounded down when it is used: what the user gives wins if it fits."""
        given = self.given.get(name)
        fits = isinstance(given, int | float) and int(width * given) == hidden
        self.told[name] = given if fits else _ratio(width, hidden)

    def plain(self) -> dict[str, Any]:
        """Return the fields that are known.

        Raises:
            ValueError: The user gives what the weights contradict.
        """
        for name, value in self.told.items():
            if self.given.get(name, value) != value:
                raise ValueError(f"{name} is given as {self.given[name]} and the weights' shapes say {value}")
        return {**self.guessed, **self.given, **self.told}

    def told_names(self, prefix: str = "") -> set[str]:
        return {prefix + name for name in self.told}


@dataclass(frozen=True)
class _Fields:
    """Fields as plain values, and the dotted names of those that the weights tell."""

    plain: dict[str, Any]
    told: set[str]


def infer_config(kind: str, weights: Mapping[str, Tensor], given: Mapping[str, Any]) -> Inferred:
    """Read a configuration off the weights' shapes.

    Args:
        kind: The kind of network.
        weights: Weights by our names; only their shapes are looked at. New modules may be absent.
        given: Fields that the user gives, as plain values; those of towers below ``video``, ``text``, ``captioner``.

    Raises:
        UnfitShapesError: A weight that tells a size is missing, or the sizes that are told cannot be.
        ValueError: What the user gives contradicts the weights, or a field must be given; it is named.
    """
    sizes = _Sizes(weights, given)
    known = _READERS[kind](sizes)
    try:
        config = config_from_plain(find_kind(kind).config, known.plain)
    except ValueError as error:
        raise UnfitShapesError(f"{error}; the weights' shapes tell the sizes", sizes.told_by) from error
    said = {*_leaves(given), *known.told}
    taken = _leaves(config_to_plain(config))
    assumed = {name: value for name, value in taken.items() if not _is_known(name, value, said)}
    return Inferred(config, assumed, sizes.told_by)


def _is_known(name: str, value: object, said: set[str]) -> bool:
    """Tell whether nobody needs to hear of a field: it is said, off, or of training alone."""
    last = name.rpartition(".")[2]
    return name in said or value is None or last in _OF_TRAINING or last.endswith("dropout")


def _leaves(plain: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for name, value in plain.items():
        leaves |= _leaves(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return leaves


def _read_pretrain(sizes: _Sizes) -> _Fields:
    _read_cubes(sizes, "encoder.")
    decoder_width = sizes.shape("mask_token", 3)[-1]
    sizes.told |= {"decoder_width": decoder_width, "decoder_depth": sizes.count("decoder.blocks")}
    sizes.guess_heads("decoder_heads", decoder_width)
    return _Fields(sizes.plain(), sizes.told_names())


def _read_classifier(sizes: _Sizes) -> _Fields:
    _read_cubes(sizes, "")
    if sizes.has("head.weight"):
        sizes.told["classes"] = sizes.shape("head.weight", 2)[0]
        sizes.told["mean_pooling"] = sizes.has("fc_norm.weight") or sizes.has("fc_norm.bias")
    return _Fields(sizes.plain(), sizes.told_names())


def _read_cubes(sizes: _Sizes, home: str) -> None:
    """Read the fields that VideoMAE's two networks share; the encoder's weights begin with ``home``."""
    width, _, tubelet, patch, _ = sizes.shape(f"{home}patch_embed.proj.weight", 5)
    sizes.told |= {
        "width": width,
        "tubelet": tubelet,
        "patch_size": patch,
        "depth": sizes.count(f"{home}blocks"),
        "qkv_bias": sizes.has("attn.q_bias"),
    }
    sizes.tell_ratio("mlp_ratio", width, sizes.shape(f"{home}blocks.0.mlp.fc1.weight", 2)[0])
    if sizes.has("gamma_1"):
        sizes.guessed["layer_scale"] = _SOME_SCALE
    else:
        sizes.told["layer_scale"] = 0.0
    sizes.guess_heads("heads", width)


def _read_uniformer(sizes: _Sizes) -> _Fields:
    _read_frames(sizes, "")
    if sizes.told.get("frozen") is False and not sizes.has("transformer.balance"):
        del sizes.told["frozen"]
        sizes.guessed["frozen"] = True  # worth a word: this, or a weight is missing
    if sizes.has("transformer.proj.2.weight"):
        sizes.told["classes"] = sizes.shape("transformer.proj.2.weight", 2)[0]
    return _Fields(sizes.plain(), sizes.told_names())


def _read_video(sizes: _Sizes) -> _Fields:
    _read_frames(sizes, "visual.")
    sizes.told["embed_width"] = sizes.shape("visual_proj", 2)[1]
    return _Fields(sizes.plain(), sizes.told_names())


def _read_frames(sizes: _Sizes, home: str) -> None:
    """Read the fields of a UniFormerV2 encoder, whose weights begin with ``home``."""
    width, _, kernel_frames, patch, _ = sizes.shape(f"{home}conv1.weight", 5)
    depth = sizes.count(f"{home}transformer.resblocks")
    sizes.told |= {"width": width, "patch_size": patch, "depth": depth, "temporal_downsample": kernel_frames > 1}
    edge = math.isqrt(sizes.shape(f"{home}positional_embedding", 2)[0] - 1) * patch
    sizes.guessed["image_size"] = [edge, edge]
    sizes.guess_heads("heads", width)
    blocks = sizes.count(f"{home}transformer.dec")
    last = blocks or min(_NEW_GLOBAL_BLOCKS, depth)
    sizes.guessed["global_blocks"] = list(range(depth - last, depth))
    if blocks:  # else the global blocks will be new, and the local mixing with them
        hidden = sizes.shape(f"{home}transformer.dec.0.mlp.c_fc.weight", 2)[0]
        sizes.tell_ratio("global_mlp_ratio", width, hidden)
        sizes.told["frozen"] = False
        _read_local(sizes, home, width)


def _read_local(sizes: _Sizes, home: str, width: int) -> None:
    local = "single" if sizes.has("lmhra1.pos_embed.1.weight") else "none"
    sizes.told["local"] = "double" if sizes.has("lmhra2.pos_embed.1.weight") else local
    given = sizes.given.get("local_reduction")
    usual = given if isinstance(given, int | float) and given > 0 else _LOCAL_REDUCTION
    if local == "none":
        sizes.told["local_reduction"] = usual  # of no matter
    else:
        inner = sizes.shape(f"{home}transformer.resblocks.0.lmhra1.pos_embed.1.weight", 5)[0]
        sizes.told["local_reduction"] = usual if int(width // usual) == inner else _reduction(width, inner)


def _read_text(sizes: _Sizes) -> _Fields:
    _read_ids(sizes)
    sizes.told["embed_width"] = sizes.shape("text_projection", 2)[1]
    return _Fields(sizes.plain(), sizes.told_names())


def _read_ids(sizes: _Sizes) -> None:
    """Read the fields of a text tower before its projection."""
    vocabulary, width = sizes.shape("token_embedding.weight", 2)
    sizes.told |= {
        "vocabulary": vocabulary,
        "width": width,
        "context": sizes.shape("positional_embedding", 2)[0],
        "depth": sizes.count("transformer.resblocks"),
    }
    sizes.guess_heads("heads", width)


def _read_captioner(sizes: _Sizes) -> _Fields:
    sizes.told["vocabulary"] = sizes.shape("predictor.4.weight", 2)[0]
    _read_fusion(sizes)
    return _Fields(sizes.plain(), sizes.told_names())


def _read_fusion(sizes: _Sizes) -> None:
    """Read the fields of a caption decoder before its predictor."""
    queries, width = sizes.shape("visual_queries", 2)
    keys_and_values, visual_width = sizes.shape("visual_attn_pooler.to_kv.weight", 2)
    sizes.told |= {
        "queries": queries,
        "width": width,
        "visual_width": visual_width,
        "heads": sizes.shape("visual_attn_pooler.to_q.weight", 2)[0] // (keys_and_values // 2),
        "depth": sizes.count("multimodal_layers"),
        "ff_ratio": sizes.shape("multimodal_layers.0.1.fn.ff.2.weight", 2)[1] // width,
    }


def _read_video_text(sizes: _Sizes) -> _Fields:
    towers = {name: read(sizes.tower(name)) for name, read in (("video", _read_video), ("text", _read_text))}
    plain: dict[str, Any] = {**sizes.given}
    told = {"captioner"}
    if any(name.startswith("captioner.") for name in sizes.weights):
        towers["captioner"] = _read_captioner(sizes.tower("captioner"))
    elif sizes.given.get("captioner") is not None:
        towers["captioner"] = _new_captioner(sizes.tower("captioner"), towers)
    else:
        plain["captioner"] = None
    for name, fields in towers.items():
        plain[name] = fields.plain
        told |= {f"{name}.{each}" for each in fields.told}
    return _Fields(plain, told)


def _new_captioner(sizes: _Sizes, towers: Mapping[str, _Fields]) -> _Fields:
    """Return the fields of a captioner that does not exist yet: it has to fit the towers."""
    text, video = towers["text"].plain, towers["video"].plain
    sizes.told |= {name: text[name] for name in ("vocabulary", "width")} | {"visual_width": video["width"]}
    sizes.guessed["heads"] = text["heads"]
    return _Fields(sizes.plain(), sizes.told_names())


def _read_answering(sizes: _Sizes) -> _Fields:
    video, text, captioner = (sizes.tower(name) for name in ("video", "text", "captioner"))
    _read_frames(video, "visual.")
    _read_ids(text)
    _read_fusion(captioner)
    captioner.told["vocabulary"] = text.told["vocabulary"]  # there is no predictor: of no matter
    _tell_shared_width(video, text)
    sizes.told["answers"] = sizes.shape("vqa_classifier.5.weight", 2)[0]
    towers = {"video": video, "text": text, "captioner": captioner}
    told = sizes.told_names().union(*(tower.told_names(f"{name}.") for name, tower in towers.items()))
    return _Fields(sizes.plain() | {name: tower.plain() for name, tower in towers.items()}, told)


def _tell_shared_width(video: _Sizes, text: _Sizes) -> None:
    """Tell the width of the space that the towers share; without projections it is the text tower's by custom."""
    for tower, name in ((video, "visual_proj"), (text, "text_projection")):
        if name in tower.weights:
            tower.told["embed_width"] = tower.shape(name, 2)[1]
    known = [
        fields["embed_width"] for fields in (video.told, text.told, video.given, text.given) if "embed_width" in fields
    ]
    video.guessed["embed_width"] = text.guessed["embed_width"] = known[0] if known else text.told["width"]


def _ratio(width: int, hidden: int) -> float:
    """Return the MLP ratio whose product with ``width``, rounded down, is ``hidden``."""
    ratio = hidden / width
    return ratio if int(width * ratio) == hidden else math.nextafter(ratio, math.inf)


def _reduction(width: int, inner: int) -> float:
    """Return a number that ``width`` divided by it, rounded down, is ``inner``."""
    reduction = width / inner
    return reduction if int(width // reduction) == inner else math.nextafter(reduction, 0.0)


_READERS: Final[Mapping[str, Callable[[_Sizes], _Fields]]] = {
    "videomae_pretrain": _read_pretrain,
    "videomae_classifier": _read_classifier,
    "uniformerv2": _read_uniformer,
    "clip_text": _read_text,
    "mm_video_encoder": _read_video,
    "caption_decoder": _read_captioner,
    "mm_full": _read_video_text,
    "mm_vqa": _read_answering,
}
