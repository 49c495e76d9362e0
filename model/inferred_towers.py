"""The fields of the towers that grow out of CLIP, read off the shapes of their weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from model.inferred_sizes import Fields, Sizes

_NEW_GLOBAL_BLOCKS: Final = 4
"""Global blocks that a backbone from CLIP gets where the user gives none; the public code takes 4, too."""

_LOCAL_REDUCTION: Final = 1.5


def read_uniformer(sizes: Sizes) -> Fields:
    """Read the fields of UniFormerV2 with a head."""
    _read_frames(sizes, "")
    if sizes.told.get("frozen") is False and not sizes.has("transformer.balance"):
        del sizes.told["frozen"]
        sizes.guessed["frozen"] = True  # worth a word: this, or a weight is missing
    if sizes.has("transformer.proj.2.weight"):
        sizes.told["classes"] = sizes.shape("transformer.proj.2.weight", 2)[0]
    return Fields(sizes.plain(), sizes.told_names())


def read_video(sizes: Sizes) -> Fields:
    """Read the fields of the video encoder."""
    _read_frames(sizes, "visual.")
    sizes.told["embed_width"] = sizes.shape("visual_proj", 2)[1]
    return Fields(sizes.plain(), sizes.told_names())


def _read_frames(sizes: Sizes, home: str) -> None:
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


def _read_local(sizes: Sizes, home: str, width: int) -> None:
    local = "single" if sizes.has("lmhra1.pos_embed.1.weight") else "none"
    sizes.told["local"] = "double" if sizes.has("lmhra2.pos_embed.1.weight") else local
    given = sizes.given.get("local_reduction")
    usual = given if isinstance(given, int | float) and given > 0 else _LOCAL_REDUCTION
    if local == "none":
        sizes.told["local_reduction"] = usual  # of no matter
    else:
        inner = sizes.shape(f"{home}transformer.resblocks.0.lmhra1.pos_embed.1.weight", 5)[0]
        sizes.told["local_reduction"] = usual if int(width // usual) == inner else _reduction(width, inner)


def read_text(sizes: Sizes) -> Fields:
    """Read the fields of the text tower."""
    _read_ids(sizes)
    sizes.told["embed_width"] = sizes.shape("text_projection", 2)[1]
    return Fields(sizes.plain(), sizes.told_names())


def _read_ids(sizes: Sizes) -> None:
    """Read the fields of a text tower before its projection."""
    vocabulary, width = sizes.shape("token_embedding.weight", 2)
    sizes.told |= {
        "vocabulary": vocabulary,
        "width": width,
        "context": sizes.shape("positional_embedding", 2)[0],
        "depth": sizes.count("transformer.resblocks"),
    }
    sizes.guess_heads("heads", width)


def read_captioner(sizes: Sizes) -> Fields:
    """Read the fields of the caption decoder."""
    sizes.told["vocabulary"] = sizes.shape("predictor.4.weight", 2)[0]
    _read_fusion(sizes)
    return Fields(sizes.plain(), sizes.told_names())


def _read_fusion(sizes: Sizes) -> None:
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


def read_video_text(sizes: Sizes) -> Fields:
    """Read the fields of the contrastive and captioning model, with or without its caption decoder."""
    towers = {name: read(sizes.tower(name)) for name, read in (("video", read_video), ("text", read_text))}
    plain: dict[str, Any] = {**sizes.given}
    told = {"captioner"}
    if any(name.startswith("captioner.") for name in sizes.weights):
        towers["captioner"] = read_captioner(sizes.tower("captioner"))
    elif sizes.given.get("captioner") is not None:
        towers["captioner"] = _new_captioner(sizes.tower("captioner"), towers)
    else:
        plain["captioner"] = None
    for name, fields in towers.items():
        plain[name] = fields.plain
        told |= {f"{name}.{each}" for each in fields.told}
    return Fields(plain, told)


def _new_captioner(sizes: Sizes, towers: Mapping[str, Fields]) -> Fields:
    """Return the fields of a captioner that does not exist yet: it has to fit the towers."""
    text, video = towers["text"].plain, towers["video"].plain
    sizes.told |= {name: text[name] for name in ("vocabulary", "width")} | {"visual_width": video["width"]}
    sizes.guessed["heads"] = text["heads"]
    return Fields(sizes.plain(), sizes.told_names())


def read_answering(sizes: Sizes) -> Fields:
    """Read the fields of the question answering model."""
    video, text, captioner = (sizes.tower(name) for name in ("video", "text", "captioner"))
    _read_frames(video, "visual.")
    _read_ids(text)
    _read_fusion(captioner)
    captioner.told["vocabulary"] = text.told["vocabulary"]  # there is no predictor: of no matter
    _tell_shared_width(video, text)
    sizes.told["answers"] = sizes.shape("vqa_classifier.5.weight", 2)[0]
    towers = {"video": video, "text": text, "captioner": captioner}
    told = sizes.told_names().union(*(tower.told_names(f"{name}.") for name, tower in towers.items()))
    return Fields(sizes.plain() | {name: tower.plain() for name, tower in towers.items()}, told)


def _tell_shared_width(video: Sizes, text: Sizes) -> None:
    """Tell the width of the space that the towers share; without projections it is the text tower's by custom."""
    for tower, name in ((video, "visual_proj"), (text, "text_projection")):
        if name in tower.weights:
            tower.told["embed_width"] = tower.shape(name, 2)[1]
    known = [
        fields["embed_width"] for fields in (video.told, text.told, video.given, text.given) if "embed_width" in fields
    ]
    video.guessed["embed_width"] = text.guessed["embed_width"] = known[0] if known else text.told["width"]


def _reduction(width: int, inner: int) -> float:
    """Return a number that ``width`` divided by it, rounded down, is ``inner``."""
    reduction = width / inner
    return reduction if int(width // reduction) == inner else math.nextafter(reduction, 0.0)
