"""Packed tables: what their cells say, in the page and to the script, and which rows stay where there are too many."""

from __future__ import annotations

from dataclasses import replace

from tests.support.invented_report import report, shard_facts
from tools.report.tables import FIRST_ROWS, MOST_OUTLIERS, outlier_table, shard_table


def columns_of(table):
    return {column.label: column for column in table.columns}


def test_shards_have_a_row_each_with_what_went_wrong():
    table = shard_table(report(shards=30, grouped=False, compared=False))
    columns = columns_of(table)
    assert (table.shown, table.total) == (30, 30)
    assert columns["shard"].cells[7] == "00007"
    assert (columns["failed"].cells[7], columns["most frequent reason"].cells[7]) == (5, "not found (5)")
    assert len(table.first_rows()) == FIRST_ROWS
    assert table.first_rows()[1] == ["00001", "337", "54.5 min", "90,990", "267 MiB", "337", "–", "–", "–", ""]  # noqa: RUF001 - a dash


def test_a_dataset_without_troubles_has_no_columns_of_them():
    clean = tuple(shard_facts(number) for number in (1, 2, 3))
    assert "failed" not in columns_of(shard_table(replace(report(grouped=False, compared=False), shards=clean)))


def test_of_too_many_shards_those_that_failed_stay():
    made = report(shards=70, grouped=False, compared=False)
    table = shard_table(made, 12)
    stems = columns_of(table)["shard"].cells
    assert (table.shown, table.total) == (12, 70)
    assert {f"{number:05d}" for number in range(0, 70, 7)} <= set(stems)
    assert list(stems) == sorted(stems)


def test_shards_of_several_datasets_name_theirs():
    made = report(grouped=False, compared=False)
    two = (made.datasets[0], replace(made.datasets[0], url="/data/other"))
    shards = (shard_facts(1), replace(shard_facts(1), dataset=1))
    columns = columns_of(shard_table(replace(made, datasets=two, shards=shards)))
    assert list(columns["dataset"].cells) == ["s3://corpora/webvid-2026", "/data/other"]


def test_outliers_are_spelt_in_their_unit_and_sorted_by_their_value():
    made = report(grouped=False, compared=False)
    outliers = tuple(replace(made.whole.outliers[0], value=value) for value in (59.5, 7200.0))
    table = outlier_table(replace(made, whole=replace(made.whole, outliers=outliers)))
    value = columns_of(table)["value"]
    assert (list(value.cells), list(value.texts)) == ([59.5, 7200.0], ["59.5 s", "120 min"])
    assert columns_of(table)["half of the clips have"].cells[0].endswith(" s")
    assert table.to_json()["columns"][1]["texts"] == ["59.5 s", "120 min"]


def test_outliers_beyond_the_page_are_counted():
    made = report(grouped=False, compared=False)
    many = made.whole.outliers * 20
    table = outlier_table(replace(made, whole=replace(made.whole, outliers=many)))
    assert (table.shown, table.total) == (MOST_OUTLIERS, len(many))
    what = list(columns_of(table)["what"].cells)
    assert what.count("duration") == what.count("caption words") == MOST_OUTLIERS // 2
