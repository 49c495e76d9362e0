"""The sizes and switches of a network, read off the shapes of its weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from torch import Tensor

from model.inferred_sizes import Fields, Sizes, UnfitShapesError
from model.inferred_towers import (
    read_answering,
    read_captioner,
    read_text,
    read_uniformer,
    read_video,
    read_video_text,
)
from model.kinds import find_kind
from model.plain import config_from_plain, config_to_plain

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
    sizes = Sizes(weights, given)
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


def _read_pretrain(sizes: Sizes) -> Fields:
    _read_cubes(sizes, "encoder.")
    decoder_width = sizes.shape("mask_token", 3)[-1]
    sizes.told |= {"decoder_width": decoder_width, "decoder_depth": sizes.count("decoder.blocks")}
    sizes.guess_heads("decoder_heads", decoder_width)
    return Fields(sizes.plain(), sizes.told_names())


def _read_classifier(sizes: Sizes) -> Fields:
    _read_cubes(sizes, "")
    if sizes.has("head.weight"):
        sizes.told["classes"] = sizes.shape("head.weight", 2)[0]
        sizes.told["mean_pooling"] = sizes.has("fc_norm.weight") or sizes.has("fc_norm.bias")
        sizes.told["learnable_positions"] = sizes.has("pos_embed")
    return Fields(sizes.plain(), sizes.told_names())


def _read_cubes(sizes: Sizes, home: str) -> None:
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


_READERS: Final[Mapping[str, Callable[[Sizes], Fields]]] = {
    "videomae_pretrain": _read_pretrain,
    "videomae_classifier": _read_classifier,
    "uniformerv2": read_uniformer,
    "clip_text": read_text,
    "mm_video_encoder": read_video,
    "caption_decoder": read_captioner,
    "mm_full": read_video_text,
    "mm_vqa": read_answering,
}
