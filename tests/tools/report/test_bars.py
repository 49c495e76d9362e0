"""Bars: their widths and shares, what is left out, and which fate has which tone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shards.ledger import Reason
from tests.support.invented_report import report, section
from tools.report.bars import MOST_BARS, MOST_TERMS, fate_bars, paired_lists, reason_list, term_lists, value_lists
from tools.statistics.model import CaptionFacts, Estimate, Fates, Term, ValueFacts


def lists_of(**values):
    return value_lists(replace(section(100), values=values, decodable={}))


def test_bars_are_as_wide_as_their_counts():
    (codec,) = lists_of(codec=ValueFacts({"h264": 60, "vp9": 30}, other=10, missing=0, distinct=Estimate(4)))
    assert [(bar.label, bar.amount, bar.share, bar.width) for bar in codec.bars] == [
        ("h264", "60", "60.0 %", 100.0),
        ("vp9", "30", "30.0 %", 50.0),
        ("all others", "10", "10.0 %", 0.0),
    ]
    assert codec.note == "4 different values"


def test_of_many_values_the_most_frequent_are_shown_and_the_rest_counted():
    counts = {f"v{number}": 100 - number for number in range(20)}
    (found,) = lists_of(category=ValueFacts(counts, other=5, missing=3, distinct=Estimate(31, 2)))
    assert len(found.bars) == MOST_BARS + 1
    assert found.bars[-1].amount == f"{5 + sum(list(counts.values())[MOST_BARS:]):,}"
    assert found.note == "31 ± 2 different values; 3 clips have none"


def test_values_that_were_not_counted_are_said_to_be_many():
    (found,) = lists_of(title=ValueFacts({}, other=100, missing=0, distinct=Estimate(4_096, 904)))
    assert not found.bars
    assert found.note == "more than 4,096 different values: too many to count each"


def test_truth_reads_as_yes_and_no_and_an_empty_text_as_such():
    audio, category = lists_of(
        has_audio=ValueFacts({"true": 3, "false": 1}, 0, 0, Estimate(2)),
        category=ValueFacts({"": 4}, 0, 0, Estimate(1)),
    )
    assert [bar.label for bar in audio.bars] == ["yes", "no"]
    assert [bar.label for bar in category.bars] == ["(empty)"]


def test_decoders_count_clips_not_one_another():
    decoders = value_lists(replace(section(200), values={}, decodable={"pyav": 200, "nvdec": 50}))[-1]
    assert [(bar.share, bar.width) for bar in decoders.bars] == [("100 %", 100.0), ("25.0 %", 25.0)]


def test_terms_tell_their_margin():
    words = tuple(Term(f"w{number}", Estimate(100 - number, number)) for number in range(40))
    (found,) = term_lists(CaptionFacts(100, 0, 50, words, (), ()))
    assert len(found.bars) == MOST_TERMS
    assert [bar.amount for bar in found.bars[:2]] == ["100", "99 ± 1"]


def test_fates_stand_in_one_order_each_in_its_tone():
    bars = fate_bars(Fates(10, {"duplicate": 1, "failed": 2, "success": 7}, {}))
    assert [(bar.label, bar.tone, bar.share) for bar in bars] == [
        ("success", "good", "70.0 %"),
        ("failed", "bad", "20.0 %"),
        ("duplicate", "other", "10.0 %"),
    ]


@pytest.mark.parametrize(
    ("reason", "tone"), [(Reason.NEAR_DUPLICATE, "other"), (Reason.TOO_SHORT, "warn"), (Reason.NOT_FOUND, "bad")]
)
def test_reasons_have_the_tone_of_their_fate(reason, tone):
    (bar,) = reason_list(Fates(1, {"failed": 1}, {reason.value: 1})).bars
    assert (bar.label, bar.tone) == (reason.value.replace("_", " "), tone)


def test_both_sides_of_a_comparison_are_shares_of_their_own_clips():
    comparison = report().comparison
    left = replace(comparison.left_section, values={"codec": ValueFacts({"h264": 3, "vp9": 1}, 0, 0, Estimate(2))})
    right = replace(comparison.right_section, values={"codec": ValueFacts({"av1": 5, "h264": 5}, 0, 0, Estimate(2))})
    (codec,) = paired_lists(replace(comparison, left_section=left, right_section=right), 3)
    assert [(bar.label, bar.left, bar.right) for bar in codec.bars] == [
        ("h264", "75.0 %", "50.0 %"),
        ("av1", "0 %", "50.0 %"),
        ("vp9", "25.0 %", "0 %"),
    ]
    assert codec.bars[0].left_width == 100
    assert codec.bars[1].right_width == pytest.approx(200 / 3)
