"""The report as one page, with some of the clips that it is about."""

from __future__ import annotations

from collections.abc import Callable

from shards.dataset import open_dataset
from shards.expression import parse
from tools.corpus.events import spell_count
from tools.report.page import write_report
from tools.report.samples import draw_samples
from tools.statistics.collect import StatsRequest
from tools.statistics.model import Report


def page_writer(dest: str, *, samples: int, seed: int) -> Callable[[Report, StatsRequest], str]:
    """Return what writes a report as a page, and says so in a line.

    Args:
        dest: Path or ``s3://`` URL of the file.
        samples: Clips that are shown.
        seed: What they are drawn from.
    """

    def write(report: Report, request: StatsRequest) -> str:
        stores = [open_dataset(dataset).store for dataset in request.datasets]
        where = None if request.where is None else parse(request.where)
        drawn = draw_samples(stores, samples, seed=seed, where=where)
        write_report(report, dest, samples=drawn)
        return f"report written to {dest}, with {spell_count(len(drawn), 'clip')}"

    return write
