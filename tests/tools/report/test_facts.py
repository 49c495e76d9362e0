"""Short facts of the page: cards, duplicates, groups, costs, drifts."""

from __future__ import annotations

from dataclasses import replace

from tests.support.invented_report import report, section
from tools.report.facts import (
    cost_cards,
    drift_rows,
    duplicate_facts,
    group_table,
    repeat_lists,
    side_table,
    summary_cards,
)
from tools.statistics.model import Costs, Drift, Estimate, Fates, NearFacts


def test_cards_tell_sums_and_what_they_come_to_a_clip():
    whole = replace(section(100), clips=100, seconds=7200.0, frames=180_000, bytes=90 << 20, decodable={"nvdec": 50})
    made = report(whole=whole, grouped=False, compared=False)
    cards = {card.label: card for card in summary_cards(made)}
    assert (cards["length"].value, cards["length"].detail) == ("2 h", "72 s a clip on average")
    assert cards["frames"].detail == "25 a second on average"
    assert (cards["size of clips"].value, cards["size of clips"].detail) == ("90 MiB", "105 kbit/s on average")
    assert cards["decodable by NVDEC"].value == "50.0 %"
    assert cards["input rows"].value == "955"


def test_an_empty_dataset_has_cards_too():
    nothing = replace(section(10), clips=0, seconds=0.0, frames=0, bytes=0, decodable={}, costs=None)
    made = report(whole=nothing, grouped=False, compared=False, shards=0, fates=Fates(0, {}, {}))
    cards = {card.label: card.value for card in summary_cards(made)}
    assert (cards["clips"], cards["length"], cards["shards"]) == ("0", "0 s", "0")
    assert "input rows" not in cards


def test_an_epoch_costs_time_and_where_asked_money():
    costs = Costs(500.0, 7200.0, 36 * 10**11, 5e8, 0.09, 324.0)
    cards = [(card.value, card.detail) for card in cost_cards(costs)]
    assert cards == [
        ("2 h", "at 500 clips a second"),
        ("3.27 TiB", "payloads of all clips, once"),
        ("477 MiB/s", "4 Gbit/s on the line"),
        ("$324.00", "at $0.09 a GB"),
    ]
    assert len(cost_cards(replace(costs, price=None, price_per_gb=None))) == 3


def test_duplicates_are_shares_of_the_clips_and_near_ones_of_those_compared():
    duplicates = section(1000).duplicates
    copies = replace(duplicates.captions, copies=Estimate(250, 10))
    near = NearFacts(compared=40, failed=0, copies=4, pairs=())
    told = duplicate_facts(replace(duplicates, captions=copies, near=near), 1000)
    values = {fact.name: fact.value for fact in told}
    assert values["clips with the same caption as an earlier one"] == "250 ± 10 (25.0 %)"
    assert values["near copies among 40 compared"] == "4 (10.0 %)"


def test_what_repeats_most_is_listed_with_its_first_clip():
    captions, payloads, _ = repeat_lists(section(1000).duplicates)
    assert (captions.rows[0].value, captions.rows[0].count) == ("aerial view of a city", "40")
    assert payloads.rows[0].key == "000000000_00000"


def test_groups_stand_side_by_side_with_the_rest():
    grouping = report(compared=False).grouping
    table = group_table(grouping)
    assert [row.head for row in table.rows] == ["sports", "cooking", "music", "nature", "all others"]
    assert table.heads == ("clips", "share", "length", "size", "median duration", "median frames", "median frame rate")
    assert table.rows[0].cells[:2] == ("7,000", "35.0 %")
    assert [len(row.cells) for row in table.rows] == [len(table.heads)] * 5


def test_sides_are_compared_in_multiples():
    comparison = report(grouped=False).comparison
    rows = {row.head: row.cells for row in side_table(comparison).rows}
    assert rows["clips"] == ("8,000", "12,000", "\N{MULTIPLICATION SIGN} 1.50")


def test_drifts_are_weighed_by_the_stability_index():
    comparison = report(grouped=False).comparison
    drifts = (
        Drift("duration", "number", 0.26, 0.3, 0.2, 9.0, 12.0),
        Drift("codec", "value", 0.11, 0.1),
        Drift("fps", "number", 0.1, 0.1, 0.0),
    )
    rows = drift_rows(replace(comparison, drifts=drifts))
    assert [(row.weight, row.charted) for row in rows] == [("much", True), ("some", False), ("little", True)]
    assert rows[0].means == "9 s → 12 s"
    assert (rows[1].ks, rows[1].means) == ("\N{EN DASH}", "")
    assert drift_rows(replace(comparison, drifts=(replace(drifts[0], psi=0.004),))) == []
    assert drift_rows(report().comparison)[-1].label == "words of captions"
    assert max(row.width for row in drift_rows(replace(comparison, drifts=(replace(drifts[0], psi=9.0),)))) == 100
