"""How long and on what a run trains, what it begins with and what it leaves behind, as settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from train.checks import require, require_choice, require_counts

PRECISIONS: Final = ("fp32", "bf16")
DEVICES: Final = ("auto", "cpu", "cuda")
STRATEGIES: Final = ("ddp", "fsdp")


@dataclass(frozen=True, slots=True)
class InitConfig:
    """What the weights of a new run come from; a run that goes on has its checkpoint.

    ``model`` is another run's ``out``, or a weights file, ours or a published one. ``masked`` and ``multimodal`` are
    the same for the encoders of cross-model attention. ``trust`` allows pickled files, which run code as they load.
    """

    model: str | None = None
    masked: str | None = None
    multimodal: tuple[str, ...] = ()
    trust: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "multimodal", tuple(self.multimodal))
        for name, value in (("model", self.model), ("masked", self.masked)):
            require(value is None or bool(value.strip()), f"init.{name}", value, "a run's out or a file, or null")
        require(all(self.multimodal), "init.multimodal", list(self.multimodal), "a list of runs' outs or files")


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """How long and on what the run trains, and what it leaves behind.

    ``max_steps`` None takes ``epochs`` of the dataset. ``accumulate`` cuts each rank's share of a batch into that
    many parts, one after the other. Every ``checkpoint_every`` steps a checkpoint is written; the last ``keep`` stay,
    and for ever those of every ``keep_every`` steps (None: no others).
    With ``resume`` the run goes on from the newest whole checkpoint under ``out``, if there is one.

    ``strategy`` spreads a model over ranks: each has all of it (``ddp``), or its share (``fsdp``). ``compile`` has
    torch compile the blocks. ``ema`` is how much of the weights' moving average each step keeps (None: there is none).
    ``skip_nonfinite`` steps in a row may have no finite loss or gradient and are left out; one more ends the run.
    Every ``eval_every`` steps the run is judged on ``data.val``. ``peak_tflops`` is what one device can do in a second,
    for the utilisation in the log (None: known GPUs by name).
    """

    max_steps: int | None = None
    epochs: int = 801
    seed: int = 0
    precision: str = "fp32"
    accumulate: int = 1
    log_every: int = 10
    checkpoint_every: int = 1000
    keep: int = 3
    keep_every: int | None = None
    eval_every: int | None = None
    device: str = "auto"
    strategy: str = "ddp"
    compile: bool = False
    ema: float | None = None
    skip_nonfinite: int = 0
    peak_tflops: float | None = None
    resume: bool = True

    def __post_init__(self) -> None:
        require_counts("train", self, "max_steps", "epochs", "accumulate", "log_every", "checkpoint_every", "keep")
        require_counts("train", self, "keep_every", "eval_every")
        require(0 <= self.seed < 1 << 63, "train.seed", self.seed, "0 to 2**63 - 1")
        require_choice("train.precision", self.precision, PRECISIONS)
        require_choice("train.device", self.device, DEVICES)
        require_choice("train.strategy", self.strategy, STRATEGIES)
        require(self.ema is None or 0 < self.ema < 1, "train.ema", self.ema, "above 0 and below 1, or null")
        require(self.skip_nonfinite >= 0, "train.skip_nonfinite", self.skip_nonfinite, "a whole number, 0 or more")
        peak = self.peak_tflops
        require(peak is None or 0 < peak < float("inf"), "train.peak_tflops", peak, "above 0, or null")
