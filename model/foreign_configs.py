"""The public code's constructor fields, read into our configurations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from model.clip_config import (
    CaptionerConfig,
    LocalKind,
    TextConfig,
    UniFormerClassifierConfig,
    VideoEncoderConfig,
    VideoTextConfig,
)
from model.config import ClassifierConfig, VideoMAEConfig

# Fields keep the public code's own names; those of training are passed over. Dropout that is not named is off.


def pretrain_config(fields: Mapping[str, Any]) -> VideoMAEConfig:
    """Read the fields of VideoMAE's pretraining network.

    Raises:
        ValueError: A field is missing, not supported, or contradicts another.
    """
    if fields.get("use_learnable_pos_emb", False):
        raise ValueError(
            "use_learnable_pos_emb is True: the public pretraining network cannot run with it, for its table has a row "
            "too many; False is taken"
        )
    built = VideoMAEConfig(
        **_cube_fields(fields),
        width=_field(fields, "encoder_embed_dim"),
        depth=_field(fields, "encoder_depth"),
        heads=_field(fields, "encoder_num_heads"),
        decoder_width=_field(fields, "decoder_embed_dim"),
        decoder_depth=_field(fields, "decoder_depth"),
        decoder_heads=_field(fields, "decoder_num_heads"),
    )
    outputs = fields.get("decoder_num_classes", built.cube_values)
    if outputs != built.cube_values:
        raise ValueError(
            f"decoder_num_classes is {outputs} and a cube has {built.cube_values} values (3 colours, "
            f"{built.tubelet} frames, {built.patch_size}x{built.patch_size} pixels): they must agree"
        )
    return built


def classifier_config(fields: Mapping[str, Any]) -> ClassifierConfig:
    """Read the fields of VideoMAE's classification network.

    Raises:
        ValueError: A field is missing, not supported, or contradicts another.
    """
    return ClassifierConfig(
        **_cube_fields(fields),
        width=_field(fields, "embed_dim"),
        depth=_field(fields, "depth"),
        heads=_field(fields, "num_heads"),
        classes=_field(fields, "num_classes"),
        mean_pooling=bool(fields.get("use_mean_pooling", not fields.get("use_cls", False))),
        head_dropout=float(fields.get("head_drop_rate", fields.get("fc_drop_rate")) or 0.0),
        learnable_positions=bool(fields.get("use_learnable_pos_emb", False)),
    )


def uniformer_config(fields: Mapping[str, Any]) -> UniFormerClassifierConfig:
    """Read the fields of UniFormerV2 with its head.

    Raises:
        ValueError: A field is missing, not supported, or contradicts another.
    """
    width = _field(fields, "width")
    blocks = tuple(_field(fields, "return_list"))
    for name, wanted in (("n_dim", width), ("n_layers", len(blocks))):
        if fields.get(name, wanted) != wanted:
            raise ValueError(
                f"{name} is {fields[name]} and {wanted} is taken: global blocks have the backbone's width, {width}, "
                f"and there is one for each block of return_list, {list(blocks)}"
            )
    return UniFormerClassifierConfig(
        image_size=_pair(_field(fields, "input_resolution")),
        patch_size=_field(fields, "patch_size"),
        frames=_field(fields, "t_size"),
        width=width,
        depth=_field(fields, "layers"),
        heads=_field(fields, "heads"),
        local=_local_kind(fields),
        local_reduction=fields.get("dw_reduction", 1.5),
        temporal_downsample=bool(fields.get("temporal_downsample", True)),
        global_blocks=blocks,
        global_heads=fields.get("n_head"),
        global_mlp_ratio=fields.get("mlp_factor", 4.0),
        global_dropout=_one_rate(fields.get("mlp_dropout")),
        drop_path=fields.get("backbone_drop_path_rate") or 0.0,
        global_drop_path=fields.get("drop_path_rate") or 0.0,
        frozen=bool(fields.get("frozen", False)),
        classes=_field(fields, "num_classes"),
        head_dropout=fields.get("cls_dropout") or 0.0,
    )


def video_encoder_config(fields: Mapping[str, Any]) -> VideoEncoderConfig:
    """Read the fields of the multimodal model's video encoder.

    Raises:
        ValueError: A field is missing, not supported, or contradicts another.
    """
    return VideoEncoderConfig(
        image_size=_pair(_field(fields, "input_resolution")),
        patch_size=_field(fields, "patch_size"),
        frames=_field(fields, "t_size"),
        width=_field(fields, "vision_width"),
        depth=_field(fields, "vision_layers"),
        heads=_field(fields, "vision_heads"),
        global_blocks=tuple(_field(fields, "return_list")),
        global_heads=fields.get("n_head"),
        global_mlp_ratio=fields.get("mlp_factor", 4.0),
        global_dropout=_one_rate(fields.get("mlp_dropout")),
        embed_width=_field(fields, "embed_dim"),
    )


def text_config(fields: Mapping[str, Any]) -> TextConfig:
    """Read the fields of the text tower.

    Raises:
        ValueError: A field is missing, or contradicts another.
    """
    return TextConfig(
        vocabulary=_field(fields, "vocab_size"),
        context=_field(fields, "context_length"),
        width=_field(fields, "transformer_width"),
        depth=_field(fields, "transformer_layers"),
        heads=_field(fields, "transformer_heads"),
        embed_width=_field(fields, "embed_dim"),
    )


def captioner_config(fields: Mapping[str, Any]) -> CaptionerConfig:
    """Read the fields of the caption decoder.

    Raises:
        ValueError: A field is missing, or contradicts another.
    """
    return CaptionerConfig(
        vocabulary=_field(fields, "vocab_size"),
        width=_field(fields, "transformer_width"),
        heads=_field(fields, "cap_heads"),
        visual_width=_field(fields, "vision_width"),
        depth=_field(fields, "cap_layers"),
        queries=_field(fields, "cap_queries"),
    )


def video_text_config(fields: Mapping[str, Any], *, captions: bool) -> VideoTextConfig:
    """Read the fields of the whole multimodal model, with its caption decoder or without.

    Raises:
        ValueError: A field is missing, not supported, or contradicts another.
    """
    return VideoTextConfig(
        video=video_encoder_config(fields),
        text=text_config(fields),
        captioner=captioner_config(fields) if captions else None,
    )


def _cube_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    patch = _pair(_field(fields, "patch_size"))
    if patch[0] != patch[1]:
        raise ValueError(f"patch_size is {patch[0]}x{patch[1]}: cubes have square faces here")
    if fields.get("qk_scale"):
        raise ValueError(
            f"qk_scale is {fields['qk_scale']}: scores are scaled by a head's width ** -0.5 here, give None"
        )
    return {
        "image_size": _pair(_field(fields, "img_size")),
        "patch_size": patch[0],
        "frames": fields.get("num_frames", fields.get("all_frames", 16)),
        "tubelet": fields.get("tubelet_size", 2),
        "mlp_ratio": fields.get("mlp_ratio", 4.0),
        "qkv_bias": bool(fields.get("qkv_bias", True)),
        "norm_eps": fields.get("norm_eps", 1e-6),
        "layer_scale": fields.get("init_values") or 0.0,
        "drop_path": fields.get("drop_path_rate") or 0.0,
        "dropout": fields.get("drop_rate") or 0.0,
        "attention_dropout": fields.get("attn_drop_rate") or 0.0,
    }


def _local_kind(fields: Mapping[str, Any]) -> LocalKind:
    if fields.get("no_lmhra", False):
        return "none"
    return "double" if fields.get("double_lmhra", True) else "single"


def _one_rate(rates: float | Sequence[float] | None) -> float:
    """Return the dropout of the global blocks, which the public code names once per block."""
    if not isinstance(rates, Sequence):
        return float(rates or 0.0)
    if len(set(rates)) > 1:
        raise ValueError(f"mlp_dropout is {list(rates)}: one rate for all global blocks is taken")
    return float(rates[0]) if rates else 0.0


def _field(fields: Mapping[str, Any], name: str) -> Any:  # noqa: ANN401 - fields have many types; the dataclasses check values
    if name not in fields:
        raise ValueError(f"the configuration has no {name!r}; it has {', '.join(map(str, fields))}")
    return fields[name]


def _pair(size: int | list[int] | tuple[int, ...]) -> tuple[int, int]:
    sides = (size, size) if isinstance(size, int) else tuple(size)
    if len(sides) != 2:  # noqa: PLR2004 - height and width
        raise ValueError(f"{size} is no size: one edge or height and width are taken")
    return sides[0], sides[1]
