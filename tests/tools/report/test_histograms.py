"""What the chart draws from, and the small pictures beside it."""

from __future__ import annotations

import json
import math
from dataclasses import replace

from tests.support.invented_report import number_facts, report, section
from tools.report.histograms import MOST_COLUMNS, NUMBER_HEADS, chart_data, number_rows, outline, thumbnails
from tools.statistics.model import Histogram


def test_an_outline_is_as_high_as_its_tallest_bar():
    path = outline(Histogram((0, 1, 2, 3, 4), (1, 4, 0, 2), log=False))
    assert path == "M0 36H0V27H30V0H60V36H90V18H120V36Z"
    assert outline(Histogram((0, 1), (0,), log=False)) == ""


def test_few_rows_stay_visible_beside_many():
    assert "V35H60" in outline(Histogram((0, 1, 2), (1, 1_000_000), log=False))


def test_the_chart_has_a_series_for_each_way_to_split_the_clips():
    chart = chart_data(report())
    assert chart["splits"] == {"whole": "all clips", "groups": "by category", "sides": "left and right"}
    duration = chart["columns"][0]
    assert [series["name"] for series in duration["series"]["groups"]] == [
        "sports",
        "cooking",
        "music",
        "nature",
        "all others",
    ]
    assert [series["count"] for series in duration["series"]["sides"]] == [8_000, 12_000]
    counted = {column["name"]: column["counted"] for column in chart["columns"]}
    assert [counted[name] for name in ("fps", "clips_per_source", "shard_bytes")] == ["clips", "sources", "shards"]
    json.dumps(chart, allow_nan=False)


def test_both_scales_are_in_the_chart_where_both_were_counted():
    facts = number_facts([1.0, 10.0, 100.0], "s", log=True)
    whole = replace(section(50), numbers={"duration": facts, "fps": number_facts([25.0, 30.0])})
    duration, fps = chart_data(report(whole=whole, grouped=False, compared=False))["columns"]
    (series,) = duration["series"]["whole"]
    assert sum(series["log"]["counts"]) == sum(series["linear"]["counts"]) == 3
    assert duration["scale"] == "log"
    assert "log" not in fps["series"]["whole"][0]


def test_a_group_without_the_column_has_no_series_of_it():
    made = report(compared=False)
    groups = tuple(replace(group, section=replace(group.section, numbers={})) for group in made.grouping.groups[1:])
    grouping = replace(made.grouping, groups=(made.grouping.groups[0], *groups), other=None)
    duration = chart_data(replace(made, grouping=grouping))["columns"][0]
    assert [series["name"] for series in duration["series"]["groups"]] == ["sports"]


def test_columns_without_a_value_and_columns_beyond_reason_are_left_out():
    facts = number_facts([1.0, 2.0])
    many = {f"column_{number}": facts for number in range(100)} | {"empty": replace(facts, count=0)}
    assert len(thumbnails(many)) == MOST_COLUMNS
    assert [thumb.column for thumb in thumbnails({"a": facts, "empty": many["empty"]})] == ["a"]


def test_a_thumbnail_tells_least_median_and_greatest_in_one_unit():
    (thumb,) = thumbnails({"bytes": number_facts([1 << 19, 1 << 20, 3 << 20], "bytes")})
    assert (thumb.label, thumb.low, thumb.median, thumb.high) == ("size", "0.500", "1 MiB", "3 MiB")


def test_a_row_of_the_table_has_a_cell_for_each_head():
    (row,) = number_rows({"duration": replace(number_facts([1.0, 2.0, 4.0], "s"), missing=2)})
    cells = dict(zip(NUMBER_HEADS, row.cells, strict=True))
    assert row.label == "duration (s)"
    assert (cells["count"], cells["missing"], cells["median"], cells["greatest"]) == ("3", "2", "2", "4")


def test_numbers_without_end_do_not_break_the_chart():
    facts = replace(number_facts([1.0, 2.0]), mean=math.inf, std=math.nan)
    chart = chart_data(report(whole=replace(section(50), numbers={"odd": facts}), grouped=False, compared=False))
    assert chart["columns"][0]["series"]["whole"][0]["mean"] is None
    json.dumps(chart, allow_nan=False)
