"""Input rows: every fault named, several captions and segments, the same rows from every format."""

from __future__ import annotations

import json
import random

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from shards.ledger import Reason
from tools.corpus.ingest import Columns, digest_table, read_rows, scan_table
from tools.corpus.tables import Fault


def table(tmp_path, text, name="t.csv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def read(path, columns=None, **more):
    columns = columns or Columns()
    return list(read_rows(path, columns, scan_table(path, columns).extra, **more))


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        (",a dog,,", Reason.NO_VIDEO),
        ("  ,a dog,,", Reason.NO_VIDEO),
        ("a.mp4,,,", Reason.NO_CAPTION),
        ("a.mp4,   ,,", Reason.NO_CAPTION),
        ("a.mp4,a dog,two,4", Reason.BAD_TIME),
        ("a.mp4,a dog,-2,2", Reason.BAD_TIME),
        ("a.mp4,a dog,1,two", Reason.BAD_TIME),
        ("a.mp4,a dog,5,2", Reason.BAD_SEGMENT),
        ("a.mp4,a dog,3,3", Reason.BAD_SEGMENT),
        ("a.mp4,a dog,,0", Reason.BAD_SEGMENT),
        ("a.mp4,a dog", Reason.BAD_ROW),
        ("a.mp4,a dog,1,2,3", Reason.BAD_ROW),
    ],
)
def test_a_bad_row_keeps_its_place_and_says_why(tmp_path, cells, reason):
    first, second = read(table(tmp_path, f"video,caption,start,end\n{cells}\nb.mp4,a cat,1,2\n"))
    assert first.row == 0
    assert first.problem.reason is reason
    assert first.problem.message
    assert (second.row, second.video, second.start, second.end, second.problem) == (1, "b.mp4", 1.0, 2.0, None)


def test_captions_come_through_untouched(tmp_path):
    caption = '  "Größe", naïve\n😀 '
    quoted = caption.replace('"', '""')
    assert read(table(tmp_path, f'video,caption\na.mp4,"{quoted}"\n'))[0].caption == caption


def test_columns_may_have_other_names_and_the_rest_is_kept(tmp_path):
    path = table(tmp_path, "id,clip,text,from,to,start,codec\n01,a.mp4,a dog,1,2,9,x\n02,b.mp4,a cat,,,8,\n")
    columns = Columns(video="clip", caption="text", start="from", end="to")
    assert scan_table(path, columns).extra == {"id": "string", "input_codec": "string", "input_start": "int64"}
    first, second = read(path, columns)
    assert (first.start, first.end) == (1.0, 2.0)
    assert first.extra == {"id": "01", "input_codec": "x", "input_start": 9}
    assert second.extra == {"id": "02", "input_codec": None, "input_start": 8}


def test_times_are_optional(tmp_path):
    row = read(table(tmp_path, "video,caption\na.mp4,a dog\n"))[0]
    assert (row.start, row.end, row.problem) == (None, None, None)


@pytest.mark.parametrize(
    ("text", "columns", "said"),
    [
        ("film,caption\na,b\n", Columns(), "no column 'video'; it has 'film', 'caption'.*--video-col"),
        ("video,text\na,b\n", Columns(), "no column 'caption'.*--caption-col"),
        ("video,caption\na,b\n", Columns(start="from"), "no column 'from'.*--start-col"),
        ("video,caption\n", Columns(), "holds no rows"),
        ("video,caption,codec,input_codec\na,b,c,d\n", Columns(), "stored as 'input_codec'"),
    ],
)
def test_an_unfit_table_is_refused(tmp_path, text, columns, said):
    with pytest.raises(ValueError, match=said):
        scan_table(table(tmp_path, text), columns)


def test_jsonl_columns_are_those_of_all_lines(tmp_path):
    lines = [
        {"video": "a", "caption": "b", "n": 1, "mixed": 1},
        {"caption": "d", "video": "c", "n": 1.5, "mixed": "x", "late": True, "nested": {"k": [1]}},
        {"caption": "no video"},
        {"video": 7, "caption": ["x"]},
        {"video": "e", "caption": {"x": 1}},
    ]
    path = table(tmp_path, "".join(json.dumps(line) + "\n" for line in lines), "t.jsonl")
    assert scan_table(path, Columns()).extra == {
        "late": "bool",
        "mixed": "string",
        "n": "double",
        "nested": "string",
    }
    rows = read(path)
    assert rows[0].extra == {"late": None, "mixed": "1", "n": 1.0, "nested": None}
    assert rows[1].extra == {"late": True, "mixed": "x", "n": 1.5, "nested": '{"k": [1]}'}
    assert rows[2].problem.reason is Reason.NO_VIDEO
    assert (rows[3].video, rows[3].caption, rows[3].problem) == ("7", "x", None)
    assert rows[4].problem == Fault(Reason.BAD_ROW, "column caption holds a dict, not a text")


def test_jsonl_without_the_column_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no column 'video'; it has 'film'"):
        scan_table(table(tmp_path, '{"film": "a"}\n', "t.jsonl"), Columns())


def test_limit_takes_the_first_rows(tmp_path):
    path = table(tmp_path, "video,caption,n\n" + "".join(f"{n}.mp4,a dog,{n}\n" for n in range(9)) + "x,y,word\n")
    assert scan_table(path, Columns(), limit=4).rows == 4
    assert scan_table(path, Columns(), limit=4).extra == {"n": "int64"}
    assert scan_table(path, Columns(), limit=100).rows == 10
    assert [row.row for row in read_rows(path, Columns(), {}, limit=4)] == [0, 1, 2, 3]


def test_rows_that_are_not_wanted_are_passed_over(tmp_path):
    path = table(tmp_path, "video,caption\n" + "".join(f"{n}.mp4,a dog\n" for n in range(10)))
    rows = read(path, wanted=lambda row: row // 3 != 1)
    assert [(row.row, row.video) for row in rows] == [(n, f"{n}.mp4") for n in (0, 1, 2, 6, 7, 8, 9)]


def test_digest_is_that_of_the_bytes(tmp_path):
    one, other = table(tmp_path, "a", "1.csv"), table(tmp_path, "b", "2.csv")
    assert digest_table(one) == "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"
    assert digest_table(one) != digest_table(other)
    with pytest.raises(ValueError, match=r"none.csv cannot be read"):
        digest_table(tmp_path / "none.csv")


def test_every_format_gives_the_same_rows(tmp_path):
    draw = random.Random(0)
    words = ["a", "dog", "é", '"', ",", "\n", "  ", "😀", "-"]
    rows = [
        {
            "video": f"{n}.mp4",
            "caption": "".join(draw.choices(words, k=draw.randrange(9))),
            "start": draw.choice([None, 0.5, 1.25]),
            "end": draw.choice([None, 0.25, 2.5]),
            "score": draw.choice([None, 0.5, 2.0]),
            "rank": draw.choice([None, 3, -4]),
            "ok": draw.choice([None, True, False]),
            "note": draw.choice([None, "x", "007"]),
        }
        for n in range(200)
    ]
    whole = pa.Table.from_pylist(rows)
    pq.write_table(whole, tmp_path / "t.parquet")
    pa.csv.write_csv(whole, tmp_path / "t.csv")
    table(tmp_path, "".join(json.dumps(row) + "\n" for row in rows), "t.jsonl")
    found = [read(tmp_path / f"t.{ending}") for ending in ("csv", "jsonl", "parquet")]
    assert found[0] == found[1] == found[2]
    assert {row.problem.reason for row in found[0] if row.problem} == {Reason.NO_CAPTION, Reason.BAD_SEGMENT}


@pytest.mark.corpus
def test_the_real_corpus_is_the_same_in_three_formats(corpus_dir):
    infos = [scan_table(corpus_dir / f"corpus.{ending}", Columns()) for ending in ("csv", "jsonl", "parquet")]
    assert infos[0] == infos[1] == infos[2]
    assert infos[0].rows == 117
    found = [read(corpus_dir / f"corpus.{ending}") for ending in ("csv", "jsonl", "parquet")]
    assert found[0] == found[1] == found[2]
    assert not any(row.problem for row in found[0])


@pytest.mark.corpus
def test_the_bad_rows_of_the_real_corpus(corpus_dir):
    rows = read(corpus_dir / "bad" / "bad.csv")
    assert len(rows) == 29
    assert {row.row: row.problem.reason for row in rows if row.problem} == {
        2: Reason.BAD_ENCODING,
        4: Reason.BAD_SEGMENT,
        7: Reason.BAD_SEGMENT,
        8: Reason.BAD_TIME,
        9: Reason.BAD_TIME,
        10: Reason.NO_CAPTION,
        11: Reason.NO_CAPTION,
        14: Reason.NO_VIDEO,
        15: Reason.BAD_ROW,
        16: Reason.BAD_ROW,
    }
    assert rows[12].caption.endswith('"quoted" word\nand a line break inside the field.')
    assert len(rows[13].caption.split()) == 4000
