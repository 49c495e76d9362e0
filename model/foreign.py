"""Networks built from published configurations and weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from torch import Tensor, nn

from model.config import ClassifierConfig, VideoMAEConfig
from model.videomae import VideoMAEClassifier, VideoMAEPretrain

# Our parameter names are the published ones (fixed by the checkpoints of MCG-NJU/VideoMAE and OpenGVLab/InternVideo),
# so that reading a file is a check of names and shapes and no translation.

_LISTED: Final = 5
"""How many keys of a kind a message lists."""


def load_reference(kind: str, config: Mapping[str, Any], state_dict: Mapping[str, Any]) -> nn.Module:
    """Build a network from the reference's own configuration fields and weights, in eval mode.

    Args:
        kind: ``videomae_pretrain`` or ``videomae_classifier``.
        config: The reference's constructor fields by their own names; fields of training are passed over.
        state_dict: The reference's weights by their own names, bare or under ``model`` or ``module``.

    Raises:
        ValueError: An unknown kind, a field that is missing or not supported, or weights whose names or shapes are not
            the configuration's.
    """
    if kind not in _BUILDERS:
        raise ValueError(f"cannot build a {kind!r}: supported are {', '.join(_BUILDERS)}")
    weights = unwrap_weights(state_dict)
    network = _BUILDERS[kind](config)
    _check_weights(network, weights)
    network.load_state_dict(dict(weights))
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
            f"these entries are no tensors: {_listed(strangers)}; weights are taken bare or under 'model' or 'module'"
        )
    return found  # type: ignore[no-any-return]  # each value was looked at


def _build_pretrain(config: Mapping[str, Any]) -> nn.Module:
    built = VideoMAEConfig(
        **_shared_fields(config),
        width=_field(config, "encoder_embed_dim"),
        depth=_field(config, "encoder_depth"),
        heads=_field(config, "encoder_num_heads"),
        decoder_width=_field(config, "decoder_embed_dim"),
        decoder_depth=_field(config, "decoder_depth"),
        decoder_heads=_field(config, "decoder_num_heads"),
    )
    outputs = config.get("decoder_num_classes", built.cube_values)
    if outputs != built.cube_values:
        raise ValueError(
            f"decoder_num_classes is {outputs} and a cube has {built.cube_values} values (3 colours, "
            f"{built.tubelet} frames, {built.patch_size}x{built.patch_size} pixels): they must agree"
        )
    return VideoMAEPretrain(built)


def _build_classifier(config: Mapping[str, Any]) -> nn.Module:
    return VideoMAEClassifier(
        ClassifierConfig(
            **_shared_fields(config),
            width=_field(config, "embed_dim"),
            depth=_field(config, "depth"),
            heads=_field(config, "num_heads"),
            classes=_field(config, "num_classes"),
            mean_pooling=bool(config.get("use_mean_pooling", not config.get("use_cls", False))),
            head_dropout=float(config.get("fc_drop_rate") or 0.0),
        )
    )


_BUILDERS: Final[Mapping[str, Callable[[Mapping[str, Any]], nn.Module]]] = {
    "videomae_pretrain": _build_pretrain,
    "videomae_classifier": _build_classifier,
}


def _shared_fields(config: Mapping[str, Any]) -> dict[str, Any]:
    patch = _pair(_field(config, "patch_size"))
    if patch[0] != patch[1]:
        raise ValueError(f"patch_size is {patch[0]}x{patch[1]}: cubes have square faces here")
    return {
        "image_size": _pair(_field(config, "img_size")),
        "patch_size": patch[0],
        "frames": config.get("num_frames", config.get("all_frames", 16)),
        "tubelet": config.get("tubelet_size", 2),
        "mlp_ratio": config.get("mlp_ratio", 4.0),
        "qkv_bias": bool(config.get("qkv_bias", True)),
        "norm_eps": config.get("norm_eps", 1e-6),
        "layer_scale": config.get("init_values") or 0.0,
        "drop_path": config.get("drop_path_rate") or 0.0,
    }


def _field(config: Mapping[str, Any], name: str) -> Any:  # noqa: ANN401 - fields have many types; the dataclasses check values
    if name not in config:
        raise ValueError(f"the configuration has no {name!r}; it has {', '.join(map(str, config))}")
    return config[name]


def _pair(size: int | list[int] | tuple[int, ...]) -> tuple[int, int]:
    sides = (size, size) if isinstance(size, int) else tuple(size)
    if len(sides) != 2:  # noqa: PLR2004 - height and width
        raise ValueError(f"{size} is no size: one edge or height and width are taken")
    return sides[0], sides[1]


def _check_weights(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    own = network.state_dict()
    missing = [name for name in own if name not in weights]
    strange = [name for name in weights if name not in own]
    if missing or strange:
        raise ValueError(
            f"the weights do not fit the configuration: {len(missing)} missing ({_listed(missing)}), "
            f"{len(strange)} unknown ({_listed(strange)})"
        )
    for name, value in own.items():
        if value.shape != weights[name].shape:
            raise ValueError(
                f"{name} has shape {tuple(weights[name].shape)}, the configuration asks for {tuple(value.shape)}"
            )


def _listed(keys: list[str]) -> str:
    if not keys:
        return "none"
    return ", ".join(keys[:_LISTED]) + (", ..." if len(keys) > _LISTED else "")
