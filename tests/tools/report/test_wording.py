"""Sentences: what was read, how many groups there are, what is exact."""

from __future__ import annotations

from dataclasses import replace

from tests.support.invented_report import report, section
from tools.report.wording import caption_lead, group_lead, method_notes, still_note
from tools.statistics.model import CaptionFacts, Estimate


def test_captions_that_were_not_all_read_are_said_to_be_scaled():
    some = CaptionFacts(1000, 3, 250, (), (), ())
    assert "250 of 1,000 captions (25.0 %) were read, and the counts scaled up" in caption_lead(some)
    assert (
        caption_lead(replace(some, read=1000))
        == "Words by how many captions have them; all 1,000 were read. 3 have no word."
    )
    assert caption_lead(replace(some, captions=0)) == "No clip has a caption."


def test_groups_are_counted_and_those_that_the_chart_leaves_out_told():
    grouping = report(compared=False).grouping
    assert group_lead(grouping) == "31 different values of category; the 4 largest, and all others together."
    many = replace(grouping, groups=grouping.groups * 3, distinct=Estimate(12), other=None)
    assert group_lead(many) == "12 different values of category. The chart of distributions overlays the first 8."


def test_columns_that_stayed_are_counted():
    comparison = report(grouped=False).comparison
    assert still_note(comparison) == ""
    still = tuple(replace(drift, psi=0.001) for drift in comparison.drifts[1:])
    assert still_note(replace(comparison, drifts=still[:1])) == "1 other column has a stability index below 0.005."
    assert still_note(replace(comparison, drifts=comparison.drifts + still)).startswith("3 other columns have")


def test_quantiles_are_called_exact_only_where_all_are():
    made = report(where="fps > 10")
    assert "quantiles are within 0.1 %" in method_notes(made)[0]
    exact = {name: replace(facts, error=0.0) for name, facts in section(50).numbers.items()}
    assert "sums, quantiles, least" in method_notes(replace(made, whole=replace(made.whole, numbers=exact)))[0]
    assert any("condition" in note for note in method_notes(made))
    assert not any("condition" in note for note in method_notes(replace(made, where=None)))
