"""Merged and selected datasets hold the wanted clips under unique keys, whether they refer to tars or copy them."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from shards.composition import Composition, make_composition, plan_composition
from shards.dataset import open_dataset
from shards.expression import parse
from shards.indexes import KINDS, write_indexes
from shards.ledger import read_ledger
from shards.manifest import Manifest
from shards.placed import read_keys
from shards.reader import open_shard
from shards.store import open_store
from shards.verify import verify_dataset
from tests.support.datasets import build_dataset, fake_clip
from tests.support.fault_server import FaultServer, running_server


def compose(tmp_path: Path, *sources: Path | str, where: str | None = None, out: str = "out", **settings) -> Manifest:
    """Make a dataset of others, verify it, and return its manifest."""
    condition = None if where is None else parse(where)
    made_by = "merge" if where is None else "select"
    composition = Composition(made_by, tuple(map(str, sources)), str(tmp_path / out), condition, **settings)
    (tmp_path / "scratch").mkdir(exist_ok=True)
    manifest = make_composition(plan_composition(composition), tmp_path / "scratch", lambda _: None)
    assert not verify_dataset(open_store(tmp_path / out)).problems
    return manifest


def clips(folder: Path) -> dict[str, bytes]:
    """Return the payloads of a dataset by key, as a reader of shards gets them."""
    store, manifest = open_dataset(folder)
    found: dict[str, bytes] = {}
    for entry in manifest.shards:
        with open_shard(store, entry) as shard:
            found |= {clip.record.key: clip.payload for clip in shard}
    return found


@pytest.fixture
def pair(tmp_path) -> tuple[Path, Path]:
    """Return two datasets that share all keys of the smaller one."""
    for name, counts in (("web.vid", (3, 0, 2)), ("msr", (2,))):
        build_dataset(open_store(tmp_path / name), tmp_path / "scratch", counts=counts)
    return tmp_path / "web.vid", tmp_path / "msr"


def rows_of(numbers) -> dict[str, bytes]:
    return {f"{row:09d}_00000": fake_clip(row).payload for row in numbers}


@pytest.mark.parametrize("copies", [False, True])
def test_datasets_that_share_keys_get_their_names(pair, tmp_path, copies):
    manifest = compose(tmp_path, *pair, copies=copies)
    web, msr = rows_of([0, 1, 2, 8, 9]), rows_of([0, 1])
    wanted = {f"web-vid/{key}": data for key, data in web.items()} | {f"msr/{key}": data for key, data in msr.items()}
    assert clips(tmp_path / "out") == wanted
    assert (manifest.totals.clips, manifest.totals.rows) == (7, 16)
    assert manifest.totals.status == {"failed": 9, "success": 7}
    tars = sorted(path.name for path in (tmp_path / "out").glob("*.tar"))
    assert tars == (["00000.tar", "00001.tar", "00002.tar", "00003.tar"] if copies else ["00001.tar"])
    with pytest.raises(ValueError, match=r"the key '000000000_00000' of .* --keys dataset"):
        compose(tmp_path, *pair, out="plain", keys="plain")


def test_a_dataset_split_in_two_is_whole_again_when_merged(pair, tmp_path):
    long = compose(tmp_path, pair[0], where="row < 2", out="a")
    rest = compose(tmp_path, pair[0], where="not (row < 2)", out="b")
    assert (long.totals.clips, rest.totals.clips) == (2, 3)
    assert "tar" not in long.shards[2].links, "of a shard of which nothing is wanted, there is an empty one"
    compose(tmp_path, tmp_path / "a", tmp_path / "b")
    assert clips(tmp_path / "out") == rows_of([0, 1, 2, 8, 9])
    store, manifest = open_dataset(tmp_path / "out")
    assert not list((tmp_path / "out").glob("0*")), "only the manifest is new"
    assert manifest.shards[0].links["tar"] == "../web.vid/00000.tar"
    assert len(read_keys(store, "00000.parquet")) == 2


@pytest.mark.parametrize("copies", [False, True])
def test_select_keeps_what_the_condition_is_true_of(pair, tmp_path, copies):
    manifest = compose(tmp_path, pair[0], where="row == 1 or duration >= 3", copies=copies)
    assert clips(tmp_path / "out") == rows_of([1, 8, 9])
    assert manifest.totals.status == {"failed": 7, "filtered": 2, "success": 3}
    assert manifest.totals.reasons["filter_expression"] == 2
    ledger = read_ledger(open_dataset(tmp_path / "out").store, "00000")
    assert [row.key for row in ledger] == [None, "000000001_00000", None, None]
    assert "row == 1" in str(ledger[0].message)
    places = [entry.links.get("tar") for entry in manifest.shards]
    assert places == ([None] * 3 if copies else [f"../web.vid/0000{number}.tar" for number in range(3)])
    assert manifest.shards[2].tar == open_dataset(pair[0]).manifest.shards[2].tar


def test_copies_serve_every_reader_and_references_say_that_they_do_not(pair, tmp_path):
    compose(tmp_path, *pair, out="copy", copies=True)
    compose(tmp_path, *pair, out="links")
    write_indexes(open_store(tmp_path / "copy"), KINDS)
    assert not verify_dataset(open_store(tmp_path / "copy")).problems
    assert json.loads((tmp_path / "copy" / "sizes.json").read_text())["00003.tar"] == 2
    with pytest.raises(ValueError, match="--copy"):
        write_indexes(open_store(tmp_path / "links"), ["energon"])


def test_what_is_done_is_left_alone(pair, tmp_path):
    first = compose(tmp_path, pair[0], where="row < 2", copies=True)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("0*")}
    (tmp_path / "out" / "_vidloom" / "manifest.json").unlink()
    (tmp_path / "out" / "_vidloom" / "ledger" / "00002.parquet").unlink()
    assert compose(tmp_path, pair[0], where="row < 2", copies=True) == first
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("0*")}
    assert {path.name for path in after if after[path] != before[path]} == {
        f"00002{end}" for end in (".tar", ".idx", ".parquet", "_stats.json")
    }
    with pytest.raises(ValueError, match=r"settings\.where"):
        compose(tmp_path, pair[0], where="row < 3", copies=True)


def test_a_dataset_that_refers_is_the_same_after_a_crash(pair, tmp_path):
    first = compose(tmp_path, pair[0], where="row != 1")
    (tmp_path / "out" / "_vidloom" / "manifest.json").unlink()
    assert compose(tmp_path, pair[0], where="row != 1") == first
    assert first.shards[0].links == {"tar": "../web.vid/00000.tar"}


def test_signed_addresses_are_copied_from_and_kept_secret(pair, tmp_path):
    files = {f"/set/{path.relative_to(pair[1])}": path.read_bytes() for path in pair[1].rglob("*.*") if path.is_file()}
    with running_server(FaultServer(files)) as server:
        source = f"{server.url}/set?X-Amz-Signature=secret"
        for signature in ("secret", "newer"):
            compose(tmp_path, pair[1], f"{server.url}/set?X-Amz-Signature={signature}", copies=True)
        with pytest.raises(ValueError, match=r"/set has an address with a query, .*--copy"):
            compose(tmp_path, source, out="links")
    assert {key.partition("/")[0] for key in clips(tmp_path / "out")} == {"msr", "set"}
    for name in ("plan.json", "manifest.json"):
        assert "secret" not in (tmp_path / "out" / "_vidloom" / name).read_text()


def test_damage_in_a_source_is_not_copied(pair, tmp_path):
    data = bytearray((pair[0] / "00000.tar").read_bytes())
    at = data.index(fake_clip(0).payload)
    data[at] ^= 1
    (pair[0] / "00000.tar").write_bytes(data)
    with pytest.raises(ValueError, match="its hash is not the manifest's"):
        compose(tmp_path, pair[0], where="true", copies=True)
    with pytest.raises(ValueError, match=r"sample .* of mp4 have another hash"):
        compose(tmp_path, pair[0], where="row != 1", out="other", copies=True)


def test_a_condition_on_what_is_no_column_is_refused(pair, tmp_path):
    with pytest.raises(ValueError, match="shoe_size"):
        compose(tmp_path, pair[0], where="shoe_size > 42")
    assert not (tmp_path / "out").exists(), "the right condition may be given the same place"


def test_names_of_datasets_of_one_name_differ(pair, tmp_path):
    pair[1].rename(tmp_path / "x")
    build_dataset(open_store(tmp_path / "sub" / "x"), tmp_path / "scratch", counts=(1,))
    compose(tmp_path, tmp_path / "x", tmp_path / "sub" / "x")
    assert sorted(clips(tmp_path / "out")) == ["x-1/000000000_00000", "x-1/000000001_00000", "x-2/000000000_00000"]
    table = pq.read_table(tmp_path / "out" / "00001.parquet", columns=["key"])
    assert table["key"].to_pylist() == ["x-2/000000000_00000"]
