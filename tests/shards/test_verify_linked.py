"""Verification of datasets that refer to tars elsewhere: adopted, merged and selected ones, in folders and buckets."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from shards.composition import Composition, make_composition, plan_composition
from shards.dataset import open_dataset
from shards.expression import parse
from shards.keys import find_repeats
from shards.store import Store, open_store
from shards.verify import Kind, verify_dataset
from shards.verify_keys import key_problems
from shards.verify_problems import KeyRange, ShardFindings
from tests.support.datasets import build_dataset, fake_clip


def composed(folder: Path, *sources: Path, out: str, where: str | None = None, **settings) -> Store:
    condition = None if where is None else parse(where)
    made_by = "merge" if where is None else "select"
    composition = Composition(made_by, tuple(map(str, sources)), str(folder / out), condition, **settings)
    (folder / "scratch").mkdir(exist_ok=True)
    make_composition(plan_composition(composition), folder / "scratch", lambda _: None)
    return open_store(folder / out)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Return a folder with two datasets, both of them merged, and some clips of one."""
    folder = tmp_path_factory.mktemp("linked")
    for name, counts in (("web", (3, 0, 2)), ("msr", (2,))):
        build_dataset(open_store(folder / name), folder / "scratch", counts=counts)
    composed(folder, folder / "web", folder / "msr", out="both")
    composed(folder, folder / "web", out="some", where="row > 0")
    return folder


@pytest.fixture
def folder(made, tmp_path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "all"))


def found(folder: Path, name: str) -> list[tuple[str, Kind, str | None]]:
    problems = verify_dataset(open_store(folder / name)).problems
    return sorted((problem.file, problem.kind, problem.key) for problem in problems)


def test_sound_ones_have_no_problems(folder):
    assert found(folder, "both") == found(folder, "some") == []


def test_a_changed_payload_is_named_where_it_lies(folder):
    tar = folder / "web" / "00000.tar"
    data = bytearray(tar.read_bytes())
    data[data.index(fake_clip(1).payload) + 3] ^= 1
    tar.write_bytes(data)
    place = "../web/00000.tar"
    assert found(folder, "both") == [(place, Kind.HASH, None), (place, Kind.PAYLOAD, "web/000000001_00000")]
    assert found(folder, "some") == [(place, Kind.HASH, None), (place, Kind.PAYLOAD, "000000001_00000")]


def test_a_tar_cut_short_is_named_with_the_samples_that_it_lacks(folder):
    tar = folder / "web" / "00000.tar"
    tar.write_bytes(tar.read_bytes()[:5000])
    problems = found(folder, "some")
    assert ("../web/00000.tar", Kind.LENGTH, None) in problems
    assert {(file, key) for file, _, key in problems} == {
        ("../web/00000.tar", None),
        ("../web/00000.tar", "000000001_00000"),
        ("../web/00000.tar", "000000002_00000"),
    }


def test_sources_that_are_gone_are_named(folder):
    shutil.rmtree(folder / "msr")
    assert found(folder, "both") == [
        ("../msr/00000.tar", Kind.MISSING, None),
    ]
    shutil.rmtree(folder / "web")
    assert {file for file, kind, _ in found(folder, "some") if kind == Kind.MISSING} >= {"../web/00000.tar"}


def test_files_of_its_own_are_repairable_and_those_of_others_are_not(folder):
    (folder / "some" / "00000.idx").unlink()
    (folder / "web" / "00002.idx").unlink()
    problems = {problem.file: problem for problem in verify_dataset(open_store(folder / "some")).problems}
    assert problems["00000.idx"].repairable
    assert not problems["../web/00002.idx"].repairable


def test_a_key_of_two_sources_is_named(folder):
    """Two datasets with the same keys are merged under plain ones by hand, as an older tool may have."""
    both = open_dataset(folder / "both")
    findings = [
        ShardFindings("00000", keys=KeyRange("a", "c")),
        ShardFindings("00001"),
        ShardFindings("00002", keys=KeyRange("d", "e")),
    ]
    assert list(key_problems(both, findings, rises=False)) == []
    assert list(key_problems(both, findings[::-1], rises=False)) == [], "order is nothing where keys need not rise"
    (problem,) = key_problems(both, findings[::-1], rises=True)
    assert (problem.file, problem.key, problem.kind) == ("00000.tar", "a", Kind.KEY)


def test_only_shards_whose_keys_overlap_are_read_again(folder, monkeypatch):
    both, looked = open_dataset(folder / "both"), []

    def note(shards, **more):
        looked.append([name for name, _ in shards()])
        return find_repeats(shards, **more)

    monkeypatch.setattr("shards.verify_keys.find_repeats", note)
    spans = {"00000": "am", "00002": "nz", "00003": "lo"}
    findings = [ShardFindings(stem, keys=KeyRange(*span)) for stem, span in spans.items()]
    assert list(key_problems(both, findings, rises=False)) == []
    assert looked == [["00000.parquet", "00002.parquet", "00003.parquet"]]
    assert list(key_problems(both, findings[:2], rises=False)) == []
    assert len(looked) == 1, "ranges that do not overlap hold no key twice"


def test_a_selection_in_a_bucket(object_store, tmp_path):
    source = open_store(object_store.make_bucket("verify-linked") + "/web")
    build_dataset(source, tmp_path / "scratch")
    out = composed(tmp_path, source.url, out="some", where="row > 0")
    assert verify_dataset(out, workers=3).problems == ()
    source.put("00002.tar", source.read("00002.tar")[:-1])
    assert {problem.kind for problem in verify_dataset(out, workers=3).problems} >= {Kind.LENGTH}
