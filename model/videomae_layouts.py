"""The published layouts of VideoMAE: the public code's own, and Hugging Face's."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, Final

import torch
from torch import Tensor

from model.layout import Layout

_PRETRAIN: Final = "videomae_pretrain"
_CLASSIFIER: Final = "videomae_classifier"
_LEFT_BEHIND: Final = "belongs to pretraining, the classification network has no use for it"
_OF_PRETRAINING: Final = ("decoder.", "mask_token", "encoder_to_decoder.")
_NEW_IN_CLASSIFIER: Final = ("fc_norm.", "head.", "pos_embed")


class VideoMAELayout(Layout):
    """The names of MCG-NJU/VideoMAE and OpenGVLab/InternVideo, which are ours as well.

    A pretraining file also makes a classification network: the encoder's prefix goes, its last norm and the decoder
    stay behind, ``fc_norm`` and ``head`` start fresh (as in the public fine-tuning code).
    """

    name = "videomae"
    about = "VideoMAE's own names (MCG-NJU/VideoMAE, OpenGVLab/InternVideo)"
    keys = "patch_embed.proj.* or blocks.0.*, bare or below encoder. or backbone."
    wrappers = ("model", "module")
    reads = writes = (_PRETRAIN, _CLASSIFIER)

    def kind_of(self, names: Collection[str]) -> str | None:
        """Tell pretraining files by their mask token or their decoder."""
        bare = {_without_home(name) for name in names}
        if not any(name.startswith(("patch_embed.proj.", "blocks.0.")) for name in bare):
            return None
        return _PRETRAIN if _is_pretraining(names) else _CLASSIFIER

    def canonical(self, kind: str, name: str) -> str:
        """Strip the prefix that the encoder has in files of other networks."""
        return _without_home(name) if kind == _CLASSIFIER else name.removeprefix("backbone.")

    def spare(self, kind: str, names: Collection[str], given: Mapping[str, Any]) -> dict[str, str]:
        """Leave behind what only pretraining has."""
        return _left_behind(kind, names, "norm.", given)

    def may_be_new(self, kind: str, name: str, names: Collection[str]) -> bool:
        """Let the norm, head and learnable positions of a classifier made from pretraining be new."""
        return kind == _CLASSIFIER and _is_pretraining(names) and name.startswith(_NEW_IN_CLASSIFIER)

    def read(self, kind: str, entries: Mapping[str, Tensor], given: Mapping[str, Any]) -> dict[str, Tensor]:
        """Keep the names."""
        del kind, given
        return dict(entries)

    def write(self, kind: str, weights: Mapping[str, Tensor], config: Any) -> dict[str, Tensor]:  # noqa: ANN401 - as in Layout
        """Keep the names."""
        del kind, config
        return dict(weights)


class HuggingFaceVideoMAELayout(Layout):
    """The names of transformers' VideoMAEForPreTraining and VideoMAEForVideoClassification.

    Queries, keys and values have a matrix each. Files on the hub call the biases ``q_bias`` and ``v_bias``; later
    versions of the library, which read both, save ``query.bias`` and ``value.bias``.
    """

    name = "videomae-hf"
    about = "Hugging Face's names of VideoMAE"
    keys = "videomae.*"
    reads = writes = (_PRETRAIN, _CLASSIFIER)

    def kind_of(self, names: Collection[str]) -> str | None:
        """Tell the two classes by the mask token."""
        if not any(name.startswith("videomae.") for name in names):
            return None
        return _PRETRAIN if _is_pretraining(names) else _CLASSIFIER

    def canonical(self, kind: str, name: str) -> str:
        """Call biases as the files on the hub do."""
        del kind
        return re.sub(r"\.attention\.(query|value)\.bias$", lambda match: f".attention.{match[1][0]}_bias", name)

    def spare(self, kind: str, names: Collection[str], given: Mapping[str, Any]) -> dict[str, str]:
        """Leave behind what only pretraining has."""
        return _left_behind(kind, names, "videomae.layernorm.", given)

    def may_be_new(self, kind: str, name: str, names: Collection[str]) -> bool:
        """Let the norm, head and learnable positions of a classifier made from pretraining be new."""
        return kind == _CLASSIFIER and _is_pretraining(names) and name.startswith(_NEW_IN_CLASSIFIER)

    def spell(self, kind: str, name: str) -> str:
        """Call a fused matrix by its first part."""
        return _their_name(kind, name).replace(".qkv.", ".query.")

    def read(self, kind: str, entries: Mapping[str, Tensor], given: Mapping[str, Any]) -> dict[str, Tensor]:
        """Rename, and fuse queries, keys and values."""
        del given
        weights: dict[str, Tensor] = {}
        for name, value in entries.items():
            part = _PART.search(name)
            if part is None:
                weights[_own_name(kind, name)] = value
            elif part[1] == "query":
                parts = {part: _required(entries, part) for part in (name.replace(".query.", f".{p}.") for p in _FUSED)}
                weights[_own_name(kind, _PART.sub(".qkv.weight", name))] = _fuse(parts)
            else:
                _required(entries, name.replace(f".{part[1]}.", ".query."))
        return weights

    def write(self, kind: str, weights: Mapping[str, Tensor], config: Any) -> dict[str, Tensor]:  # noqa: ANN401 - as in Layout
        """Rename, and split the fused matrices."""
        del config
        if any(name.endswith((".gamma_1", ".gamma_2")) for name in weights):
            raise ValueError("Hugging Face's VideoMAE has no layer scale, and this network has (gamma_1, gamma_2)")
        if "pos_embed" in weights:
            raise ValueError("Hugging Face's VideoMAE has no learnable positions, and this network has (pos_embed)")
        entries: dict[str, Tensor] = {}
        for name, value in weights.items():
            theirs = _their_name(kind, name)
            if theirs.endswith(".qkv.weight"):
                home = theirs.removesuffix("qkv.weight")
                entries |= {f"{home}{part}.weight": piece for part, piece in zip(_FUSED, value.chunk(3), strict=True)}
            else:
                entries[theirs] = value
        return entries


_FUSED: Final = ("query", "key", "value")
_PART: Final = re.compile(r"\.(query|key|value)\.weight$")
_IN_BLOCK: Final[Mapping[str, str]] = {
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "attn.proj": "attention.output.dense",
    "attn": "attention.attention",
    "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
}
_OUTSIDE: Final[Mapping[str, Mapping[str, str]]] = {
    _PRETRAIN: {
        "encoder.patch_embed.proj.": "videomae.embeddings.patch_embeddings.projection.",
        "encoder.norm.": "videomae.layernorm.",
        "encoder.blocks.": "videomae.encoder.layer.",
        "decoder.blocks.": "decoder.decoder_layers.",
    },
    _CLASSIFIER: {
        "patch_embed.proj.": "videomae.embeddings.patch_embeddings.projection.",
        "norm.": "videomae.layernorm.",
        "blocks.": "videomae.encoder.layer.",
        "head.": "classifier.",
    },
}
"""How names begin, ours and Hugging Face's; what is not listed is called the same."""


def _their_name(kind: str, name: str) -> str:
    return _translate(name, _OUTSIDE[kind], _IN_BLOCK)


def _own_name(kind: str, name: str) -> str:
    return _translate(name, _reversed(_OUTSIDE[kind]), _reversed(_IN_BLOCK))


def _translate(name: str, outside: Mapping[str, str], in_block: Mapping[str, str]) -> str:
    start = next((start for start in outside if name.startswith(start)), "")
    rest = name.removeprefix(start)
    number, dot, inner = rest.partition(".")
    if number.isdecimal() and dot:
        part = next((part for part in sorted(in_block, key=len, reverse=True) if inner.startswith(f"{part}.")), "")
        rest = f"{number}.{in_block.get(part, part)}{inner.removeprefix(part)}"
    return outside.get(start, start) + rest


def _reversed(names: Mapping[str, str]) -> dict[str, str]:
    return {theirs: ours for ours, theirs in names.items()}


def _required(entries: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in entries:
        raise ValueError(f"{name} is missing: queries, keys and values of a block come together")
    return entries[name]


def _left_behind(kind: str, names: Collection[str], norm: str, given: Mapping[str, Any]) -> dict[str, str]:
    """Return what a classification network leaves of a pretraining file; without mean pooling it takes the norm."""
    if kind != _CLASSIFIER or not _is_pretraining(names):
        return {}
    gone = (*_OF_PRETRAINING, norm) if given.get("mean_pooling", True) else _OF_PRETRAINING
    return dict.fromkeys((name for name in names if name.startswith(gone)), _LEFT_BEHIND)


def _fuse(parts: Mapping[str, Tensor]) -> Tensor:
    shapes = {name: list(value.shape) for name, value in parts.items()}
    width = max(map(max, shapes.values()), default=0) if all(shapes.values()) else 0
    if any(shape != [width, width] for shape in shapes.values()):
        spelt = ", ".join(f"{name} is {shape}" for name, shape in shapes.items())
        raise ValueError(f"{spelt}: three squares of one size are taken")
    return torch.cat(list(parts.values()))


def _without_home(name: str) -> str:
    for home in ("backbone.", "encoder."):
        if name.startswith(home):
            return name.removeprefix(home)
    return name


def _is_pretraining(names: Collection[str]) -> bool:
    return any(name.startswith(_OF_PRETRAINING) for name in names)
