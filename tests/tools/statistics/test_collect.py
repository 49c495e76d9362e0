"""Reports are those of the records: recounted row by row, in every split, by groups, together and side by side."""

from __future__ import annotations

import json
import math
import shutil
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from benchmarks.sides.generated_table import make_table, make_words, write_tables
from shards.expression import ExpressionError, parse
from shards.store import NotFoundError, open_store
from tools.statistics import tables
from tools.statistics.collect import StatsRequest, collect
from tools.statistics.partial import Limits
from tools.statistics.sections import Pace, Shown

SIZES = (50, 1, 120, 0, 7)


def table_of(seed, rows, first, *, score=True):
    words = make_words(np.random.default_rng(0), 60)
    table = make_table(np.random.default_rng(seed), rows, first, words)
    if score:
        values = pa.array([(first + row) % 11 / 10 for row in range(rows)], pa.float64())
        table = table.append_column("score", values)
        table = table.append_column(
            "split", pa.array(["train" if row % 5 else "val" for row in range(rows)], pa.string())
        )
    return table


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    firsts = np.cumsum([0, *SIZES]).tolist()
    write_tables(folder / "one", [table_of(seed, rows, firsts[seed]) for seed, rows in enumerate(SIZES)])
    write_tables(folder / "two", [table_of(99, 80, 5000, score=False)])
    return folder


def rows_of(*folders):
    return [
        row for each in folders for path in sorted(each.glob("*.parquet")) for row in pq.read_table(path).to_pylist()
    ]


def numbers_of(rows):
    return {
        "duration": [row["duration"] for row in rows],
        "num_frames": [row["num_frames"] for row in rows],
        "short_side": [min(row["width"], row["height"]) for row in rows],
        "bitrate": [row["bytes"] * 8 / row["duration"] for row in rows],
        "caption_words": [len(row["caption"].split()) for row in rows],
        "caption_chars": [len(row["caption"]) for row in rows],
        "clips_per_source": list(Counter(row["source"] for row in rows).values()),
    }


def require_equal(section, rows):
    assert section.clips == len(rows)
    assert section.seconds == math.fsum(row["duration"] for row in rows)
    assert section.frames == sum(row["num_frames"] for row in rows)
    assert section.bytes == sum(row["bytes"] for row in rows)
    for name, values in numbers_of(rows).items():
        facts, ordered = section.numbers[name], sorted(values)
        assert (facts.count, facts.min, facts.max) == (len(values), ordered[0], ordered[-1])
        assert facts.sum == math.fsum(values)
        for share, told in facts.quantiles.items():
            assert told == ordered[math.ceil(int(share[1:]) / 100 * len(values)) - 1], (name, share)
    for name in ("codec", "pix_fmt", "cut"):
        assert section.values[name].counts == Counter(row[name] for row in rows)
    assert section.decodable["nvdec"] == sum(row["decodable"]["nvdec"] for row in rows)
    for column, repeats in (
        ("caption", section.duplicates.captions),
        ("sha256", section.duplicates.payloads),
        ("source", section.duplicates.sources),
    ):
        counts = Counter(row[column] for row in rows)
        assert (repeats.distinct.value, repeats.copies.value) == (len(counts), len(rows) - len(counts))
        assert [one.count for one in repeats.largest] == sorted((c for c in counts.values() if c > 1), reverse=True)[
            :10
        ]
        for one in repeats.largest:
            assert counts[one.value] == one.count
            assert one.key == next(row["key"] for row in rows if row[column] == one.value)


def test_a_dataset_is_told_as_its_rows_are(folder):
    report = collect(StatsRequest((str(folder / "one"),)))
    rows = rows_of(folder / "one")
    require_equal(report.whole, rows)
    assert report.whole.numbers["score"].count == len(rows)
    assert report.whole.values["split"].counts == Counter(row["split"] for row in rows)
    assert report.whole.numbers["shard_clips"].max == 120
    assert [shard.clips for shard in report.shards] == list(SIZES)
    assert report.fates.status == {"success": len(rows)}
    words = Counter(word for row in rows for word in set(row["caption"].split()))
    assert {term.text: term.count.value for term in report.whole.captions.words} == dict(
        sorted(words.items(), key=lambda pair: (-pair[1], pair[0]))[:20]
    )
    json.dumps(report.to_json())


def test_small_batches_change_nothing(folder, monkeypatch):
    request = StatsRequest((str(folder / "one"),))
    whole = collect(request)
    monkeypatch.setattr(tables, "ROWS", 13)
    assert collect(request) == whole


@pytest.mark.parametrize("where", ["duration >= 8 and codec == 'vp9'", "caption_words > 10", "score > 0.5"])
def test_a_condition_chooses_clips(folder, where):
    report = collect(StatsRequest((str(folder / "one"),), where=where))
    expression = parse(where)
    rows = [
        row for row in rows_of(folder / "one") if expression.holds(row | {"caption_words": len(row["caption"].split())})
    ]
    assert 0 < len(rows) < sum(SIZES)
    require_equal(report.whole, rows)
    assert report.datasets[0].clips == sum(SIZES)
    assert "shard_clips" not in report.whole.numbers


@pytest.mark.parametrize("options", [{}, {"where": "duration > 5"}, {"by": "codec"}, {"where": "codec == 'none'"}])
def test_progress_is_of_the_rows_that_are_read(folder, options):
    heard = []
    collect(StatsRequest((str(folder / "one"),), **options), progress=lambda *told: heard.append(told))
    assert sum(rows for rows, _ in heard) == sum(SIZES)
    assert {total for _, total in heard} == {sum(SIZES)}


def test_a_condition_that_nothing_meets(folder):
    report = collect(StatsRequest((str(folder / "one"),), where="duration < 0", by="codec"))
    assert (report.whole.clips, report.whole.numbers, report.whole.outliers) == (0, {}, ())
    assert report.grouping is not None
    assert report.grouping.groups == ()


def test_several_datasets_together(folder):
    both = (folder / "one", folder / "two")
    report = collect(StatsRequest(tuple(map(str, both))))
    rows = rows_of(*both)
    require_equal(report.whole, rows)
    assert report.whole.numbers["score"].count == sum(SIZES)
    assert report.whole.numbers["score"].missing == 80
    assert report.whole.values["split"].missing == 80
    assert {shard.dataset for shard in report.shards} == {0, 1}
    for outlier in report.whole.outliers:
        row = next(row for row in rows if row["key"] == outlier.key)
        assert (outlier.dataset == 1) == (row["row"] >= 5000)


@pytest.mark.parametrize(("by", "most"), [("codec", 12), ("profile", 2), ("short_side >= 480", 12), ("rotation", 1)])
def test_groups_are_those_of_the_rows(folder, by, most):
    grouping = collect(StatsRequest((str(folder / "one"),), by=by, groups=most)).grouping
    rows = rows_of(folder / "one")

    def value(row):
        if by.startswith("short"):
            return str(min(row["width"], row["height"]) >= 480).lower()
        return "null" if row[by] is None else str(row[by])

    counts = Counter(map(value, rows))
    largest = sorted(counts, key=lambda name: (-counts[name], name))[:most]
    assert [group.name for group in grouping.groups] == largest
    assert grouping.distinct.value == len(counts)
    for group in grouping.groups:
        require_equal(group.section, [row for row in rows if value(row) == group.name])
    rest = [row for row in rows if value(row) not in largest]
    if rest:
        require_equal(grouping.other, rest)
    else:
        assert grouping.other is None


def test_two_datasets_side_by_side(folder):
    report = collect(StatsRequest((str(folder / "one"), str(folder / "two")), compare=True))
    comparison = report.comparison
    require_equal(comparison.left_section, rows_of(folder / "one"))
    require_equal(comparison.right_section, rows_of(folder / "two"))
    require_equal(report.whole, rows_of(folder / "one", folder / "two"))
    found = {drift.column: drift for drift in comparison.drifts}
    assert "score" not in found
    assert found["duration"].ks is not None
    left, right = ([row["duration"] for row in rows_of(folder / name)] for name in ("one", "two"))
    at = sorted({*left, *right})
    distance = max(abs(sum(v <= x for v in left) / len(left) - sum(v <= x for v in right) / len(right)) for x in at)
    assert found["duration"].ks == pytest.approx(distance)
    same = collect(StatsRequest((str(folder / "two"), str(folder / "two")), compare=True)).comparison
    assert max(drift.js for drift in same.drifts) == 0


def test_outliers_are_the_farthest_beyond_the_fences(folder):
    section = collect(StatsRequest((str(folder / "one"),), shown=Shown(outliers=20))).whole
    rows = rows_of(folder / "one")
    for name in ("duration", "bitrate", "num_frames"):
        fences = section.numbers[name].fences
        values = dict(zip((row["key"] for row in rows), numbers_of(rows)[name], strict=True))
        beyond = sorted((key for key in values if values[key] > fences.high), key=lambda key: -values[key])
        assert fences.above == len(beyond)
        found = [one for one in section.outliers if one.column == name and one.side == "high"]
        assert [one.key for one in found] == beyond[:20]
        assert [one.value for one in found] == [values[key] for key in beyond[:20]]


def test_costs_are_reckoned_from_clips_and_bytes(folder):
    section = collect(StatsRequest((str(folder / "two"),), pace=Pace(40, 0.1))).whole
    size = sum(row["bytes"] for row in rows_of(folder / "two"))
    assert (section.costs.seconds, section.costs.bytes) == (2.0, size)
    assert section.costs.price == pytest.approx(size / 1e9 * 0.1)
    assert section.costs.bytes_per_second == size / 2


def test_a_sample_of_the_captions_is_said_to_be_one(folder):
    limits = Limits(captions=30, distinct=40)
    whole = collect(StatsRequest((str(folder / "one"),), limits=limits), lengths=lambda texts: np.array([len(texts)]))
    facts = whole.whole.captions
    assert (facts.read, facts.captions) == (30, sum(SIZES))
    assert not facts.words[0].count.is_exact
    assert not whole.whole.duplicates.captions.distinct.is_exact
    assert whole.whole.numbers["caption_tokens"].max == 30


def test_a_bucket_gives_the_same(folder, object_store):
    url = object_store.make_bucket("statistics")
    for path in (folder / "one").rglob("*"):
        if path.is_file():
            open_store(url).put(str(path.relative_to(folder / "one")), path.read_bytes())
    here, there = collect(StatsRequest((str(folder / "one"),))), collect(StatsRequest((url,)))
    assert (here.whole, here.shards) == (there.whole, there.shards)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda table: table.drop_columns(["codec"]), "column 'codec' is absent, wanted is string"),
        (lambda table: table.slice(1), "it has 119 rows, the manifest says 120"),
        (
            lambda table: table.set_column(table.schema.get_field_index("fps"), "fps", pc.cast(table["fps"], "string")),
            "fps",
        ),
    ],
)
def test_a_table_that_does_not_fit_is_named(folder, tmp_path, change, said):
    out = shutil.copytree(folder / "one", tmp_path / "out")
    pq.write_table(change(pq.read_table(out / "00002.parquet")), out / "00002.parquet")
    with pytest.raises(ValueError, match=rf"00002\.parquet is damaged: .*{said}"):
        collect(StatsRequest((str(out),)))


def test_damaged_and_missing_files_are_named(folder, tmp_path):
    out = shutil.copytree(folder / "one", tmp_path / "out")
    data = bytearray((out / "00000.parquet").read_bytes())
    footer = int.from_bytes(data[-8:-4], "little") + 8
    data[4:-footer] = bytes(len(data) - footer - 4)
    (out / "00000.parquet").write_bytes(data)
    with pytest.raises(ValueError, match=r"00000\.parquet is damaged"):
        collect(StatsRequest((str(out),)))
    (out / "00000.parquet").unlink()
    with pytest.raises((ValueError, NotFoundError), match=r"00000\.parquet"):
        collect(StatsRequest((str(out),)))
    with pytest.raises(NotFoundError, match="is no dataset"):
        collect(StatsRequest((str(tmp_path),)))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"datasets": ()}, "no dataset"),
        ({"datasets": ("a",), "compare": True}, "takes two datasets, given are 1"),
        ({"datasets": ("a", "b"), "compare": True, "by": "codec"}, "at once"),
        ({"datasets": ("a",), "groups": 0}, "at least one"),
    ],
)
def test_what_makes_no_sense_is_refused(options, said):
    with pytest.raises(ValueError, match=said):
        StatsRequest(**options)
    for pace in ((0,), (math.nan,), (math.inf,), (1, -1), (1, math.nan), (1, math.inf)):
        with pytest.raises(ValueError, match="must be above 0"):
            Pace(*pace)


def test_questions_that_do_not_fit_are_refused(folder):
    with pytest.raises(ExpressionError, match="durations"):
        collect(StatsRequest((str(folder / "one"),), where="durations > 2"))
    with pytest.raises(ExpressionError, match="codecs"):
        collect(StatsRequest((str(folder / "one"),), by="codecs"))
    with pytest.raises(ExpressionError, match=rf"no column 'score' .*in {folder / 'two'};"):
        collect(StatsRequest((str(folder / "one"), str(folder / "two")), where="score > 0.5"))


@pytest.mark.parametrize("by", ["captions", "decodable", "members"])
def test_groups_are_of_single_values(folder, by):
    with pytest.raises(ValueError, match=f"'{by}' is .*, of which no groups are made"):
        collect(StatsRequest((str(folder / "one"),), by=by))


def test_too_many_groups_are_refused(folder, monkeypatch):
    monkeypatch.setattr("tools.statistics.tallies.MOST_VALUES", 100)
    with pytest.raises(ValueError, match="'key' has more than"):
        collect(StatsRequest((str(folder / "one"),), by="key"))
