"""From the options of the stats command to what is asked."""

from __future__ import annotations

import sys

from tools.corpus.executor import ExecutorChoice
from tools.statistics.collect import StatsRequest
from tools.statistics.options import ClipsOptions, CountOptions
from tools.statistics.partial import Limits
from tools.statistics.sections import Pace, Shown


def stats_request(datasets: list[str], clips: ClipsOptions, counts: CountOptions) -> StatsRequest:
    """Return what the options ask for.

    Raises:
        ValueError: they do not go together.
    """
    if counts.egress_price is not None and counts.clips_per_second is None:
        raise ValueError("--egress-price tells what an epoch costs, which --clips-per-second asks for: give both")
    pace = None if counts.clips_per_second is None else Pace(counts.clips_per_second, counts.egress_price)
    limits = Limits(sys.maxsize, sys.maxsize) if counts.exact else Limits(max(counts.captions, counts.near))
    return StatsRequest(
        datasets=tuple(datasets),
        where=clips.where,
        by=clips.by,
        compare=clips.compare,
        pace=pace,
        limits=limits,
        near=counts.near,
        choice=_choice(counts),
        groups=clips.groups,
        shown=Shown(counts.top, counts.outliers),
    )


def _choice(counts: CountOptions) -> ExecutorChoice | None:
    """Return who decodes; nobody is asked for where this process does it by itself."""
    choice = ExecutorChoice(counts.executor, address=counts.ray_address)
    if choice.name != "local" and not counts.near:
        raise ValueError(f"--executor {choice.name} goes with --near: nothing else needs many machines")
    return None if choice.name == "local" else choice
