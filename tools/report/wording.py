"""Sentences of the page: what its captions, groups and methods are, and what is exact in it."""

from __future__ import annotations

from tools.report.bars import moved, spell_estimate
from tools.report.histograms import MOST_SERIES
from tools.report.spelling import spell_count, spell_label, spell_share
from tools.statistics.model import CaptionFacts, Comparison, Grouping, Report


def caption_lead(captions: CaptionFacts) -> str:
    """Return what was read for the most frequent words."""
    if not captions.captions:
        return "No clip has a caption."
    empty = f" {spell_count(captions.empty)} have no word." if captions.empty else ""
    if captions.read >= captions.captions:
        return f"Words by how many captions have them; all {spell_count(captions.captions)} were read.{empty}"
    read = f"{spell_count(captions.read)} of {spell_count(captions.captions)} captions"
    share = spell_share(captions.read, captions.captions)
    return (
        f"Words by how many captions have them; {read} ({share}) were read, and the counts scaled up:"
        f" ± is half of a 95 % interval.{empty}"
    )


def group_lead(grouping: Grouping) -> str:
    """Return how many groups there are, and where else they are shown."""
    label, shown = spell_label(grouping.column), len(grouping.groups)
    groups = f"{spell_estimate(grouping.distinct)} different values of {label}"
    largest = f"; the {spell_count(shown)} largest, and all others together" if grouping.other is not None else ""
    chart = f" The chart of distributions overlays the first {MOST_SERIES}." if shown > MOST_SERIES else ""
    return f"{groups}{largest}.{chart}"


def still_note(comparison: Comparison) -> str:
    """Return how many columns have not moved."""
    still = len(comparison.drifts) - len(moved(comparison))
    columns = "column has" if still == 1 else "columns have"
    return f"{spell_count(still)} other {columns} a stability index below 0.005." if still else ""


def method_notes(report: Report) -> list[str]:
    """Return how the page's numbers were made, and how far they may be trusted."""
    whole = report.whole
    errors = [facts.error for facts in whole.numbers.values()]
    worst = max(errors, default=0.0)
    sums = "Counts, sums, least and greatest values are exact; quantiles are within"
    exact = "Counts, sums, quantiles, least and greatest values are exact."
    notes = [
        f"{sums} {100 * worst:g} % of a value of their rank." if worst else exact,
        "A count with ± comes from a sample, or from a sketch of bounded memory: ± is half of its 95 % interval.",
        "Sums of shards and the fate of rows are the manifest's and the ledger's; all else is in the Parquet files.",
    ]
    if report.where is not None:
        notes.append("The condition chooses clips; shards, files and the fate of rows are told of whole datasets.")
    if report.grouping is not None or report.comparison is not None:
        notes.append("Where several distributions share a chart, each is drawn as shares of its own clips.")
    notes.append("The state of a dataset is the hash of its manifest: the same state, the same clips.")
    notes.append("This file holds all that it shows. It asks no network for anything.")
    return notes
