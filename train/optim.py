"""AdamW: which parameters decay and how fast they learn, and the learning rate of every step."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Float64
from torch import nn

from train.optim_config import AdamWConfig

_BLOCK: Final = re.compile(r"(?:^|\.)(?:res)?blocks\.(\d+)\.")
_EMBEDDING: Final = re.compile(
    r"(?:^|\.)(?:patch_embed|cls_token|mask_token|pos_embed|conv1|class_embedding|positional_embedding|ln_pre)(?:\.|$)"
)


@dataclass(frozen=True, slots=True)
class ParamGroup:
    """Parameters that share a weight decay and a factor on the learning rate."""

    names: tuple[str, ...]
    params: tuple[nn.Parameter, ...]
    weight_decay: float
    lr_scale: float


def no_decay(name: str, param: torch.Tensor, rule: str = "videomae") -> bool:
    """Say whether a parameter is spared from weight decay.

    Every rule spares tensors of less than two axes, among them all norms, and biases. ``videomae`` spares the mask
    token and learnable positions too (``optim_factory.py`` of its public code); ``uniformer`` nothing else
    (``optimizer.py`` of UniFormerV2's); ``multimodal`` embeddings, the query of the global blocks, the factor on
    similarities and whatever has "bias" in its name (the optimiser groups of InternVideo's multimodal code).

    Raises:
        ValueError: no such rule.
    """
    if rule not in _SPARED:
        raise ValueError(f"there is no decay rule {rule!r}: known are {', '.join(_SPARED)}")
    spared = _SPARED[rule].search(name)
    return param.ndim <= 1 or name.endswith(".bias") or spared is not None


_SPARED: Final = {
    "videomae": re.compile(r"(?:^|\.)(?:mask_token|pos_embed)$"),
    "uniformer": re.compile(r"$^"),
    "multimodal": re.compile(r"bias|embedding|logit_scale|temporal_cls_token"),
}
"""What names the rules spare beside tensors of less than two axes and biases."""


def layer_of(name: str, depth: int) -> int:
    """Return a parameter's layer for layer-wise decay: embedding 0, block k at k + 1, the rest depth + 1.

    Of UniFormerV2 the blocks are those of CLIP, and the embedding is all before them; the global blocks are the rest.

    Source: VideoMAE fine-tuning, ``optim_factory.py`` of its public code (arXiv 2203.12602).

    Raises:
        ValueError: the name says a block at ``depth`` or beyond.
    """
    block = _BLOCK.search(name)
    if block is None:
        return 0 if _EMBEDDING.search(name) else depth + 1
    if int(block[1]) >= depth:
        raise ValueError(f"parameter {name!r} is of block {block[1]}, but depth={depth}: blocks count from 0")
    return int(block[1]) + 1


def parameter_groups(
    named_parameters: Iterable[tuple[str, nn.Parameter]],
    *,
    weight_decay: float,
    layer_decay: float | None = None,
    depth: int | None = None,
    rule: str = "videomae",
    lr_scales: Mapping[str, float] | None = None,
) -> list[ParamGroup]:
    """Sort a model's trainable parameters into groups, in the order in which a group first occurs.

    Args:
        named_parameters: what ``model.named_parameters()`` yields.
        weight_decay: for the parameters that ``no_decay`` does not spare.
        layer_decay: layer i of depth + 2 learns at ``layer_decay ** (depth + 1 - i)`` of the rate.
        depth: number of blocks, needed with ``layer_decay``.
        rule: which parameters are spared from weight decay, see ``no_decay``.
        lr_scales: a factor on the rate by regular expression, for the parameters whose names it is found in; of
            several the first.

    Raises:
        ValueError: ``layer_decay`` without ``depth``, no such rule, or an expression that fits no trainable parameter.
    """
    if layer_decay is not None and depth is None:
        raise ValueError(f"layer_decay={layer_decay} needs depth, the number of blocks, and depth is None")
    factors = _Factors(lr_scales or {})
    members: dict[tuple[float, float], list[tuple[str, nn.Parameter]]] = {}
    for name, param in named_parameters:
        if not param.requires_grad:
            continue
        scale = 1.0 if layer_decay is None or depth is None else layer_decay ** (depth + 1 - layer_of(name, depth))
        decay = 0.0 if no_decay(name, param, rule) else weight_decay
        members.setdefault((decay, scale * factors.of(name)), []).append((name, param))
    factors.require_all_used()
    return [
        ParamGroup(tuple(name for name, _ in pairs), tuple(param for _, param in pairs), decay, scale)
        for (decay, scale), pairs in members.items()
    ]


class _Factors:
    """Factors on the rate by regular expression, and which of them have fitted."""

    def __init__(self, scales: Mapping[str, float]) -> None:
        self._scales = {pattern: (re.compile(pattern), factor) for pattern, factor in scales.items()}
        self._unused = set(scales)

    def of(self, name: str) -> float:
        for pattern, (compiled, factor) in self._scales.items():
            if compiled.search(name):
                self._unused.discard(pattern)
                return factor
        return 1.0

    def require_all_used(self) -> None:
        if self._unused:
            listed = ", ".join(sorted(self._unused))
            raise ValueError(
                f"optim.lr_scales: no parameter that learns has a name with {listed}; see the model's names"
            )


def groups_of(module: nn.Module, config: AdamWConfig, depth: int | None = None) -> list[ParamGroup]:
    """Return the groups of what learns in a module, as the configuration says.

    Args:
        module: the objective.
        config: decay rule, layer decay, factors.
        depth: number of its blocks, where layers are to learn at different rates.

    Raises:
        ValueError: see ``parameter_groups``.
    """
    return parameter_groups(
        module.named_parameters(),
        weight_decay=config.weight_decay,
        layer_decay=config.layer_decay,
        depth=depth,
        rule=config.decay_rule,
        lr_scales=config.lr_scales,
    )


def build_adamw(groups: Iterable[ParamGroup], config: AdamWConfig) -> torch.optim.AdamW:
    """Build torch's AdamW, fused, over the groups; ``set_lr`` gives it its learning rate before each step."""
    listed = list(groups)
    return torch.optim.AdamW(
        [
            {"params": list(g.params), "weight_decay": g.weight_decay, "lr_scale": g.lr_scale, "names": g.names}
            for g in listed
        ],
        lr=0.0,
        betas=config.betas,
        eps=config.eps,
        fused=True,  # which can also leave everything as it is without the host's knowing, see TrainStep
    )


def start_adamw(optimizer: torch.optim.Optimizer) -> None:
    """Give every parameter the state of AdamW before its first step, so that a checkpoint can be read into it."""
    for param in _named(optimizer).values():
        moments = {what: torch.zeros_like(param, memory_format=torch.preserve_format) for what in _MOMENTS}
        optimizer.state[param] = {"step": torch.zeros((), dtype=torch.float32, device=param.device), **moments}


_MOMENTS: Final = ("exp_avg", "exp_avg_sq")


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of every group: ``lr`` times the group's factor."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_scale"]


@dataclass(frozen=True, slots=True)
class Schedule:
    """One value a step, computed when asked for: a line from ``start`` to ``base``, then half a cosine to ``final``.

    As in VideoMAE (``cosine_scheduler`` of its public code): both ends of the line are in it, so step 0 has the value
    ``start`` where there is a warm-up, ``base`` comes twice, and the cosine never quite reaches ``final``. With
    ``fall="linear"`` a line takes the cosine's place, as where InternVideo's public code tunes for questions.

    Raises:
        ValueError: the warm-up is longer than the run, or there is no such fall.
    """

    base: float
    final: float
    total_steps: int
    warmup_steps: int
    start: float = 0.0
    fall: str = "cosine"

    def __post_init__(self) -> None:
        if self.fall not in _FALLS:
            raise ValueError(f"there is no schedule {self.fall!r}: known are {', '.join(_FALLS)}")
        if not 0 <= self.warmup_steps <= self.total_steps:
            raise ValueError(
                f"warmup_steps={self.warmup_steps} does not fit into total_steps={self.total_steps}; lower"
                " optim.warmup_steps or raise train.max_steps",
            )

    def at(self, step: int) -> float:
        """Return the value of a step, counted from 0 to ``total_steps - 1``.

        Raises:
            ValueError: the run has no such step.
        """
        if not 0 <= step < self.total_steps:
            raise ValueError(f"there is no step {step} in a run of {self.total_steps}; steps count from 0")
        if step < self.warmup_steps:
            return self.start + (self.base - self.start) * (step / max(self.warmup_steps - 1, 1))
        left = _FALLS[self.fall](step - self.warmup_steps, self.total_steps - self.warmup_steps)
        return self.final + (self.base - self.final) * left


_FALLS: Final[Mapping[str, Callable[[int, int], float]]] = {
    "cosine": lambda gone, steps: 0.5 * (1 + math.cos(math.pi * gone / steps)),
    "linear": lambda gone, steps: 1 - gone / steps,
}
"""What is left of the way down after some of the steps behind the warm-up."""


RECIPE_EPOCHS: Final = 801
"""Epochs of VideoMAE's B hybrid recipe (``train/conf``)."""


def lr_schedule(config: AdamWConfig, batch_size: int, total_steps: int, epochs: float | None = None) -> Schedule:
    """Return the learning rates of a run with a global batch of ``batch_size`` samples.

    What the configuration leaves open comes from the B hybrid recipe (``train/conf/optim``): a peak of 1.5e-4 per 256
    samples, a floor of a fifteenth of the peak (1e-5 to 1.5e-4). The warm-up is ``warmup_steps`` long, or else as large
    a part of the run as ``warmup_epochs`` are of ``epochs`` (None: 801, the recipe's).

    Raises:
        ValueError: the warm-up is longer than the run, or the floor or the start lies above the peak.
    """
    peak = 1.5e-4 * batch_size / 256 if config.lr is None else config.lr
    floor = peak / 15 if config.min_lr is None else config.min_lr
    for name, value in (("min_lr", floor), ("warmup_start", config.warmup_start)):
        if value > peak:
            raise ValueError(
                f"optim.{name}={value} is above the peak rate {peak}, which is 1.5e-4 * data.batch_size / 256 where"
                f" optim.lr is null; lower {name} or set optim.lr",
            )
    warmup = config.warmup_steps
    if warmup is None:
        warmup = round(total_steps * config.warmup_epochs / (epochs or RECIPE_EPOCHS))
    return Schedule(peak, floor, total_steps, warmup, config.warmup_start, config.schedule)


def cosine_values(base: float, final: float, total_steps: int, warmup_steps: int) -> Float64[np.ndarray, "steps"]:
    """Return all values of a ``Schedule``, which raises as it does."""
    schedule = Schedule(base, final, total_steps, warmup_steps)
    return np.fromiter((schedule.at(step) for step in range(total_steps)), np.float64, total_steps)


def flatten_adamw(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Return the optimiser's state as one flat mapping, ``<parameter name>/<what>`` to its tensor.

    Names instead of numbers, so that a checkpoint does not depend on how parameters were grouped.
    """
    return {
        f"{name}/{what}": value
        for name, param in _named(optimizer).items()
        for what, value in optimizer.state.get(param, {}).items()
    }


def restore_adamw(optimizer: torch.optim.Optimizer, flat: Mapping[str, torch.Tensor]) -> None:
    """Give the optimiser the state that ``flatten_adamw`` took.

    Raises:
        ValueError: names or shapes do not fit the optimiser's parameters.
    """
    named = _named(optimizer)
    loaded: dict[str, dict[str, Any]] = {}
    for key, value in flat.items():
        name, _, what = key.rpartition("/")
        loaded.setdefault(name, {})[what] = value
    strangers = sorted(loaded.keys() ^ named.keys()) if loaded else []
    if strangers:
        raise ValueError(f"the optimiser state and the model differ in {len(strangers)} parameters: {strangers[:5]}")
    for name, entry in loaded.items():
        param = named[name]
        for what, value in entry.items():
            if what != "step" and value.shape != param.shape:
                raise ValueError(
                    f"optimiser state {name}/{what} has shape {list(value.shape)}, not {list(param.shape)}"
                )
        # A fused optimiser keeps the step count beside the parameter, a plain one on the host.
        optimizer.state[param] = {what: value.to(param.device) for what, value in entry.items()}


def _named(optimizer: torch.optim.Optimizer) -> dict[str, nn.Parameter]:
    return {
        name: param
        for group in optimizer.param_groups
        for name, param in zip(group["names"], group["params"], strict=True)
    }
