"""Networks built from published configurations and weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from torch import Tensor, nn

from model.clip_config import VideoTextConfig
from model.entries import listed, require_same_entries, shapes_of
from model.foreign_configs import (
    captioner_config,
    classifier_config,
    pretrain_config,
    text_config,
    uniformer_config,
    video_encoder_config,
    video_text_config,
)
from model.kinds import build_network
from model.published_names import check_constants, own_name, reference_name, to_own_names

__all__ = ["check_weights", "load_reference", "reference_name", "unwrap_weights"]

# Our parameter names are the published ones inside each tower (fixed by the checkpoints of MCG-NJU/VideoMAE,
# OpenGVLab/UniFormerV2, OpenGVLab/InternVideo and openai/CLIP); published_names holds the few rules that are left.


def load_reference(kind: str, config: Mapping[str, Any], state_dict: Mapping[str, Any]) -> nn.Module:
    """Build a network from the reference's own configuration fields and weights, in eval mode.

    Args:
        kind: One of ``videomae_pretrain``, ``videomae_classifier``, ``uniformerv2``, ``clip_text``,
            ``mm_video_encoder``, ``caption_decoder`` and ``mm_full``.
        config: The reference's constructor fields by their own names; fields of training are passed over.
        state_dict: The reference's weights by their own names, bare or under ``model`` or ``module``.

    Raises:
        ValueError: An unknown kind, a field that is missing or not supported, or weights whose names or shapes are not
            the configuration's.
    """
    if kind not in _CONFIGS:
        raise ValueError(f"cannot build a {kind!r}: supported are {', '.join(_CONFIGS)}")
    weights = unwrap_weights(state_dict)
    network = build_network(kind, _CONFIGS[kind](config, weights))
    check_weights(kind, network, weights)
    check_constants(kind, weights)
    network.load_state_dict(to_own_names(kind, weights))
    return network.eval()


def unwrap_weights(checkpoint: Mapping[str, Any]) -> Mapping[str, Tensor]:
    """Return the weights of a loaded checkpoint file: its ``model``, else its ``module``, else itself.

    Raises:
        ValueError: What is found there is not a mapping of tensors.
    """
    found: Any = checkpoint
    for wrapper in ("model", "module"):
        if isinstance(checkpoint.get(wrapper), Mapping):
            found = checkpoint[wrapper]
            break
    strangers = [key for key, value in found.items() if not isinstance(value, Tensor)]
    if strangers:
        raise ValueError(
            f"these entries are no tensors: {listed(strangers)}; weights are taken bare or under 'model' or 'module'"
        )
    return found  # type: ignore[no-any-return]  # each value was looked at


def check_weights(kind: str, network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Check that published weights are a network's, each one and no other.

    Raises:
        ValueError: A weight is missing, unknown or of another shape; it is named as the published code does.
    """
    given = {name: value for name, value in weights.items() if own_name(kind, name) is not None}
    own = {reference_name(kind, name): value for name, value in network.state_dict().items()}
    require_same_entries(shapes_of(given), shapes_of(own), "the weights do not fit the configuration")


def _video_text(config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> VideoTextConfig:
    return video_text_config(config, captions=any(name.startswith("caption_decoder.") for name in weights))


_CONFIGS: Final[Mapping[str, Callable[[Mapping[str, Any], Mapping[str, Tensor]], object]]] = {
    "videomae_pretrain": lambda config, _: pretrain_config(config),
    "videomae_classifier": lambda config, _: classifier_config(config),
    "uniformerv2": lambda config, _: uniformer_config(config),
    "clip_text": lambda config, _: text_config(config),
    "mm_video_encoder": lambda config, _: video_encoder_config(config),
    "caption_decoder": lambda config, _: captioner_config(config),
    "mm_full": _video_text,
}
