"""The figures of the full demo: what they must come to, as a table, as JSON, and as curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich import box
from rich.table import Table

from tools.demo_curves import Chart
from tools.demo_pictures import reads_right
from tools.demo_runs import CMA, SFT_MASKED, SFT_MULTIMODAL
from tools.demo_stage import DemoFailedError
from tools.training_run import Line


@dataclass(slots=True)
class Figures:
    """What the stages found so far; shares are percentages, of clips that were not trained on."""

    seed: int
    clips: dict[str, int] = field(default_factory=dict)
    losses: dict[str, dict[str, float]] = field(default_factory=dict)
    retrieval: dict[str, Any] = field(default_factory=dict)
    captions: dict[str, Any] = field(default_factory=dict)
    examples: list[dict[str, Any]] = field(default_factory=list)
    classification: dict[str, dict[str, Any]] = field(default_factory=dict)
    pictures: list[str] = field(default_factory=list)

    @property
    def chance(self) -> float:
        """R@1 of a model that knows nothing."""
        return 100.0 / int(self.retrieval["videos"])

    def take_captions(self, report: Mapping[str, Any]) -> None:
        """Keep what ``vidloom eval captions`` reports, and count captions that are right word by word."""
        self.examples = list(report["examples"])
        right = sum(map(reads_right, self.examples))
        self.captions = {"exact": 100.0 * right / len(self.examples), **report["metrics"]}

    def to_json(self, seconds: Mapping[str, float]) -> dict[str, Any]:
        """Return all figures as one JSON object, with the seconds that each stage took."""
        return {
            "seed": self.seed,
            "clips": self.clips,
            "seconds": {title: round(each, 1) for title, each in seconds.items()},
            "losses": self.losses,
            "retrieval": {"chance": self.chance, **self.retrieval},
            "captions": self.captions,
            "classification": self.classification,
            "pictures": self.pictures,
        }


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the figures must come to: R@1 as a multiple of chance, and captions that are right word by word (%)."""

    above_chance: float = 20.0
    exact: float = 70.0

    def check_retrieval(self, figures: Figures) -> None:
        """Check that clips are found by captions, and captions by clips.

        Raises:
            DemoFailedError: a direction falls short.
        """
        wanted = min(100.0, self.above_chance * figures.chance)
        for direction in ("text_to_video", "video_to_text"):
            found = figures.retrieval[direction]["r1"]
            if found < wanted:
                name = direction.replace("_", " ")
                raise DemoFailedError(f"R@1 {name} is {found:.1f} %; {wanted:.1f} % or more was expected")

    def check_captions(self, figures: Figures) -> None:
        """Check that captions read right.

        Raises:
            DemoFailedError: too few do.
        """
        found = figures.captions["exact"]
        if found < self.exact:
            raise DemoFailedError(
                f"{found:.1f} % of the captions are right word by word; {self.exact:g} % or more was expected"
            )

    def check_coordination(self, figures: Figures) -> None:
        """Check that both encoders together are no worse than the better one.

        Raises:
            DemoFailedError: they are.
        """
        alone = max(figures.classification[run]["top1"] for run in (SFT_MASKED, SFT_MULTIMODAL))
        found = figures.classification[CMA]["top1"]
        if found < alone:
            raise DemoFailedError(
                f"cross-model attention has {found:.1f} % top-1; {alone:.1f} % or more, as the better backbone has, was"
                " expected"
            )


def figures_table(figures: Figures) -> Table:
    """Return the figures as a table."""
    table = Table("of clips that were not trained on", "figure", "value", box=box.SIMPLE)
    for direction in ("text_to_video", "video_to_text"):
        found = figures.retrieval[direction]
        for name, spelt in (("r1", "R@1"), ("r5", "R@5")):
            table.add_row(f"zero-shot retrieval, {direction.replace('_', ' ')}", spelt, f"{found[name]:.1f} %")
    table.add_row(f"of {figures.retrieval['videos']} clips", "R@1 by chance", f"{figures.chance:.1f} %")
    table.add_row("captions", "right word by word", f"{figures.captions['exact']:.1f} %")
    table.add_row("", "BLEU-4", f"{figures.captions['bleu'][-1]:.1f}")
    table.add_row("", "CIDEr", f"{figures.captions['cider']:.2f}")
    for run, about in (
        (SFT_MASKED, "masked encoder, fine-tuned"),
        (SFT_MULTIMODAL, "multimodal encoder, fine-tuned"),
        (CMA, "both with cross-model attention"),
    ):
        table.add_row(f"actions by {about}", "top-1", f"{figures.classification[run]['top1']:.1f} %")
    return table


def charts_of(runs: Mapping[str, Sequence[Line]]) -> list[Chart]:
    """Return a chart of each run's losses; of several, those that make up the loss."""
    return [Chart(run, _curves(lines)) for run, lines in runs.items()]


def _curves(lines: Sequence[Line]) -> dict[str, list[float]]:
    parts = [name for name in lines[0] if name.startswith("loss/")]
    names = parts if len(parts) > 1 else ["loss"]
    return {name.removeprefix("loss/"): [line[name] for line in lines] for name in names}
