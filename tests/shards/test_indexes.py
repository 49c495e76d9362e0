"""Every reader's index names the manifest's samples, is what that reader's own tool makes, and is checked by verify."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pytest
from webdataset import tariterators

from shards.dataset import open_dataset
from shards.index import TarSample, format_idx, parse_idx
from shards.indexes import INDEXES_NAME, KINDS, parse_kinds, read_indexes, write_indexes
from shards.manifest import open_manifest
from shards.record import Member
from shards.store import Store, open_store
from shards.verify import verify_dataset
from shards.verify_indexes import index_problems
from tests.support.datasets import build_dataset


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("indexes")
    build_dataset(open_store(folder / "set"), folder / "scratch", counts=(3, 0, 2, 1))
    write_indexes(open_store(folder / "set"), KINDS)
    return folder / "set"


@pytest.fixture
def dataset(made, tmp_path) -> Store:
    return open_store(shutil.copytree(made, tmp_path / "set"))


def manifest_keys(store: Store) -> list[str]:
    """Return all keys of a dataset in order, from its records."""
    opened, manifest = open_dataset(store)
    keys = []
    for entry in manifest.shards:
        keys += [sample.key for sample in parse_idx(opened.read(f"{entry.stem}.idx"))]
    return keys


def webdataset_keys(tar: Path) -> list[str]:
    files = tariterators.tar_file_expander([{"url": str(tar), "stream": io.BytesIO(tar.read_bytes())}])
    return [sample["__key__"] for sample in tariterators.group_by_keys(files)]


def test_webdataset_wids_and_open_clip_count_the_manifests_samples(made):
    manifest = open_manifest(made)
    sizes = json.loads((made / "sizes.json").read_text())
    assert sizes == {f"{entry.stem}.tar": entry.clips for entry in manifest.shards}
    index = json.loads((made / "shardindex.json").read_text())
    assert index["wids_version"] == 1
    # wids numbers the samples of each tar in its order, tar after tar.
    keys = []
    for shard in index["shardlist"]:
        tar = made / shard["url"]
        assert tar.stat().st_size == shard["filesize"]
        found = webdataset_keys(tar)
        assert len(found) == shard["nsamples"]
        keys += found
    assert keys == manifest_keys(open_store(made))


def test_verify_knows_the_indexes(dataset):
    assert not verify_dataset(dataset).problems
    dataset.put("sizes.json", b"{}")
    dataset.delete(".nv-meta/.info.json")
    problems = {problem.file: problem.what for problem in verify_dataset(dataset).problems}
    assert problems.keys() == {"sizes.json", ".nv-meta/.info.json"}
    assert "not the file that was written" in problems["sizes.json"]
    write_indexes(dataset, ["wids"])  # the others are made again as well
    assert not verify_dataset(dataset).problems


def test_index_of_another_manifest_is_named(dataset):
    stale = json.loads(dataset.read(INDEXES_NAME)) | {"manifest_digest": "0" * 64}
    dataset.put(INDEXES_NAME, json.dumps(stale).encode())
    (problem,) = index_problems(dataset, open_manifest(dataset))
    assert problem.file == INDEXES_NAME
    assert "--index dali,energon,wids,open_clip" in problem.what
    dataset.put(INDEXES_NAME, b'{"format": 1}')
    (problem,) = index_problems(dataset, open_manifest(dataset))
    assert "missing" in problem.what


def test_bytes_follow_from_the_dataset(dataset, made):
    before = {name: dataset.read(name) for name in read_indexes(dataset).entries()}
    write_indexes(dataset, KINDS)
    assert before == {name: dataset.read(name) for name in before}


def test_dalis_index_is_put_back(dataset):
    whole = dataset.read("00000.idx")
    dataset.put("00000.idx", b"v1.2 0\n")
    dataset.delete("00002.idx")
    write_indexes(dataset, ["dali"])
    assert dataset.read("00000.idx") == whole
    assert not verify_dataset(dataset).problems


def test_tars_elsewhere_are_refused_by_readers_that_look_in_their_own_folder(dataset, tmp_path):
    manifest = open_manifest(dataset)
    other = open_store(tmp_path / "other")
    values = json.loads(manifest.to_bytes())
    for entry in values["shards"]:
        names = ("tar", "idx", "parquet", "stats", "ledger")
        files = (".tar", ".idx", ".parquet", "_stats.json")
        entry["links"] = {kind: f"../set/{entry['stem']}{end}" for kind, end in zip(names, files, strict=False)}
    other.put("_vidloom/manifest.json", json.dumps(values).encode())
    with pytest.raises(ValueError, match=r"energon, open_clip finds tars .* lies at \.\./set/00000\.tar"):
        write_indexes(other, KINDS)
    write_indexes(other, ["wids"])
    shards = json.loads(other.read("shardindex.json"))["shardlist"]
    assert [shard["url"] for shard in shards] == ["../set/00000.tar", "../set/00002.tar", "../set/00003.tar"]


def test_kinds_are_checked():
    assert parse_kinds("open-clip, energon,energon") == ("energon", "open_clip")
    assert parse_kinds(None) == ()
    with pytest.raises(ValueError, match="'wdis' is unknown; taken are dali, energon, wids, open_clip"):
        parse_kinds("wids,wdis")


def test_dalis_index_of_keys_with_blanks_has_no_names():
    samples = [TarSample("a b", (Member("mp4", 512, 3), Member("x y", 1024, 1)))]
    data = format_idx(samples)
    assert data == b"v1.1 1\nmp4 512 3\n"
    assert parse_idx(data) == [TarSample("", (Member("mp4", 512, 3),))]
