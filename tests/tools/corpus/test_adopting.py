"""Tars of other tools become datasets where they lie: all readers, verify and training take them, faults are named."""

from __future__ import annotations

import json
import os
import shutil
import tarfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from pipelines.loader import build_loader
from pipelines.settings import LoaderConfig
from pipelines.stream import RangedShard
from shards.composition import Composition, make_composition, plan_composition
from shards.dataset import open_dataset
from shards.expression import parse
from shards.index import parse_idx
from shards.indexes import KINDS, write_indexes
from shards.ledger import read_ledger
from shards.placed import read_keys
from shards.reader import open_shard
from shards.store import open_store
from shards.verify import verify_dataset
from tests.support.adoptable import KILLS, deadly_adopt, sample, small_video, write_tar
from tests.support.fault_server import FaultServer, running_server
from tests.support.in_process import Crashes, InProcess
from tools.corpus import adopt_work
from tools.corpus.adopting import adopt
from tools.corpus.adoption_plan import AdoptRequest
from tools.corpus.executor import ExecutorChoice
from tools.statistics.collect import StatsRequest, collect

ONE = ExecutorChoice(workers=1)


@pytest.fixture(autouse=True)
def quick(request, monkeypatch):
    """Let all but the tests of the workers read tars in this process."""
    if "workers" not in request.node.name:
        monkeypatch.setattr(adopt_work, "open_executor", InProcess)


def adopted(*sources: Path | str, **settings):
    return adopt(AdoptRequest(tuple(map(str, sources)), choice=ONE, **settings), lambda _: None)


def ledger(out, stem="00000"):
    return [(row.key, row.reason, row.message) for row in read_ledger(out, stem)]


@pytest.fixture(scope="module")
def tars(tmp_path_factory) -> Path:
    """Return a folder as video2dataset leaves it, with tables and summaries of its own."""
    folder = tmp_path_factory.mktemp("v2d")
    first = sample("000000000", 0, "a cat", url="http://x/0", width=64, clips=[[0, 1]])
    first |= sample("000000001", 1, "a dog", url="http://x/1", width=64.5, status="success")
    write_tar(folder / "00000.tar", first)
    write_tar(folder / "00001.tar", sample("000010000", 2, url="http://x/2", caption="from the record"))
    (folder / "00000.parquet").write_bytes(b"theirs")
    (folder / "00000_stats.json").write_bytes(b"{}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adopt_work, "open_executor", InProcess)
        adopted(folder)
    return folder


def test_what_another_tool_keeps_beside_its_tars_stays(tars):
    assert (tars / "00000.parquet").read_bytes() == b"theirs"
    assert (tars / "00000_stats.json").read_bytes() == b"{}"
    assert not verify_dataset(open_store(tars)).problems


def test_records_hold_what_the_samples_say(tars):
    store, manifest = open_dataset(tars)
    with open_shard(store, manifest.shards[0]) as shard:
        cat, dog = list(shard)
    assert (cat.caption, cat.record.source, cat.payload) == ("a cat", "http://x/0", small_video(0))
    assert cat.record.extra["width" if "width" in cat.record.extra else "input_width"] == 64.0
    assert json.loads(cat.record.extra["clips"]) == [[0, 1]]
    assert (dog.record.extra["input_status"], dog.record.status) == ("success", "success")
    assert dog.record.media.num_frames == 8
    with open_shard(store, manifest.shards[1]) as shard:
        assert shard.record(0).caption == "from the record"
    assert collect(StatsRequest((str(tars),))).whole.clips == 3


def test_the_loader_reads_an_adopted_dataset(tars):
    config = LoaderConfig(source=str(tars), batch_size=2, lanes=1, frames=2, stride=1, size=32, decoder="host")
    with build_loader(config) as loader:
        batch = next(loader)
    assert batch.valid.all()
    assert set(batch.captions) <= {"a cat", "a dog", "from the record"}


def test_indexes_of_other_readers_name_the_tars_samples(tars, tmp_path):
    folder = shutil.copytree(tars, tmp_path / "set")
    write_indexes(open_store(folder), KINDS)
    assert not verify_dataset(open_store(folder)).problems
    assert json.loads((folder / "sizes.json").read_text()) == {"00000.tar": 2, "00001.tar": 1}
    store, manifest = open_dataset(folder)
    for entry in manifest.shards:
        keys = read_keys(store, f"{entry.stem}.parquet")
        assert [found.key for found in parse_idx(store.read(f"{entry.stem}.idx"))] == keys
        with tarfile.open(folder / f"{entry.stem}.tar") as tar:
            assert [name.split(".")[0] for name in tar.getnames() if name.endswith("mp4")] == keys


def test_odd_samples_are_named_and_the_others_kept(tmp_path):
    odd = sample("a b", 0, "blank") | sample("dir/c", 1, "folder") | sample("p.1", 0) | sample("p.2", 1)
    odd |= {"text.txt": b"only", "bad.mp4": b"no video", "enc.mp4": small_video(0), "enc.txt": b"\xff\xfe"}
    odd |= {"rec.mp4": small_video(1), "rec.json": b"{", "b\udcff.mp4": small_video(0)}
    write_tar(tmp_path / "in" / "x.tar", odd, form=tarfile.GNU_FORMAT)
    out = adopted(tmp_path / "in").out
    assert not verify_dataset(out).problems
    found = ledger(out)
    assert [key for key, _, _ in found] == ["a b", "dir/c", None, None, None, None, "rec", None]
    reasons = [reason for _, reason, _ in found]
    encoding = "bad_encoding"
    assert reasons == [None, None, "bad_sample", "bad_sample", "not_a_video", encoding, None, encoding]
    assert ".1.mp4, .2.mp4" in found[2][2]
    assert "cannot be read" in found[6][2]
    assert [sample.key for sample in parse_idx(open_dataset(out.url).store.read("00000.idx"))] == ["", "", ""]


def test_odd_records_cost_no_more_than_themselves(tmp_path, monkeypatch):
    odd = {"cut.mp4": small_video(0), "cut.json": b'{"caption": "a \\ud83d", "other": "\\ud83d"}'}
    odd |= {"deep.mp4": small_video(0), "deep.json": b"[" * 200_000}
    odd |= sample("long", 0, "ccc", seen="only here", more="x" * 300_000)
    odd |= sample("signed", 0, "c", url="https://me:pass@host/a.mp4?Expires=1&Signature=abc")
    write_tar(tmp_path / "a.tar", odd)
    monkeypatch.setattr("tools.corpus.adopted.MOST_SIDE", 250_000)
    adopted(tmp_path)
    store, manifest = open_dataset(tmp_path)
    with open_shard(store, manifest.shards[0]) as shard:
        records = [clip.record for clip in shard]
    assert [record.caption[:3] for record in records] == ["a \ufffd", "", "ccc", "c"]
    assert "nested too deep" in records[1].cut_reason
    assert (records[0].extra["other"], "seen" in records[0].extra) == ("\ufffd", False)
    assert records[3].source == "https://host/a.mp4?Expires=1&Signature=***"
    assert not verify_dataset(open_store(tmp_path)).problems


def test_damaged_tars_keep_the_samples_before_the_damage(tmp_path):
    whole = write_tar(tmp_path / "in" / "0.tar", sample("a", 0, "a") | sample("b", 1, "b"), form=tarfile.USTAR_FORMAT)
    cut = whole.read_bytes()
    (tmp_path / "in" / "1.tar").write_bytes(cut[: 3 * 512 + len(small_video(0)) + 100])
    (tmp_path / "in" / "2.tar").write_bytes(b"")
    write_tar(tmp_path / "in" / "3.tar", {})
    made = adopted(tmp_path / "in")
    assert [entry.clips for entry in made.manifest.shards] == [2, 1, 0, 0]
    assert made.manifest.totals.reasons == {"damaged": 2}
    assert "at byte" in ledger(made.out, "00001")[-1][2]
    assert ledger(made.out, "00003") == []
    assert not verify_dataset(made.out).problems


def test_keys_that_repeat_get_the_tars_name(tmp_path):
    for name in ("cat", "dog"):
        write_tar(tmp_path / "in" / f"{name}.tar", sample("0", 0, name) | sample("1", 1, name))
    made = adopted(tmp_path / "in")
    assert [row[0] for row in ledger(made.out)] == ["cat/0", "cat/1"]
    assert [row[0] for row in ledger(made.out, "00001")] == ["dog/0", "dog/1"]
    assert not verify_dataset(made.out).problems
    with pytest.raises(ValueError, match="qualified: true on disk, false given"):
        adopted(tmp_path / "in", keys="plain")


def test_keys_that_repeat_where_nobody_looked_begin_again(tmp_path):
    write_tar(tmp_path / "in" / "a.tar", sample("0", 0) | sample("same", 1))
    write_tar(tmp_path / "in" / "b.tar", sample("1", 0) | sample("same", 1) | sample("same", 0))
    with pytest.raises(ValueError, match="the key 'same' of tar 00001 is one of tar 00000 as well"):
        adopted(tmp_path / "in", keys="plain", out=str(tmp_path / "plain"))
    made = adopted(tmp_path / "in", out=str(tmp_path / "out"))
    assert [row[0] for row in ledger(made.out, "00001")] == ["b/1", "b/same"]
    assert made.manifest.totals.status == {"success": 4}
    assert not verify_dataset(made.out).problems
    assert adopted(tmp_path / "in", out=str(tmp_path / "out")).manifest == made.manifest


def test_a_folder_elsewhere_leaves_the_tars_alone_and_is_resumed(tmp_path):
    for number in range(3):
        write_tar(tmp_path / "in" / f"t{number}.tar", sample(f"k{number}", number, f"c{number}"))
    before = sorted((tmp_path / "in").iterdir())
    made = adopted(tmp_path / "in" / "t*.tar", out=str(tmp_path / "out"))
    assert sorted((tmp_path / "in").iterdir()) == before
    assert made.manifest.shards[0].links == {"tar": "../in/t0.tar"}
    files = {name: made.out.read(name) for name in made.out.list() if not name.endswith(".lock")}
    made.out.delete("_vidloom/ledger/00001.parquet")
    made.out.delete("_vidloom/manifest.json")
    (tmp_path / "in" / "t0.tar").chmod(0o000)  # what is done is not read again
    try:
        again = adopted(tmp_path / "in", out=str(tmp_path / "out"))
    finally:
        (tmp_path / "in" / "t0.tar").chmod(0o644)
    assert again.manifest == made.manifest
    assert {name: made.out.read(name) for name in files} == files


def test_a_crash_at_any_step_is_made_good(tmp_path, monkeypatch):
    for number in range(2):
        write_tar(tmp_path / "in" / f"{number}.tar", sample(f"k{number}", number) | sample("same", number))
    whole = adopted(tmp_path / "in", out=str(tmp_path / "whole"))
    assert whole.manifest.totals.clips == 4
    crashes = Crashes(monkeypatch)
    for step in range(0, 100, 3):
        again = partial(adopted, tmp_path / "in", out=str(tmp_path / f"out{step}"))
        if not crashes.at(step, again):
            break
        assert again().manifest == whole.manifest
    assert 15 < step < 99


def test_workers_give_the_same_bytes(tmp_path, monkeypatch):
    write_tar(tmp_path / "in" / "a.tar", sample("0", 0, "c"))
    made = adopted(tmp_path / "in", out=str(tmp_path / "out"))
    monkeypatch.setattr(adopt_work, "open_executor", InProcess)
    assert adopted(tmp_path / "in", out=str(tmp_path / "here")).manifest == made.manifest


@pytest.mark.slow
@pytest.mark.skipif(os.environ.get("VIDLOOM_WHOLE_CORPUS") != "1", reason="workers die: VIDLOOM_WHOLE_CORPUS=1")
def test_workers_give_the_same_bytes_and_a_sample_that_kills_one_costs_itself(tmp_path, monkeypatch):
    write_tar(tmp_path / "in" / "a.tar", sample("0", 0) | {"1.mp4": small_video(1) + KILLS} | sample("2", 2))
    write_tar(tmp_path / "in" / "b.tar", sample("3", 3))
    monkeypatch.setattr(adopt_work, "adopt_tar", deadly_adopt)
    made = adopted(tmp_path / "in")
    assert [reason for _, reason, _ in ledger(made.out)] == [None, "worker_died", None]
    monkeypatch.undo()
    monkeypatch.setattr(adopt_work, "open_executor", InProcess)
    here = adopted(tmp_path / "in", out=str(tmp_path / "out"))
    assert here.manifest.shards[1].parquet == made.manifest.shards[1].parquet
    assert here.manifest.totals.clips == 4


def test_tars_in_a_bucket_are_read_by_ranges(object_store, tmp_path):
    bucket = object_store.make_bucket("adopting")
    source, out = open_store(f"{bucket}/in"), open_store(f"{bucket}/out")
    for number in range(2):
        tar = write_tar(tmp_path / f"{number}.tar", sample(f"k{number}", number, f"c{number}", n=number))
        source.put(f"sub/t{number}.tar", tar.read_bytes())
    made = adopted(source.url, out=out.url)
    assert made.manifest.shards[1].links == {"tar": f"{source.url}/sub/t1.tar"}
    assert not verify_dataset(out).problems
    store, manifest = open_dataset(out)
    assert not store.is_local
    shard = RangedShard(store, manifest.shards[1])
    assert (shard.read(0).payload, shard.record(0).extra) == (small_video(1), {"n": 1})
    assert source.list() == ["sub/t0.tar", "sub/t1.tar"]


def test_tars_on_a_server_are_adopted_in_a_folder(tmp_path):
    tar = write_tar(tmp_path / "a.tar", sample("k0", 0, "c0") | sample("k1", 1, "c1"))
    with running_server(FaultServer({"/a.tar": tar.read_bytes()})) as server:
        made = adopted(f"{server.url}/a.tar", out=str(tmp_path / "out"))
        assert made.manifest.shards[0].links["tar"] == f"{server.url}/a.tar"
        assert not verify_dataset(open_store(tmp_path / "out")).problems
        some = Composition("select", (str(tmp_path / "out"),), str(tmp_path / "some"), parse("caption == 'c1'"))
        make_composition(plan_composition(some), tmp_path, lambda _: None)
        assert not verify_dataset(open_store(tmp_path / "some")).problems


def test_other_tars_under_the_same_plan_are_refused(tmp_path):
    write_tar(tmp_path / "in" / "a.tar", sample("0", 0))
    adopted(tmp_path / "in")
    write_tar(tmp_path / "in" / "b.tar", sample("1", 0))
    with pytest.raises(ValueError, match="input_digest"):
        adopted(tmp_path / "in")


def test_places_that_cannot_be_meant_are_refused(tmp_path, tars):
    with pytest.raises(ValueError, match="holds no tar"):
        adopted(tmp_path)
    with pytest.raises(ValueError, match="is meant twice"):
        adopted(tars, tars / "00000.tar", out=str(tmp_path))
    write_tar(tmp_path / "a" / "0.tar", {})
    write_tar(tmp_path / "b" / "0.tar", {})
    with pytest.raises(ValueError, match="lie in 2 folders; say with --out"):
        adopted(tmp_path / "a" / "0.tar", tmp_path / "b" / "0.tar")
    with pytest.raises(
        ValueError, match=r"a\.tar\?X-Amz-Signature=\*\*\* has an address with a query, .* copy the tar"
    ):
        adopted("https://host/a.tar?X-Amz-Signature=abc", out=str(tmp_path / "c"))


def test_an_adopted_tar_that_changes_is_found(tars, tmp_path):
    folder = shutil.copytree(tars, tmp_path / "set")
    data = bytearray((folder / "00000.tar").read_bytes())
    data[2600] ^= 1
    (folder / "00000.tar").write_bytes(data)
    problems = [problem.what for problem in verify_dataset(open_store(folder)).problems]
    assert any("its hash is" in what for what in problems)
    assert any("sample 000000000: the" in what and "another hash" in what for what in problems)
    entry = open_dataset(folder).manifest.shards[0]
    links = dict(entry.links) | {"parquet": "_vidloom/adopted/00001.parquet"}
    assert replace(entry, links=links).is_foreign
