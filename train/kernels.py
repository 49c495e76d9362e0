"""What computes a step: the kernels that run attention, and blocks that torch compiles."""

from __future__ import annotations

import importlib.util
import os
import shutil
import warnings
from collections.abc import Mapping
from typing import Final

import torch
from torch import nn

from model.attention import attention_backend
from model.clip_config import UniFormerConfig, VideoTextConfig
from model.config import ClassifierConfig, VideoMAEConfig
from model.coordination_config import CoordinationConfig
from model.uniblocks import GlobalBlock
from train.sharding import blocks_of
from train.stages import ModelConfig

BACKEND: Final = "inductor"
"""What torch.compile makes code with."""


def attention_kernels(model: ModelConfig, device: torch.device, dtype: torch.dtype) -> str:
    """Say what runs attention: one kernel, or those of a network's parts where their heads differ in width."""
    parts: dict[int, list[str]] = {}
    for part, width in head_widths(model).items():
        parts.setdefault(width, []).append(part)
    found = {width: attention_backend(device, dtype, width) for width in parts}
    if len(found) == 1:
        return next(iter(found.values()))
    return " and ".join(
        f"{kernel} in the {', '.join(parts[width])} ({width} channels a head)" for width, kernel in found.items()
    )


def head_widths(model: ModelConfig) -> Mapping[str, int]:
    """Return the channels of an attention head in each part of a network."""
    if isinstance(model, VideoMAEConfig):
        return {"encoder": model.width // model.heads, "decoder": model.decoder_width // model.decoder_heads}
    if isinstance(model, ClassifierConfig):
        return {"encoder": model.width // model.heads}
    if isinstance(model, CoordinationConfig):
        inner = {f"multimodal encoder {at}": _frames_head(each) for at, each in enumerate(model.multimodal)}
        return {"masked encoder": model.masked.width // model.masked.heads, **inner, "modules": model.head_width}
    if isinstance(model, VideoTextConfig):
        towers = {"video encoder": _frames_head(model.video), "text tower": model.text.width // model.text.heads}
        captioner = model.captioner
        return towers if captioner is None else towers | {"caption decoder": captioner.width // captioner.heads}
    return {"encoder": _frames_head(model)}


def compile_blocks(module: nn.Module, device: torch.device) -> None:
    """Have torch compile each block of a module's stacks at its first pass; names of weights stay.

    UniFormerV2's global blocks are left as they are: each has one query, so there is little to gain, and compiled by
    torch 2.13 on a CPU they lose the gradient of the tokens that they look at.

    Raises:
        ValueError: there is no compiler for the device here.
    """
    require_compiler(device)
    # Of torch's own making, when it looks at what comes into a block.
    warnings.filterwarnings("ignore", message="The .grad attribute of a Tensor that is not a leaf")
    for block in blocks_of(module):
        if not isinstance(block, GlobalBlock):
            block.compile(backend=BACKEND)


def require_compiler(device: torch.device) -> None:
    """Check that what torch.compile needs is there: a C++ compiler, and Triton for a GPU.

    Raises:
        ValueError: one is missing.
    """
    if not any(shutil.which(name) for name in (os.environ.get("CXX") or "g++", "clang++")):
        raise ValueError("train.compile=true needs a C++ compiler, and there is none here; install g++, or give false")
    if device.type == "cuda" and importlib.util.find_spec("triton") is None:
        raise ValueError("train.compile=true needs Triton on a GPU, and it is not installed; install it, or give false")


def _frames_head(model: UniFormerConfig) -> int:
    return model.width // model.heads
