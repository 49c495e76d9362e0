"""Statistics are those of the records, however many shards they lie in, on disk or in a bucket."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
import typer

from shards.manifest import open_manifest
from shards.reader import open_shard
from shards.store import NotFoundError, open_store
from tests.support.in_process import run_here, work_here
from tests.support.small_corpus import write_corpus
from tools.console import command
from tools.stats import collect_stats, run_stats


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stats")
    table = write_corpus(folder, extra=["videos/none.mp4,missing,,,1"])
    with pytest.MonkeyPatch.context() as patch:
        work_here(patch)
        run_here(table, folder / "out", shard_bytes=16_000)
    return folder / "out"


@pytest.fixture(scope="module")
def records(dataset):
    found = []
    for entry in open_manifest(dataset).shards:
        with open_shard(open_store(dataset), entry) as reader:
            found += [clip.record for clip in reader]
    return found


def test_spreads_are_those_of_the_records(dataset, records):
    stats = collect_stats(open_store(dataset))
    assert stats.shards > 2
    for name, values in {
        "duration": [record.media.duration for record in records],
        "num_frames": [record.media.num_frames for record in records],
        "bytes": [record.bytes for record in records],
        "caption_words": [len(record.caption.split()) for record in records],
    }.items():
        spread = stats.spreads[name]
        assert (spread.count, spread.min, spread.max) == (8, min(values), max(values))
        assert spread.mean == pytest.approx(np.mean(values))
        assert spread.p50 == pytest.approx(sorted(values)[3], rel=2e-3)


def test_counts_and_fates(dataset, records):
    stats = collect_stats(open_store(dataset))
    assert stats.totals.reasons == {"not_found": 1}
    assert stats.values["codec"] == {"mpeg4": 8}
    assert stats.values["cut"] == {cut: sum(r.cut == cut for r in records) for cut in {r.cut for r in records}}
    assert stats.values["has_audio"] == {"false": 8}
    assert stats.decodable == {"pyav": 8, "dali_cpu": 0, "nvdec": 8}


def test_a_bucket_gives_the_same(dataset, object_store):
    url = object_store.make_bucket("stats")
    for path in dataset.rglob("*"):
        if path.is_file():
            open_store(url).put(str(path.relative_to(dataset)), path.read_bytes())
    here, there = collect_stats(open_store(dataset)).to_json(), collect_stats(open_store(url)).to_json()
    assert here.pop("url") != there.pop("url")
    assert here == there


def test_output_for_a_person_and_for_a_program(dataset, capsys):
    assert run_stats(str(dataset)) == 0
    text = capsys.readouterr().out
    for said in ("9: 1 failed, 8 success", "not_found", "caption words", "mpeg4 8", "nvdec 8"):
        assert said in text
    assert run_stats(str(dataset), as_json=True) == 0
    assert json.loads(capsys.readouterr().out)["totals"]["clips"] == 8


def test_a_dataset_without_clips_has_statistics_too(tmp_path, capsys, monkeypatch):
    work_here(monkeypatch)
    (tmp_path / "t.csv").write_text("video,caption\nnone.mp4,x\n")
    run_here(tmp_path / "t.csv", tmp_path / "out")
    assert run_stats(str(tmp_path / "out")) == 0
    assert "1 failed" in capsys.readouterr().out


def test_what_is_no_dataset_or_damaged_is_named(dataset, tmp_path):
    with pytest.raises(NotFoundError, match="is no dataset"):
        collect_stats(open_store(tmp_path))
    for path in dataset.rglob("*"):
        if path.is_file():
            target = tmp_path / path.relative_to(dataset)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(b"broken" if path.name == "00001.parquet" else path.read_bytes())
    with pytest.raises(ValueError, match=r"00001.parquet is damaged"):
        collect_stats(open_store(tmp_path))


def without_codec(table):
    return table.drop_columns(["codec"])


def with_texts_for_numbers(table):
    return table.set_column(table.schema.get_field_index("fps"), "fps", table["fps"].cast("string"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without_codec, "column 'codec' is absent, wanted is string"),
        (with_texts_for_numbers, "column 'fps' is string, wanted is double"),
    ],
)
def test_a_table_without_our_columns_is_named(dataset, tmp_path, change, said):
    out = shutil.copytree(dataset, tmp_path / "out")
    pq.write_table(change(pq.read_table(out / "00001.parquet")), out / "00001.parquet")
    with pytest.raises(ValueError, match=rf"00001\.parquet is damaged: {said}"):
        collect_stats(open_store(out))


def test_pages_of_zeros_are_named_and_end_the_command_by_its_status(dataset, tmp_path, capsys):
    out = shutil.copytree(dataset, tmp_path / "out")
    data = bytearray((out / "00001.parquet").read_bytes())
    footer = int.from_bytes(data[-8:-4], "little") + 8
    data[4:-footer] = bytes(len(data) - footer - 4)
    (out / "00001.parquet").write_bytes(data)
    with pytest.raises(typer.Exit) as caught:
        command(run_stats)(str(out))
    assert caught.value.exit_code == 2
    assert "00001.parquet is damaged" in capsys.readouterr().err
