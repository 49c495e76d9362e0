"""Kill a training run at a telling place, and compare what it reports with an uninterrupted run, line by line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rich import box
from rich.table import Table

from tools.training_run import Line

COMPARED: Final = ("epoch", "loss", "lr", "grad_norm", "keys_sha")
"""What must be equal to the last bit in two runs that are the same; times and speeds may differ."""


@dataclass(frozen=True, slots=True)
class KillPlan:
    """Steps at which the second run is killed and, once resumed, stopped; and its steps between checkpoints."""

    checkpoint_every: int
    kill_at: int
    stop_at: int


def plan_kill(steps: int, *, epoch_steps: int) -> KillPlan:
    """Choose the middle of an epoch about a quarter into the run, between two checkpoints."""
    kill_at = steps // 4 // epoch_steps * epoch_steps + max(2, epoch_steps // 2)
    kill_at = min(kill_at, steps // 2)
    every = max(1, kill_at * 2 // 5)
    return KillPlan(every, kill_at, min(steps, kill_at + max(2, every)))


@dataclass(frozen=True, slots=True)
class Difference:
    """A step at which two runs report different values: the field's name and both values."""

    step: int
    field: str
    one: object
    other: object


@dataclass(frozen=True, slots=True)
class Comparison:
    """How many reports were compared with the reference, and where they differ."""

    compared: int
    differences: tuple[Difference, ...]

    @property
    def equal(self) -> bool:
        """Whether there was something to compare and all of it is equal to the last bit."""
        return self.compared > 0 and not self.differences


def compare(reference: Sequence[Line], others: Sequence[Line]) -> Comparison:
    """Compare every line of ``others`` with the reference's line of the same step, in the fields of ``COMPARED``."""
    by_step = {line["step"]: line for line in reference}
    differences = tuple(
        Difference(line["step"], name, by_step.get(line["step"], {}).get(name), line.get(name))
        for line in others
        for name in COMPARED
        if line["step"] not in by_step or by_step[line["step"]][name] != line[name]
    )
    return Comparison(len(others), differences)


def side_by_side(whole: Sequence[Line], killed: Sequence[Line], resumed: Sequence[Line]) -> Table:
    """Return a table of a few steps before the kill, after the resumption, and of the last; it fits into 80 columns."""
    table = Table("run", "step", "loss", "uninterrupted", "batch", "the same", box=box.SIMPLE, padding=(0, 1, 0, 0))
    reference = {line["step"]: line for line in whole}
    few = [("killed", line) for line in killed[-2:]] + [("resumed", line) for line in [*resumed[:3], resumed[-1]]]
    for name, line in few:
        other = reference[line["step"]]
        losses = [repr(each["loss"]) for each in (line, other)]
        batches = [each["keys_sha"][:8] for each in (line, other)]
        table.add_row(name, str(line["step"]), *losses, *batches)
    return table
