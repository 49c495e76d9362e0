"""Who hears of a sharding run besides the person who started it, and what a run says of itself first."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from typing import Any

from shards.errors import without_signature
from shards.store import split_url
from tools.console import printable
from tools.corpus.request import ShardRequest
from tools.shard_log import JsonLines, Sink, Wandb


@dataclass(frozen=True, slots=True)
class Watchers:
    """Who else hears of a run: a file of JSON lines, a project of Weights & Biases."""

    log: str | None = None
    wandb: str | None = None


def open_sinks(request: ShardRequest, watchers: Watchers) -> list[Sink]:
    """Open what the watchers hear by.

    Raises:
        ValueError: a file cannot be written, or wandb is not there.
    """
    sinks: list[Sink] = []
    if watchers.log is not None:
        sinks.append(JsonLines(watchers.log, lambda line: print(f"vidloom: {printable(line)}", file=sys.stderr)))
    if watchers.wandb is not None:
        sinks.append(Wandb(watchers.wandb, split_url(request.out).name, about(request)))
    return sinks


def about(request: ShardRequest) -> dict[str, Any]:
    """Return a run's input, output, settings and executor, without what is secret in URLs."""
    names = [request.input] if isinstance(request.input, str) else request.input
    about = {"input": [without_signature(name) for name in names], "out": without_signature(request.out)}
    return about | {"settings": request.settings(), "run": asdict(request.choice)}
