"""How the published parameter names of each kind of network follow from ours, and back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor

# Inside a tower our names are the published ones, so most kinds need no rule. The multimodal module of OpenGVLab's
# InternVideo puts both towers under ``clip``; its caption decoder stores constants, which our state dict leaves out.
# The classifier of its question answering is called the same there and here.

_MULTIMODAL: Final = ("mm_full", "mm_vqa")
"""Kinds with the towers and the caption decoder of that module."""

_VIDEO: Final = re.compile(r"visual[._]")
_CONSTANT: Final = re.compile(r"(?:^|\.)(?:beta|rotary_emb\.inv_freq)$")
_ROTARY_BASE: Final = 10000.0
_CAPTIONER: Final = "caption_decoder."
_CLASSIFIER: Final = "vqa_classifier"
_CAPTIONER_HOMES: Final[Mapping[str, str]] = {"caption_decoder": "", **dict.fromkeys(_MULTIMODAL, _CAPTIONER)}
"""Where the caption decoder's weights begin in each published kind that has one."""


def reference_name(kind: str, name: str) -> str:
    """Return the published name of one of our parameters.

    Args:
        kind: The kind of network, as ``model.foreign.load_reference`` takes it.
        name: The parameter's name in our network of that kind.
    """
    tower, _, rest = name.partition(".")
    if kind not in _MULTIMODAL or tower == _CLASSIFIER:
        return name
    if tower == "captioner":
        return _CAPTIONER + rest
    return f"clip.{rest}" if tower in {"video", "text"} else f"clip.{name}"


def own_name(kind: str, name: str) -> str | None:
    """Return our name of a published parameter; None where our networks compute what it holds, or do without it."""
    if kind in _CAPTIONER_HOMES and _CONSTANT.search(name):
        return None
    if kind == "clip_text" and name == "logit_scale":
        return None
    return _multimodal_name(name) if kind in _MULTIMODAL else name


def _multimodal_name(name: str) -> str:
    module, _, rest = name.partition(".")
    if module == "caption_decoder":
        return f"captioner.{rest}"
    if module != "clip" or rest == "logit_scale":
        return rest if module == "clip" else name
    return f"video.{rest}" if _VIDEO.match(rest) else f"text.{rest}"


def to_own_names(kind: str, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename published weights to ours; the constants that published files hold go."""
    renamed = {own_name(kind, name): value for name, value in weights.items()}
    return {name: value for name, value in renamed.items() if name is not None}


def to_published_names(kind: str, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename our weights to the published names, and add the constants that published files hold."""
    renamed = {reference_name(kind, name): value for name, value in weights.items()}
    return renamed | published_constants(kind, renamed)


def published_constants(kind: str, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the constants that belong to the caption decoder's published weights; none for other kinds."""
    home = _CAPTIONER_HOMES.get(kind)
    pooler_keys = None if home is None else weights.get(f"{home}visual_attn_pooler.to_kv.weight")
    if home is None or pooler_keys is None:
        return {}
    scales = {name: value for name, value in weights.items() if name.startswith(home) and name.endswith(".gamma")}
    constants = {f"{name.removesuffix('gamma')}beta": torch.zeros_like(value) for name, value in scales.items()}
    head_width = pooler_keys.shape[0] // 2
    layer = re.compile(rf"({re.escape(home)}multimodal_layers\.\d+\.0\.fn\.)norm\.gamma$")
    for match in filter(None, map(layer.match, scales)):
        constants[f"{match[1]}rotary_emb.inv_freq"] = _inverse_frequencies(head_width)
    return constants


def _inverse_frequencies(head_width: int) -> Tensor:
    return 1.0 / _ROTARY_BASE ** (torch.arange(0, head_width, 2).float() / head_width)


def check_constants(kind: str, weights: Mapping[str, Tensor]) -> None:
    """Check that the constants among published weights are those that are computed here.

    Args:
        kind: The kind of network.
        weights: Published weights, of which names and shapes are right.

    Raises:
        ValueError: A constant has another shape or value, or is one of no layer.
    """
    if kind not in _CAPTIONER_HOMES:
        return
    wanted = published_constants(kind, weights)
    for name, value in weights.items():
        if not _CONSTANT.search(name):
            continue
        if name not in wanted:
            raise ValueError(f"{name} is a constant of no layer that these weights have")
        if value.shape != wanted[name].shape:
            raise ValueError(f"{name} has shape {tuple(value.shape)}, {tuple(wanted[name].shape)} is taken")
        if not torch.allclose(value.float(), wanted[name].float(), rtol=1e-3, atol=1e-6):
            raise ValueError(f"{name} does not hold the constant of the published code, which is what is computed here")
