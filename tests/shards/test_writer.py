"""A shard's bytes depend on its clips alone, every reader opens it, and publishing is whole or not at all."""

from __future__ import annotations

import hashlib
import io
import json
import math
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import webdataset
from nvidia.dali import fn, pipeline_def

from shards.index import parse_idx, scan_tar
from shards.layout import make_key
from shards.ledger import LedgerRow, Reason, read_ledger
from shards.manifest import FileEntry, finished_entry
from shards.reader import open_shard
from shards.record import Record
from shards.store import open_store
from shards.writer import ShardWriter, publish
from tests.support.datasets import build_dataset, fake_clip, fake_record, write_shard
from tests.support.killed_publisher import CLIPS, publish_shard, published

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("writer")
    build_dataset(open_store(folder / "set"), folder / "scratch", counts=[4, 0])
    return folder / "set"


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # webdataset leaves the file to the garbage collector
def test_webdataset_reads_every_sample(dataset):
    url = str(dataset / "00000.tar")
    samples = list(webdataset.WebDataset(url, shardshuffle=False))
    assert [sample["__key__"] for sample in samples] == [make_key(row, 0) for row in range(4)]
    for row, sample in enumerate(samples):
        clip = fake_clip(row)
        assert sample["mp4"] == clip.payload
        assert sample["txt"].decode() == clip.record.caption
        assert json.loads(sample["json"])["sha256"] == hashlib.sha256(clip.payload).hexdigest()


def test_the_tar_is_the_one_that_webdataset_would_write(dataset):
    samples: dict[str, dict[str, object]] = {}
    with tarfile.open(dataset / "00000.tar") as tar:
        for member in tar:
            key, ext = member.name.split(".")
            samples.setdefault(key, {"__key__": key})[ext] = tar.extractfile(member).read()
    theirs = io.BytesIO()
    with webdataset.TarWriter(theirs, user="", group="", mode=0o644, mtime=0, encoder=False) as writer:
        for sample in samples.values():
            writer.write(sample)
    assert theirs.getvalue() == (dataset / "00000.tar").read_bytes()


def test_dali_reads_every_sample_through_the_index(dataset):
    @pipeline_def(batch_size=2, num_threads=1, device_id=None)
    def pipeline():
        return tuple(
            fn.readers.webdataset(
                paths=[str(dataset / "00000.tar")],
                index_paths=[str(dataset / "00000.idx")],
                ext=["mp4", "txt", "json"],
                missing_component_behavior="error",
            ),
        )

    pipe = pipeline()
    pipe.build()
    found = []
    for _ in range(2):
        video, text, record = pipe.run()
        found += [(bytes(video.at(i)), bytes(text.at(i)).decode(), bytes(record.at(i))) for i in range(2)]
    for row, (payload, caption, record) in enumerate(found):
        assert payload == fake_clip(row).payload
        assert caption == fake_record(row).caption
        assert json.loads(record)["row"] == row


@pytest.mark.parametrize("size", [0, 1, 511, 512, 16383, 16384, 16385, 50001])
def test_members_of_any_length_lie_where_the_records_say(tmp_path, size):
    clips = [replace(fake_clip(row), payload=bytes([row + 1]) * (size + row)) for row in range(3)]
    with ShardWriter("00000", tmp_path, {}) as writer:
        for clip in clips:
            writer.add(clip)
        built = writer.finish()
    data = built.paths["tar"].read_bytes()
    assert built.files["tar"] == FileEntry(len(data), hashlib.sha256(data).hexdigest())
    for row, clip in zip(pq.read_table(built.paths["parquet"]).to_pylist(), clips, strict=True):
        held = {one["ext"]: data[one["offset"] : one["offset"] + one["size"]] for one in row["members"]}
        assert held["mp4"] == clip.payload
        assert held["txt"].decode() == clip.record.caption
        assert json.loads(held["json"])["bytes"] == row["bytes"] == len(clip.payload)


def test_credentials_of_a_source_are_not_kept(tmp_path):
    clip = fake_clip(0)
    url = "https://user:geheim@host/a.mp4?X-Goog-Signature=geheim"
    with ShardWriter("00000", tmp_path, {}) as writer:
        writer.add(replace(clip, record=replace(clip.record, source=url, extra={})))
        built = writer.finish()
    assert pq.read_table(built.paths["parquet"])["source"].to_pylist() == ["https://host/a.mp4?X-Goog-Signature=***"]
    assert b"geheim" not in built.paths["tar"].read_bytes()


def test_each_clip_keeps_its_own_source(tmp_path):
    sources = ["https://a:b@host/1.mp4", "https://a:b@host/1.mp4", "https://host/2.mp4", "https://a:b@host/1.mp4", ""]
    with ShardWriter("00000", tmp_path, {}) as writer:
        for number, source in enumerate(sources):
            clip = fake_clip(number)
            writer.add(replace(clip, record=replace(clip.record, source=source, extra={})))
        table = pq.read_table(writer.finish().paths["parquet"])
    assert table["source"].to_pylist() == [source.replace("a:b@", "") for source in sources]


def test_python_reads_plain_headers_of_nobody(dataset):
    data = (dataset / "00000.tar").read_bytes()
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        infos = archive.getmembers()
        assert not archive.pax_headers
    assert [info.name for info in infos] == sorted(info.name for info in infos)
    assert {(i.mtime, i.uid, i.gid, i.uname, i.gname, i.mode) for i in infos} == {(0, 0, 0, "", "", 0o644)}
    assert all(type(info.mtime) is int and info.type == tarfile.REGTYPE and not info.pax_headers for info in infos)
    payloads = sum(-(-info.size // 512) * 512 for info in infos)
    assert len(data) == -(-(payloads + 512 * len(infos) + 1024) // 10240) * 10240


def test_pyarrow_reads_the_records_and_their_offsets(dataset):
    data = (dataset / "00000.tar").read_bytes()
    table = pq.read_table(dataset / "00000.parquet")
    assert table.schema.metadata[b"vidloom.format"] == b"1"
    for row, values in enumerate(table.to_pylist()):
        record = Record.from_row(values)
        assert record.bytes == len(fake_clip(row).payload)
        parts = {m.ext: data[m.offset : m.offset + m.size] for m in record.members}
        assert parts["mp4"] == fake_clip(row).payload
        assert parts["txt"].decode() == record.caption
        assert Record.from_row(json.loads(parts["json"])).to_json() == record.to_json()


def test_the_index_is_the_tars(dataset):
    path = dataset / "00000.tar"
    with path.open("rb") as file:
        assert parse_idx((dataset / "00000.idx").read_bytes()) == scan_tar(file, size=path.stat().st_size, name="x")


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_block_without_clips_is_a_whole_shard(dataset):
    assert list(webdataset.WebDataset(str(dataset / "00001.tar"), shardshuffle=False, empty_check=False)) == []
    assert (dataset / "00001.idx").read_bytes() == b"v1.2 0\n"
    assert pq.read_table(dataset / "00001.parquet").num_rows == 0


def test_bytes_depend_on_the_clips_alone(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr("time.time", lambda: 4_000_000_000.5)
    monkeypatch.setenv("USER", "somebody")
    build_dataset(open_store(tmp_path / "elsewhere"), tmp_path / "scratch", counts=[4, 0])
    files = sorted(path.relative_to(dataset) for path in dataset.rglob("*") if path.is_file())
    assert len(files) == 12
    for file in files:
        assert (tmp_path / "elsewhere" / file).read_bytes() == (dataset / file).read_bytes(), file


def test_the_entry_says_what_lies_there(tmp_path):
    store = open_store(tmp_path / "set")
    clips = [fake_clip(8), fake_clip(10)]
    entry = write_shard(store, 2, clips, tmp_path / "scratch", first=8, rows=4)
    assert (entry.stem, entry.rows, entry.clips, entry.frames) == ("00002", 4, 2, 33 + 35)
    assert entry.seconds == math.fsum([3.0, 3.5])
    assert entry.status == {"failed": 2, "success": 2}
    assert entry.reasons == {"not_found": 2}
    for name, file in entry.files().items():
        data = (tmp_path / "set" / name).read_bytes()
        assert file == FileEntry(len(data), hashlib.sha256(data).hexdigest())
    assert finished_entry(store, "00002") == entry
    assert list((tmp_path / "scratch").iterdir()) == []


def test_the_summary_counts_as_video2dataset_does(tmp_path):
    write_shard(open_store(tmp_path), 0, [fake_clip(0)], tmp_path / "scratch", first=0, rows=3)
    stats = json.loads((tmp_path / "00000_stats.json").read_bytes())
    assert (stats["count"], stats["successes"], stats["failed_to_download"], stats["failed_to_subsample"]) == (
        3,
        1,
        0,
        2,
    )
    assert stats["status_dict"] == {"not_found": 2, "success": 1}
    assert (stats["format"], stats["clips"], stats["rows"]) == (1, 1, 3)
    assert stats["files"]["tar"]["bytes"] == (tmp_path / "00000.tar").stat().st_size


def test_the_users_columns_are_kept(tmp_path):
    extra = {"site": "string", "score": "double", "n": "int64", "ok": "bool"}
    values = {"site": "a\u00e9", "score": math.nan, "n": 3, "ok": True}
    with ShardWriter("00000", tmp_path, extra) as writer:
        writer.add(fake_clip(0, extra=values))
        writer.add(fake_clip(1, extra={"score": 0.1}))
        built = writer.finish()
    rows = [Record.from_row(row) for row in pq.read_table(built.paths["parquet"]).to_pylist()]
    assert rows[0].extra == {**values, "score": None}
    assert rows[1].extra == {"site": None, "score": 0.1, "n": None, "ok": None}
    with tarfile.open(built.paths["tar"]) as archive:
        text = archive.extractfile("000000000_00000.json").read()
    assert json.loads(text)["site"] == "a\u00e9"
    assert "a\u00e9".encode() in text


@pytest.mark.parametrize(
    ("clips", "message"),
    [
        ([fake_clip(1), fake_clip(0)], "000000000_00000: clips come in the order of their keys"),
        ([fake_clip(1), fake_clip(1)], "000000001_00000: clips come in the order of their keys"),
        ([fake_clip(0, ext="exe")], "000000000_00000: extension 'exe'"),
        ([fake_clip(0, caption="\ud800")], "000000000_00000: caption or columns cannot be stored"),
    ],
)
def test_clips_that_do_not_fit_are_refused_and_nothing_is_left(tmp_path, clips, message):
    def write() -> None:
        with ShardWriter("00000", tmp_path, {}) as writer:
            for clip in clips:
                writer.add(clip)

    with pytest.raises(ValueError, match=message):
        write()
    assert list(tmp_path.iterdir()) == []


def test_a_clip_too_big_for_a_header_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("shards.writer._LARGEST_MEMBER", 1000)
    with ShardWriter("00000", tmp_path, {}) as writer:
        writer.add(fake_clip(0, size=999))
        with pytest.raises(ValueError, match="1000 bytes are too many for one clip"):
            writer.add(fake_clip(1, size=1000))
        writer.discard()


def test_a_ledger_that_tells_another_story_is_refused(tmp_path):
    with ShardWriter("00000", tmp_path / "scratch", {}) as writer:
        writer.add(fake_clip(0))
        built = writer.finish()
    rows = [LedgerRow(0, 0, None, "a", "failed", Reason.DAMAGED, None)]
    with pytest.raises(ValueError, match="0 successes, the shard 1 clips"):
        publish(open_store(tmp_path / "set"), built, rows)
    assert open_store(tmp_path / "set").list() == []
    built.discard()
    assert list((tmp_path / "scratch").iterdir()) == []


def test_publishing_to_a_bucket_gives_the_same_bytes(dataset, tmp_path, object_store):
    remote = open_store(object_store.make_bucket("writer") + "/made")
    build_dataset(remote, tmp_path, counts=[4, 0])
    local = open_store(dataset)
    assert remote.list() == local.list()
    assert all(remote.read(name) == local.read(name) for name in local.list())
    assert finished_entry(remote, "00001") == finished_entry(local, "00001")


ORDER = ["00000.tar", "00000.idx", "00000.parquet", "00000_stats.json", "_vidloom/ledger/00000.parquet"]


def test_a_publisher_killed_anywhere_leaves_only_whole_files(tmp_path):
    """A process of its own kills publishers at every step; here is looked at what they left, and it is mended."""
    entry = publish_shard(tmp_path / "whole")
    whole = published(tmp_path / "whole")
    subprocess.run([sys.executable, "-m", "tests.support.killed_publisher", tmp_path / "killed"], check=True, cwd=ROOT)
    folders = sorted((tmp_path / "killed").iterdir(), key=lambda folder: int(folder.name))
    published_before = 0
    for folder in folders:
        store = published(folder)
        found = store.list()
        assert found == sorted(ORDER[: len(found)]), "files appear in the order of publishing"
        assert len(found) >= published_before
        published_before = len(found)
        assert all(store.read(name) == whole.read(name) for name in found)
        assert finished_entry(store, "00000") == (entry if len(found) == len(ORDER) else None)
        assert publish_shard(folder) == entry
        left = {path.relative_to(folder / "set").as_posix() for path in (folder / "set").rglob("*") if path.is_file()}
        assert left == set(ORDER), "leftovers are swept when their names are written again"
        assert list((folder / "scratch").iterdir()) == []
    assert published_before == len(ORDER)
    assert len(folders) > 2 * len(ORDER)


def test_what_was_published_can_be_read(tmp_path):
    entry = publish_shard(tmp_path)
    with open_shard(published(tmp_path), entry) as shard:
        assert [clip.payload for clip in shard] == [clip.payload for clip in CLIPS]
    assert [row.status for row in read_ledger(published(tmp_path), "00000")] == ["success"] * 3 + ["failed"]
