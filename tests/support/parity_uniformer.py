"""Parity checks of the UniFormerV2 encoder, alone with a head and as the video encoder of the multimodal model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

from model.foreign import load_reference
from model.linear import linear
from model.uniformer_trunk import cut_patches
from tests.support.parity_harness import Case, compare_if_present, compare_loss, record


def uniformerv2(case: Case) -> None:
    network = prepared(case, "uniformerv2")
    video = frames_of(case)
    watched = watch(network)
    features = record(network)
    if not case.has("output/logits"):
        run_where_the_reference_fails(network, video)
        return
    logits = network(video)
    compare_features(case, network, {**features, **watched, "fused": features["transformer.proj.0.input"]}, "")
    case.compare("output/logits", logits)
    if case.has("input/label"):
        compare_loss_if_present(case, network, cross_entropy(logits, case.tensors["input/label"]))
    elif case.has("input/fake_target"):
        compare_loss_if_present(case, network, mse_loss(logits, case.tensors["input/fake_target"]))
    compare_running_values(case, network)


def mm_video_encoder(case: Case) -> None:
    network = prepared(case, "mm_video_encoder")
    video = frames_of(case)
    if not case.has("output/video_feats"):
        run_where_the_reference_fails(network, video)
        return
    watched = watch(network)
    features = record(network)
    found = network(video)
    compare_features(case, network, {**features, **watched, "backbone": found.fused}, "visual.")
    tokens = found.tokens.permute(2, 0, 1, 3)
    case.compare("output/video_feats", found.embedded)
    compare_if_present(case, "output/all_feats", tokens)
    if case.has("input/fake_target"):
        loss = mse_loss(found.embedded, case.tensors["input/fake_target"])
    else:
        loss = found.embedded.square().mean() + tokens.mean()
    compare_loss_if_present(case, network, loss)
    compare_running_values(case, network)


def prepared(case: Case, kind: str) -> nn.Module:
    """Build the network in the case's mode; the reference's training cases have every dropout off."""
    off = {"mlp_dropout": 0.0, "cls_dropout": 0.0, "backbone_drop_path_rate": 0.0, "drop_path_rate": 0.0}
    network = load_reference(kind, {**case.config, **off}, case.under("state_dict"))
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return network.train(case.config.get("mode") == "train")


def frames_of(case: Case) -> Tensor:
    """Return the clips; in image mode the reference takes every frame for a sample of its own."""
    video = case.tensors["input/video" if case.has("input/video") else "input/image"]
    video = video[:, :, None] if video.ndim == 4 else video
    if case.config.get("mode") == "image":
        return video.transpose(1, 2).flatten(0, 1).unsqueeze(2)
    return video


def run_where_the_reference_fails(network: nn.Module, video: Tensor) -> None:
    """Ours gives a result for every clip, or says what it takes."""
    try:
        found = network(video)
    except ValueError:
        return
    result = found if isinstance(found, Tensor) else found.embedded
    assert len(result) == len(video)
    assert bool(result.isfinite().all())


def compare_loss_if_present(case: Case, network: nn.Module, loss: Tensor) -> None:
    if case.has("output/loss"):
        compare_loss(case, network, loss)
    elif case.under("grad"):
        loss.backward()
        case.compare_gradients(network)


def compare_running_values(case: Case, network: nn.Module) -> None:
    state = network.state_dict()
    for name in case.under("updated"):
        case.compare(f"updated/{name}", state[name], atol=5e-5, rtol=0.0)


def watch(network: nn.Module) -> dict[str, Tensor]:
    """Return a mapping that the tokens which each global block looks at will be put into."""
    seen: dict[str, Tensor] = {}
    for name, module in network.named_modules():
        if name.rpartition(".")[0].endswith("transformer.dec"):

            def keep(_module: nn.Module, inputs: tuple[Any, ...], name: str = name) -> None:
                (clips,) = inputs[1]
                slots = clips.classes.shape[1]
                patches = clips.patches.unflatten(1, (slots, -1))
                tokens = torch.cat([clips.classes[:, :, None], patches], dim=2)
                seen[f"{name}.kv_in"] = tokens.flatten(1, 2).transpose(0, 1)

            module.register_forward_pre_hook(keep)
    return seen


def compare_features(case: Case, network: nn.Module, found: dict[str, Tensor], home: str) -> None:
    """Compare what the file holds of the way, in the reference's layouts."""
    trunk = network.get_submodule(home.rstrip("."))
    video, patch = frames_of(case), trunk.config.patch_size
    rows = cut_patches(video, patch, overlap=trunk.config.temporal_downsample)
    slots, height, width = rows.shape[1], video.shape[3] // patch, video.shape[4] // patch
    for name, reference in case.under("feature").items():
        if name == "conv1":
            ours = as_volume(linear(rows, trunk.conv1.weight.flatten(1)).flatten(0, 1), (slots, height, width))
        elif name in found:
            ours = found[name]
        else:
            path = f"{home}{'' if name == 'ln_pre' else 'transformer.'}{name.removesuffix('.query_out')}"
            ours = found.get(path)
            if ours is None:
                continue
            ours = in_their_layout(name, ours, (slots, height, width))
            # Where only class tokens are read, the last block computes only them.
            case.tensors[f"feature/{name}"] = reference[: len(ours)] if name.startswith("resblocks") else reference
        case.compare(f"feature/{name}", ours)


def in_their_layout(name: str, ours: Tensor, grid: tuple[int, int, int]) -> Tensor:
    if ".lmhra" in name:
        return as_volume(ours[:, 1:], grid)
    return ours.transpose(0, 1) if name.startswith(("resblocks", "dec")) and not name.endswith("kv_in") else ours


def as_volume(patches: Tensor, grid: tuple[int, int, int]) -> Tensor:
    """Lay patches [B S, L, D] out as [B, D, S, h, w]."""
    return patches.reshape(-1, *grid, patches.shape[-1]).permute(0, 4, 1, 2, 3)


CHECKS: dict[str, Callable[[Case], None]] = {
    "uniformerv2": uniformerv2,
    "mm_video_encoder": mm_video_encoder,
}
