"""How weights are updated and how fast, as settings."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from train.checks import require, require_choice, require_not_negative

DECAY_RULES: Final = ("videomae", "uniformer", "multimodal")
SCHEDULES: Final = ("cosine", "linear")


@dataclass(frozen=True, slots=True)
class AdamWConfig:
    """AdamW and its learning rate; the defaults are those of VideoMAE pretraining (arXiv 2203.12602).

    ``lr`` is the peak rate that is used, not one per 256 samples; None takes 1.5e-4 * batch / 256. After the warm-up it
    falls by half a ``cosine`` or by a line (``schedule``) towards ``min_lr``; None takes lr / 15, the recipe's 1e-5 to
    1.5e-4. The rate climbs from ``warmup_start`` for
    ``warmup_steps``; None takes ``warmup_epochs`` of the ``train.epochs`` of a run, or as large a part of
    ``train.max_steps``. ``clip_norm`` None leaves gradients as they are.

    ``decay_rule`` says which parameters are spared from ``weight_decay``. ``layer_decay`` is the factor from one layer
    to the one below it (None: all learn as fast). ``lr_scales`` are factors for the parameters whose names a regular
    expression is found in, the first that fits counting.
    """

    lr: float | None = None
    min_lr: float | None = None
    schedule: str = "cosine"
    warmup_start: float = 0.0
    warmup_steps: int | None = None
    warmup_epochs: float = 40.0
    weight_decay: float = 0.05
    decay_rule: str = "videomae"
    layer_decay: float | None = None
    lr_scales: dict[str, float] = field(default_factory=dict)
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    clip_norm: float | None = None

    def __post_init__(self) -> None:
        # A composed configuration hands over a list of any length.
        betas: tuple[float, ...] = tuple(self.betas)
        object.__setattr__(self, "betas", betas)
        require_not_negative("optim", self, "lr", "min_lr", "weight_decay", "warmup_steps")
        require_not_negative("optim", self, "warmup_start", "warmup_epochs")
        require_choice("optim.schedule", self.schedule, SCHEDULES)
        require_choice("optim.decay_rule", self.decay_rule, DECAY_RULES)
        fit = len(betas) == 2 and all(0 <= beta < 1 for beta in betas)  # noqa: PLR2004 - AdamW has two
        require(fit, "optim.betas", list(self.betas), "two numbers, each at least 0 and below 1")
        require(0 < self.eps < float("inf"), "optim.eps", self.eps, "above 0")
        require(self.clip_norm is None or self.clip_norm > 0, "optim.clip_norm", self.clip_norm, "above 0, or null")
        decay = self.layer_decay
        require(decay is None or 0 < decay <= 1, "optim.layer_decay", decay, "above 0 and at most 1, or null")
        self._check_scales()
        self._check_rates()

    def _check_scales(self) -> None:
        for pattern, scale in self.lr_scales.items():
            require(0 <= scale < float("inf"), f"optim.lr_scales.{pattern}", scale, "0 or more")
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"optim.lr_scales: {pattern!r} is no regular expression: {error}") from None

    def _check_rates(self) -> None:
        if self.lr is None:
            return
        for name, way in (("min_lr", "falls from lr to min_lr"), ("warmup_start", "climbs from warmup_start to lr")):
            value = getattr(self, name)
            if value is not None and value > self.lr:
                raise ValueError(f"optim.{name}={value} is above optim.lr={self.lr}: the rate {way}")
