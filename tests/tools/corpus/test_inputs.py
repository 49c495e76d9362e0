"""Inputs of every kind lent to a run: several tables, folders of videos and tars give rows as one table does."""

from __future__ import annotations

import csv
import gzip
import json
import random
import shutil
import tempfile
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from shards.layout import MANIFEST_NAME, PLAN_NAME
from shards.ledger import Reason, read_ledger
from shards.manifest import open_manifest
from shards.reader import open_shard
from shards.store import NotFoundError, open_store
from tests.support.foreign_tars import write_tar
from tests.support.in_process import hashes, run_here, work_here
from tests.support.small_corpus import write_corpus, write_video
from tools.corpus import inputs as lending
from tools.corpus.ingest import Columns
from tools.corpus.inputs import lend_inputs


@pytest.fixture(autouse=True)
def _no_other_processes(monkeypatch):
    work_here(monkeypatch)


@contextmanager
def lent(*specs, **columns):
    with lend_inputs([str(spec) for spec in specs], Columns(**columns)) as inputs:
        yield inputs


def rows(*specs, **columns):
    with lent(*specs, **columns) as inputs:
        return list(inputs.rows(inputs.scan().extra))


def write_formats(folder):
    """Write the same rows in every format, each as its libraries do."""
    draw = random.Random(1)
    told = [
        {
            "video": f"{n}.mp4",
            "caption": f'dog {n}, "é"\n',
            "start": draw.choice([None, 0.5]),
            "whole": float(n),
            "score": draw.choice([None, 0.25, 2.0]),
            "rank": draw.choice([None, 3, -4]),
            "digits": str(n),
            "name": f"00{n}",
            "ok": draw.choice([None, True, False]),
            "none": None,
        }
        for n in range(60)
    ]
    declared = {"whole": pa.float64(), "score": pa.float32(), "rank": pa.int32(), "none": pa.int64()}
    plain = pa.Table.from_pylist(told)
    table = plain.cast(pa.schema([field.with_type(declared.get(field.name, field.type)) for field in plain.schema]))
    pq.write_table(table, folder / "a.parquet", row_group_size=7)
    pa.csv.write_csv(table, folder / "a.csv")
    with (folder / "b.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, told[0].keys())
        writer.writeheader()
        writer.writerows(told)
    pa.csv.write_csv(table, folder / "a.tsv", pa.csv.WriteOptions(delimiter="\t"))
    (folder / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in told))
    (folder / "a.json").write_text(json.dumps(told, indent=1))
    for path in list(folder.iterdir()):
        (folder / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))


def test_every_format_zipped_or_not_gives_the_same_rows_and_kinds(tmp_path):
    write_formats(tmp_path)
    paths = sorted(tmp_path.iterdir())
    assert len(paths) == 12
    found = []
    for path in paths:
        with lent(path) as inputs:
            info = inputs.scan()
            found.append((info, list(inputs.rows(info.extra))))
            assert inputs.scan(limit=5) == found[0][0] or inputs.scan(limit=5).rows == 5
    assert [each == found[0] for each in found] == [True] * 12
    info, read = found[0]
    assert info.extra == {
        "digits": "int64", "name": "string", "none": "string", "ok": "bool", "rank": "int64", "score": "double",
        "whole": "int64",
    }  # fmt: skip
    assert (read[7].extra["whole"], read[7].extra["digits"], read[7].extra["name"]) == (7, 7, "007")
    limited = [scan_of(path, 1) for path in paths]
    assert all(each == limited[0] for each in limited)


def scan_of(path, limit):
    with lent(path) as inputs:
        return inputs.scan(limit=limit)


def test_several_files_are_one_table_whatever_their_formats(tmp_path):
    write_formats(tmp_path)
    table = pq.read_table(tmp_path / "a.parquet")
    parts = tmp_path / "parts"
    parts.mkdir()
    pq.write_table(table.slice(0, 25), parts / "1.parquet")
    pa.csv.write_csv(table.slice(25, 20), parts / "2.csv")
    (parts / "3.jsonl.gz").write_bytes(
        gzip.compress(b"".join((tmp_path / "a.jsonl").read_bytes().splitlines(keepends=True)[45:]))
    )
    whole = rows(tmp_path / "a.csv")
    assert rows(parts) == rows(f"{parts}/*") == rows(*sorted(parts.iterdir())) == whole
    with lent(parts) as inputs, lent(f"{parts}/*") as same, lent(parts / "1.parquet") as part:
        assert inputs.digest == same.digest != part.digest
        assert inputs.scan(limit=30).rows == 30
        assert [row.row for row in inputs.rows({}, limit=50, wanted=lambda row: row > 44)] == [45, 46, 47, 48, 49]


def test_a_list_of_names_needs_no_captions(tmp_path):
    (tmp_path / "t.txt").write_text("a.mp4\n\nb c.mp4\n")
    assert [(row.video, row.caption, row.problem) for row in rows(tmp_path / "t.txt")] == [
        ("a.mp4", "", None),
        ("b c.mp4", "", None),
    ]
    (tmp_path / "t.txt").write_text("a.mp4\ta dog\nb.mp4\n")
    first, second = rows(tmp_path / "t.txt")
    assert (first.caption, second.problem.reason) == ("a dog", Reason.NO_CAPTION)


def test_copies_that_killed_runs_left_go_with_the_next_run_and_those_at_work_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    dead = tmp_path / "tmp" / "vidloom-shard-dead"
    dead.mkdir(parents=True)
    (dead / "table.csv").write_bytes(b"half")
    table = tmp_path / "table.csv.gz"
    table.write_bytes(gzip.compress(b"video,caption\n1.mp4,one\n"))
    with lent(table) as first:
        assert not dead.exists()
        with lent(table):
            assert len(list((tmp_path / "tmp").iterdir())) == 2
        assert [row.caption for row in first.rows({})] == ["one"], "a run that lives keeps its copies"
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_zipped_table_that_would_fill_the_disk_is_refused(tmp_path, monkeypatch):
    write_formats(tmp_path)
    monkeypatch.setattr(lending.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 1 << 20))
    with (
        pytest.raises(ValueError, match=r"input a\.parquet\.gz does not fit .* unzipped; set TMPDIR"),
        lent(tmp_path / "a.parquet.gz"),
    ):
        pass


def test_a_remote_table_is_copied_for_the_run_only(tmp_path, object_store):
    bucket = object_store.make_bucket("lent")
    table = write_corpus(tmp_path, videos=1)
    open_store(bucket).put("lists/corpus.csv", table.read_bytes())
    open_store(bucket).put("lists/more.csv", table.read_bytes())
    with lent(f"{bucket}/lists/*.csv") as inputs:
        copies = [file.path for file in inputs.files]
        assert [row.video for row in inputs.rows({})] == ["videos/0.mp4"] * 4
        assert all(copy.exists() for copy in copies)
    assert not any(copy.exists() for copy in copies)
    with lent(table) as here, lent(f"{bucket}/lists/corpus.csv") as there:
        assert (here.name, here.digest) == (there.name, there.digest)
    with pytest.raises(NotFoundError, match=r"none\.csv"), lent(f"{bucket}/none.csv"):
        pass


def clips_of(out):
    store = open_store(out)
    for entry in open_manifest(store).shards:
        with open_shard(store, entry) as reader:
            yield from reader


def test_a_folder_of_videos_becomes_a_dataset(tmp_path):
    folder = tmp_path / "in"
    for name in ("b.mp4", "a/x.mp4", "a/sub.mp4", "none.mp4"):
        write_video(folder / name, seed=len(name))
    (folder / "b.txt").write_text("a dog\n")
    (folder / "a/x.json").write_text(
        json.dumps({"caption": ["one", "two"], "site": "s", "video": "mine", "codec": "c"})
    )
    (folder / "a/sub.en.vtt").write_text(
        "WEBVTT\n\n00:00.500 --> 00:01.000 align:left\n<c>hello</c>\nyou\n\n1\n00:01.000 --> 00:01.500\nthere\n"
    )
    (folder / "b.jpg").write_bytes(b"a thumbnail")
    out = tmp_path / "out"
    run_here(folder, out)
    assert open_manifest(open_store(out)).totals.status == {"failed": 1, "success": 4}
    clips = {clip.record.key: clip for clip in clips_of(out)}
    assert [(clip.record.source, clip.record.caption, clip.record.start) for clip in clips.values()] == [
        ("a/sub.mp4", "hello you", 0.5),
        ("a/sub.mp4", "there", 1.0),
        ("a/x.mp4", "one", None),
        ("b.mp4", "a dog", None),
    ]
    record = clips["000000001_00000"].record
    assert record.captions == ("one", "two")
    assert record.extra == {"input_codec": "c", "input_video": "mine", "site": "s"}
    assert [row.reason for row in read_ledger(open_store(out), "00000")][-1] is Reason.NO_CAPTION


def test_tars_become_a_dataset_and_a_damaged_one_is_named(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    video = write_video(tmp_path / "v.mp4").read_bytes()
    first = {"000/1.mp4": video, "000/1.txt": b"a dog", "000/1.json": b'{"url": "u", "start": 7, "n": 1.0}'}
    first |= {"2.json": b'{"caption": "a cat", "n": 2}', "2.mp4": video, "3.txt": b"no video"}
    first |= {"4.mp4": video, "4.txt": b"\xff"}
    write_tar(folder / "00000.tar", first)
    whole = write_tar(
        folder / "00001.tar", {"5.txt": b"whole", "5.mp4": video, "6.txt": b"cut", "6.mp4": video}
    ).read_bytes()
    (folder / "00001.tar").write_bytes(whole[: whole.rindex(b"6.mp4") + 2000])
    out = tmp_path / "out"
    run_here(folder, out)
    ledger = read_ledger(open_store(out), "00000")
    assert [(row.row, row.status, row.reason) for row in ledger] == [
        (0, "success", None), (1, "success", None), (2, "failed", Reason.NO_VIDEO), (3, "failed", Reason.BAD_ENCODING),
        (4, "success", None), (5, "failed", Reason.NO_VIDEO), (6, "failed", Reason.DAMAGED),
    ]  # fmt: skip
    assert "tar 00001.tar is damaged at byte" in ledger[6].message
    clips = list(clips_of(out))
    assert [(clip.caption, clip.payload == video) for clip in clips] == [
        ("a dog", True),
        ("a cat", True),
        ("whole", True),
    ]
    assert clips[0].record.extra == {"input_start": 7, "n": 1, "sample_key": "000/1", "url": "u"}
    assert clips[0].record.start is None
    assert clips[0].record.source.startswith("00000.tar#000/1.mp4@")
    assert open_manifest(open_store(out)).totals.rows == 7


def test_our_own_shards_can_be_made_anew(tmp_path):
    """A dataset is tars, too; its clips are not cut again by the times that they were cut by."""
    table = write_corpus(tmp_path, videos=2)
    run_here(table, tmp_path / "one")
    run_here(tmp_path / "one", tmp_path / "two")
    one, two = list(clips_of(tmp_path / "one")), list(clips_of(tmp_path / "two"))
    assert [(clip.caption, clip.record.sha256) for clip in one] == [(clip.caption, clip.record.sha256) for clip in two]
    assert [clip.record.extra["input_start"] for clip in two] == [None, 0.5, None, 0.5]


@pytest.mark.parametrize("name", ["webvid", "no-such"])
def test_formats_of_tables_are_refused_for_folders(tmp_path, name):
    write_video(tmp_path / "a.mp4")
    with pytest.raises(ValueError, match=f"--format {name} is"), lent(tmp_path, format=name):
        pass


def test_tars_in_a_bucket_are_read_in_place(tmp_path, object_store):
    bucket = object_store.make_bucket("tars")
    video = write_video(tmp_path / "v.mp4").read_bytes()
    open_store(bucket).put("in/0.tar", write_tar(tmp_path / "0.tar", {"1.mp4": video, "1.txt": b"a dog"}).read_bytes())
    run_here(f"{bucket}/in", tmp_path / "there")
    run_here(tmp_path / "0.tar", tmp_path / "here")
    assert (tmp_path / "there/00000.tar").read_bytes() == (tmp_path / "here/00000.tar").read_bytes()
    assert [clip.payload for clip in clips_of(tmp_path / "there")] == [video]


def spoiled(data, draw):
    """Return the bytes with some of them changed, cut out, doubled or added."""
    found = bytearray(data)
    for _ in range(draw.choice([1, 1, 2, 5])):
        at = draw.randrange(len(found) + 1)
        stop = min(len(found), at + draw.choice([1, 8, 100]))
        match draw.randrange(5):
            case 0:
                found[at:stop] = draw.randbytes(stop - at)
            case 1:
                del found[at:stop]
            case 2:
                found[at:at] = found[at:stop] * draw.choice([1, 50])
            case 3:
                found[at:at] = draw.choice(
                    [b'"', b"[", b"{", b",", b"\n", b"\0", b"\xff", b"[[" * 300, b"9" * 400, b"\\ud800"]
                )
            case _:
                del found[at:]
    return bytes(found)


def test_spoiled_inputs_are_refused_in_one_line_or_row_by_row(tmp_path):
    write_formats(tmp_path)
    write_tar(tmp_path / "a.tar", {f"{n}.{ext}": b'{"n": 1}' for n in range(9) for ext in ("mp4", "txt", "json")})
    draw = random.Random(7)
    whole = {path.name: path.read_bytes() for path in sorted(tmp_path.iterdir())}
    for name, data in (pair for pair in whole.items() for _ in range(12)):
        zipped = name.endswith(".gz") and draw.random() < 0.7
        (tmp_path / name).write_bytes(
            gzip.compress(spoiled(gzip.decompress(data), draw)) if zipped else spoiled(data, draw)
        )
        refused, found = "", []
        try:
            with lent(tmp_path / name) as inputs:
                info = inputs.scan()
                found = list(inputs.rows(info.extra))
        except ValueError as error:
            refused = str(error)
        assert ("\n" not in refused and len(refused) < 3000) if refused else len(found) == info.rows
        assert [row.row for row in found] == list(range(len(found)))
        for row in found:
            assert row.problem is not None or (row.video + "".join(row.captions) + row.caption).encode("utf-8")


def test_every_format_gives_the_same_shards_byte_for_byte(tmp_path):
    table = write_corpus(tmp_path / "in", videos=2)
    told = pa.csv.read_csv(table)
    folder = tmp_path / "in"
    pq.write_table(told.set_column(4, "number", told["number"].cast(pa.float64())), folder / "b.parquet")
    (folder / "c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in told.to_pylist()))
    pa.csv.write_csv(told, folder / "d.tsv", pa.csv.WriteOptions(delimiter="\t"))
    (folder / "e.parquet.gz").write_bytes(gzip.compress((folder / "b.parquet").read_bytes()))
    found = []
    for name in ("corpus.csv", "b.parquet", "c.jsonl", "d.tsv", "e.parquet.gz"):
        run_here(folder / name, tmp_path / name, shard_bytes=20_000)
        files = hashes(tmp_path / name)
        assert len(files) > 10
        found.append({key: value for key, value in files.items() if key not in {PLAN_NAME, MANIFEST_NAME}})
    assert all(files == found[0] for files in found)


def test_half_a_character_in_a_side_file_costs_its_row_alone(tmp_path):
    """Titles that were cut off within an emoji are found in the wild."""
    for name in ("a", "b"):
        (tmp_path / f"{name}.mp4").write_bytes(b"")
        (tmp_path / f"{name}.json").write_text(json.dumps({"caption": "a dog \U0001f600"}))
    (tmp_path / "a.json").write_text('{"caption": "a dog \\ud83d"}')
    first, second = rows(tmp_path)
    assert (first.video, first.problem.reason) == ("a.mp4", Reason.BAD_ENCODING)
    assert (second.video, second.caption, second.problem) == ("b.mp4", "a dog \U0001f600", None)


def test_columns_that_earlier_runs_renamed_are_kept_beside_those_whose_names_they_had(tmp_path):
    """Output of ours is an input again: its records have a key, and the key that the input before had."""
    told = {"caption": "x", "key": "1", "input_key": "2", "input_input_key": "3", "video": "4", "input_video": "5"}
    (tmp_path / "a.mp4").write_bytes(b"")
    (tmp_path / "a.json").write_text(json.dumps(told | {"input_score": 6}))
    (row,) = rows(tmp_path)
    again = {"input_key": 1, "input_input_key": 2, "input_input_input_key": 3}
    assert row.extra == again | {"input_video": 4, "input_input_video": 5, "input_score": 6}


def test_tars_of_ours_keep_several_captions_and_the_key_of_the_sample_before(tmp_path):
    told = {"caption": "one", "captions": ["one", "two"], "sample_key": "a"}
    other = {"caption": "one", "captions": ["another"]}
    members = {"7.mp4": b"", "7.txt": b"one", "7.json": json.dumps(told).encode()}
    write_tar(tmp_path / "t.tar", members | {"8.mp4": b"", "8.txt": b"one", "8.json": json.dumps(other).encode()})
    first, second = rows(tmp_path / "t.tar")
    assert (first.caption, first.captions) == ("one", ("one", "two"))
    assert first.extra == {"input_captions": None, "input_sample_key": "a", "sample_key": 7}
    assert (second.captions, second.extra["input_captions"]) == ((), '["another"]')
