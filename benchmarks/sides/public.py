"""The public InternVideo networks, run from a checkout, and the step that its training loop takes with them."""

from __future__ import annotations

import importlib.util
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from benchmarks.sides.networks import Task, draw_mask
from model.colours import IMAGENET_MEAN, IMAGENET_STD

_PRETRAIN: Final = Path("InternVideo1/Pretrain")
_FILES: Final = {
    "videomae_pretrain": (
        _PRETRAIN / "VideoMAE/modeling_finetune.py",
        _PRETRAIN / "VideoMAE/modeling_pretrain.py",
    ),
    "uniformerv2": (_PRETRAIN / "UniFormerV2/slowfast/models/uniformerv2_model.py",),
}
_CLASSES: Final = {"videomae_pretrain": "PretrainVisionTransformer", "uniformerv2": "VisionTransformer"}


def missing_files(checkout: Path) -> list[Path]:
    """Return the files that a checkout of OpenGVLab/InternVideo would have here and this folder has not."""
    return [path for paths in _FILES.values() for path in paths if not (checkout / path).is_file()]


def public_network(task: Task, checkout: Path) -> nn.Module:
    """Build the public network with its own random weights, all stochastic parts off."""
    _stand_in()
    modules = [_load(checkout / path) for path in _FILES[task.kind]]
    network: nn.Module = getattr(modules[-1], _CLASSES[task.kind])(**task.fields)
    return network.train(task.kind == "videomae_pretrain")


def public_step(task: Task, network: nn.Module, video: Tensor) -> Callable[[], Tensor]:
    """Return what is measured: one training step up to the gradients, or one forward pass.

    The training step follows the public loop: un-normalise the clips, normalise every cube per colour, take the
    masked ones, compare by mean squared error.
    """
    if task.kind == "uniformerv2":
        return lambda: network(video)
    mask, edge = draw_mask(task), task.fields["patch_size"]
    batch, _, frames, height, width = video.shape
    shape = (batch, 3, frames // 2, 2, height // edge, edge, width // edge, edge)

    def step() -> Tensor:
        with torch.no_grad():
            mean, std = (torch.tensor(value)[None, :, None, None, None] for value in (IMAGENET_MEAN, IMAGENET_STD))
            pixels = (video * std + mean).view(shape).permute(0, 2, 4, 6, 3, 5, 7, 1)
            cubes = pixels.reshape(batch, -1, 2 * edge * edge, 3)
            spread = cubes.var(dim=-2, unbiased=True, keepdim=True).sqrt() + 1e-6
            normal = ((cubes - cubes.mean(dim=-2, keepdim=True)) / spread).flatten(2)
            target = normal[mask].reshape(batch, -1, normal.shape[-1])
        loss = mse_loss(network(video, mask), target)
        loss.backward()  # type: ignore[no-untyped-call]  # untyped in torch
        return loss.detach()

    return step


def _load(path: Path) -> ModuleType:
    """Import a file of the checkout under its own name, without the packages around it."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class _NoDropPath(nn.Identity):
    def __init__(self, rate: float | None = 0.0) -> None:
        super().__init__()
        assert not rate, "this stands in for stochastic depth that is off"


def _stand_in() -> None:
    """Give the names that the public files import from packages that are not installed here.

    None of them does anything in the networks measured: stochastic depth is off, weights are drawn anew, registries
    and loggers are not asked.
    """
    logger: dict[str, Any] = {"get_logger": logging.getLogger}
    layers: dict[str, Any] = {
        "DropPath": _NoDropPath,
        "drop_path": lambda x, *_: x,
        "to_2tuple": lambda x: x if isinstance(x, tuple) else (x, x),
        "trunc_normal_": nn.init.trunc_normal_,
    }
    wanted: dict[str, dict[str, Any]] = {
        "timm": {},
        "timm.models": {},
        "timm.models.layers": layers,
        "timm.models.registry": {"register_model": lambda function: function},
        "slowfast": {},
        "slowfast.utils": {},
        "slowfast.utils.logging": logger,
    }
    absent = {root for root in ("timm", "slowfast") if importlib.util.find_spec(root) is None}
    for name, content in wanted.items():
        if name.split(".")[0] in absent:
            module = sys.modules[name] = ModuleType(name)
            module.__dict__.update(content)
            parent, _, own = name.rpartition(".")
            if parent:
                setattr(sys.modules[parent], own, module)
