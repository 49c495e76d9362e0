"""A side of a comparison: a worker process that does its share when a line tells it to, and answers with figures."""

from __future__ import annotations

import json
import statistics
import subprocess
from dataclasses import dataclass, field


@dataclass
class Side:
    """One worker process and what it measured."""

    name: str
    process: subprocess.Popen[str]
    rounds: list[dict[str, float]] = field(default_factory=list)

    def step(self) -> dict[str, float]:
        """Do what is measured once."""
        self.ask()
        return self.answer()

    def ask(self) -> None:
        """Tell the process to do its share, and do not wait."""
        assert self.process.stdin is not None
        print(file=self.process.stdin, flush=True)

    def answer(self) -> dict[str, float]:
        """Wait for a line."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"the process of the side {self.name!r} ended; what it said stands above")
        found: dict[str, float] = json.loads(line)
        return found

    def middle(self, name: str) -> float:
        """Return the median of a figure over the rounds."""
        return statistics.median(each[name] for each in self.rounds)
