"""What an evaluation found, as JSON and as a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Column, Table


@dataclass(frozen=True)
class Figures:
    """What a task found.

    Attributes:
        metrics: Named figures, in groups where they belong together.
        samples: How many samples they are made of.
        unusable: Keys of the samples that could not be used.
        examples: A few outputs to look at.
    """

    metrics: Mapping[str, Any]
    samples: int
    unusable: Sequence[str] = ()
    examples: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class Report:
    """A task's figures with what they are figures of; ``settings`` are those that change them."""

    task: str
    model: str
    dataset: str
    digest: str
    figures: Figures
    settings: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the report as one JSON object."""
        return {
            "task": self.task,
            "model": self.model,
            "dataset": self.dataset,
            "dataset_digest": self.digest,
            "settings": dict(self.settings),
            "metrics": dict(self.figures.metrics),
            "samples": self.figures.samples,
            "unusable": list(self.figures.unusable),
            **({"examples": list(self.figures.examples)} if self.figures.examples else {}),
        }

    def show(self, console: Console) -> None:
        """Write the report as a line and a table, with a line on what could not be used."""
        table = Table(Column("figure"), Column("value", justify="right"))
        for name, value in _flat(self.figures.metrics):
            table.add_row(name, value)
        console.print(_printable(f"{self.task}: {self.model} on {self.dataset}"), soft_wrap=True)
        console.print(table)
        for example in self.figures.examples:
            console.print(_printable(f"{example['key']}: {example['caption']!r} for {example['references'][0]!r}"))
        if self.figures.unusable:
            console.print(
                f"{len(self.figures.unusable)} samples could not be used and count for nothing; "
                f"the first is {_printable(self.figures.unusable[0])}"
            )


def _flat(metrics: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in metrics.items():
        spelt = f"{prefix}{name.replace('_', ' ')}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{spelt}: ")
        elif isinstance(value, tuple | list):
            yield from _flat({f"{name} {place}": each for place, each in enumerate(value, start=1)}, prefix)
        else:
            yield spelt, "-" if value is None else f"{value:.2f}" if isinstance(value, float) else str(value)


def _printable(text: str) -> str:
    """Return text from outside with everything escaped that a terminal might obey."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
