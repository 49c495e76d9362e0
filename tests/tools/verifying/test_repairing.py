"""Repair puts back what can be made again, byte for byte, touches nothing that is sound, and says what it cannot do."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest

from shards.canonical import canonical_json
from shards.composition import Composition, make_composition, plan_composition
from shards.expression import parse
from shards.indexes import KINDS, write_indexes
from shards.layout import LEASE_DIR, MANIFEST_NAME
from shards.store import Store, open_store
from shards.verify import verify_dataset
from tests.support.adoptable import sample, write_tar
from tests.support.datasets import build_dataset
from tests.support.in_process import InProcess
from tests.support.planted_damages import DAMAGES, LEDGER, Damage, drop, flip, rename
from tools.corpus import adopt_work
from tools.corpus.adopting import adopt
from tools.corpus.adoption_plan import AdoptRequest
from tools.corpus.executor import ExecutorChoice
from tools.corpus.workspace import workspace
from tools.verify import run_verify
from tools.verifying import readopting
from tools.verifying.repairing import Repairer
from tools.verifying.request import VerifyRequest


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("repair")
    build_dataset(open_store(folder / "set"), folder / "scratch")
    return folder / "set"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def repair(folder: Path | str, capsys, **options) -> tuple[int, dict]:
    status = run_verify(VerifyRequest(str(folder), repair=True, **options), as_json=True)
    return status, json.loads(capsys.readouterr().out)


def test_there_are_thirty_damages_and_more():
    assert len({damage.name for damage in DAMAGES}) == len(DAMAGES) >= 30


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.name)
def test_a_planted_damage_is_found_and_mended_or_left_alone(damage: Damage, made, tmp_path, capsys):
    folder = Path(shutil.copytree(made, tmp_path / "set"))
    damage.plant(folder)
    found = verify_dataset(open_store(folder)).problems
    assert set(damage.files) <= {problem.file for problem in found}, found
    assert damage.key is None or damage.key in {problem.key for problem in found}, found
    before = contents(folder)
    status, told = repair(folder, capsys)
    after = contents(folder)
    if damage.mended:
        assert after == contents(made)
        assert (status, told["whole"], told["problems"]) == (0, True, [])
    else:
        assert status == 1
        put = {each["file"] for each in told["repairs"] if each["done"]}
        assert {name: data for name, data in after.items() if name not in put} == {
            name: data for name, data in before.items() if name not in put
        }
        assert set(damage.files) & {problem["file"] for problem in told["problems"]}


def test_everything_at_once(made, tmp_path, capsys):
    folder = Path(shutil.copytree(made, tmp_path / "set"))
    for plant in (
        rename("00000.tar", "00011.tar"),
        drop("00002.parquet", "00002_stats.json", "00000.idx", MANIFEST_NAME),
        flip("00002.idx", 12),
    ):
        plant(folder)
    status, told = repair(folder, capsys)
    assert contents(folder) == contents(made)
    assert status == 0
    assert {each["file"] for each in told["repairs"]} >= {"00000.tar", "00002.parquet", MANIFEST_NAME}


@pytest.fixture(params=[".tar", ".parquet", "_stats.json", ".idx"])
def swapped(request, made, tmp_path) -> Path:
    folder = Path(shutil.copytree(made, tmp_path / "set"))
    one, other, third = folder / f"00000{request.param}", folder / f"00002{request.param}", folder / "third"
    for old, new in ((one, third), (other, one), (third, other)):
        old.rename(new)
    return folder


@pytest.mark.parametrize("writes", [0, 1, 2, 3, 4])
def test_a_swap_that_is_cut_off_anywhere_loses_nothing(swapped, made, capsys, monkeypatch, writes):
    folder = swapped
    left, put_file = iter(range(writes)), Store.put_file

    def fail_at_last(store, *arguments, **options):
        if next(left, None) is None:
            raise KeyboardInterrupt
        put_file(store, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "put_file", fail_at_last)
        if writes < 4:
            with pytest.raises(KeyboardInterrupt):
                repair(folder, capsys)
        else:
            repair(folder, capsys)
    assert repair(folder, capsys)[0] == 0
    assert contents(folder) == contents(made)


def test_a_ledger_is_made_again_where_every_row_was_stored(tmp_path, capsys):
    folder = tmp_path / "set"
    build_dataset(open_store(folder), tmp_path / "scratch", counts=(4, 1))
    before = contents(folder)
    drop(LEDGER, "00000.parquet")(folder)
    assert repair(folder, capsys)[0] == 0
    assert contents(folder) == before


def test_a_sound_dataset_is_not_written_to(made, tmp_path, capsys):
    folder = Path(shutil.copytree(made, tmp_path / "set"))
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    status, told = repair(folder, capsys)
    assert (status, told["repairs"]) == (0, [])
    assert times == {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_a_dataset_that_another_run_writes_to_is_refused(made, tmp_path, capsys):
    folder = shutil.copytree(made, tmp_path / "set")
    with workspace(open_store(folder)), pytest.raises(ValueError, match="another run is writing"):
        repair(folder, capsys)


def test_a_bucket_is_repaired_under_a_lease(object_store, tmp_path, capsys, monkeypatch):
    store = open_store(object_store.make_bucket("repair") + "/set")
    build_dataset(store, tmp_path)
    before = {name: store.read(name) for name in store.list()}
    store.delete("00000.parquet")
    store.delete(MANIFEST_NAME)
    store.put("00002.tar", before["00002.tar"][:-600])
    work, leases = Repairer.shards, []

    def note(repairer, verification):
        leases.extend(store.list(f"{LEASE_DIR}/"))
        return work(repairer, verification)

    monkeypatch.setattr(Repairer, "shards", note)
    status, told = repair(store.url, capsys)
    assert (status, told["problems"], len(leases)) == (0, [], 1)
    assert {name: store.read(name) for name in store.list()} == before


def test_indexes_are_made_again_and_what_was_edited_by_hand_stays(made, tmp_path, capsys):
    folder = Path(shutil.copytree(made, tmp_path / "set"))
    write_indexes(open_store(folder), KINDS)
    before = contents(folder)
    drop("sizes.json", ".nv-meta/index.sqlite")(folder)
    flip("shardindex.json", 9)(folder)
    assert repair(folder, capsys)[0] == 0
    assert contents(folder) == before
    edited = before[".nv-meta/split.yaml"] + b"# mine\n"
    (folder / ".nv-meta" / "split.yaml").write_bytes(edited)
    drop("sizes.json")(folder)
    status, told = repair(folder, capsys)
    assert (status, [problem["file"] for problem in told["problems"]]) == (1, [".nv-meta/split.yaml"])
    assert contents(folder) == before | {".nv-meta/split.yaml": edited}


def test_an_index_of_a_selection_is_made_again_and_its_source_is_not_touched(made, tmp_path, capsys):
    source = Path(shutil.copytree(made, tmp_path / "web"))
    composition = Composition("select", (str(source),), str(tmp_path / "some"), parse("row > 0"))
    (tmp_path / "scratch").mkdir()
    make_composition(plan_composition(composition), tmp_path / "scratch", lambda _: None)
    before = contents(tmp_path)
    drop("00000.idx", "00000_stats.json")(tmp_path / "some")
    assert repair(tmp_path / "some", capsys)[0] == 0
    assert contents(tmp_path) == before
    drop("00000.parquet")(tmp_path / "some")
    drop("00002.parquet")(source)
    after = contents(tmp_path)
    status, told = repair(tmp_path / "some", capsys)
    assert (status, told["repairs"]) == (1, [])
    assert {problem["file"] for problem in told["problems"]} == {"00000.parquet", "../web/00002.parquet"}
    assert contents(tmp_path) == after
    (tmp_path / "some" / MANIFEST_NAME).unlink()
    status, told = repair(tmp_path / "some", capsys)
    assert (status, [each["file"] for each in told["repairs"]]) == (1, [MANIFEST_NAME]), "it is tried once"
    assert "vidloom select" in told["repairs"][0]["what"]


@pytest.mark.parametrize("out", [None, "out"])
def test_what_lies_beside_adopted_tars_is_put_back(tmp_path, capsys, monkeypatch, out):
    for module in (adopt_work, readopting):
        monkeypatch.setattr(module, "open_executor", InProcess)
    write_tar(tmp_path / "in" / "a.tar", sample("x", 0, "zero", likes=3) | {"odd.txt": b"no clip"})
    write_tar(tmp_path / "in" / "b.tar", sample("y", 1, "one", likes=4))
    folder = tmp_path / (out or "in")
    adopt(AdoptRequest((str(tmp_path / "in"),), out and str(folder), choice=ExecutorChoice(workers=1)), lambda _: None)
    before = contents(tmp_path)
    stem = "00000" if out else "a"
    drop(f"{stem}.parquet", LEDGER)(folder)
    flip(f"{stem}.idx", 6)(folder)
    status, told = repair(folder, capsys)
    assert (status, told["problems"], len(told["repairs"])) == (0, [], 3)
    assert contents(tmp_path) == before
    drop(f"{stem}.parquet")(folder)
    flip("a.tar", 1600)(tmp_path / "in")
    status, told = repair(folder, capsys)
    assert (status, told["repairs"]) == (1, []), "of a tar that has changed nothing is made"


def test_a_flipped_bit_anywhere_in_the_manifest_is_found_and_never_spreads(made, tmp_path, capsys):
    """A wrong hash of a ledger or a summary looks like a wrong file, which stays as it is."""
    folder = Path(shutil.copytree(made, tmp_path / "set"))
    whole, manifest = contents(folder), (folder / MANIFEST_NAME).read_bytes()
    mended = 0
    for at in random.Random(3).sample(range(len(manifest)), 30):
        flip(MANIFEST_NAME, at)(folder)
        assert verify_dataset(open_store(folder)).problems, manifest[at - 20 : at + 20]
        if at % 3 == 0:
            status, _ = repair(folder, capsys)
            after = contents(folder)
            assert after | {MANIFEST_NAME: manifest} == whole, "no other file is touched"
            assert status == (after != whole)
            mended += not status
        (folder / MANIFEST_NAME).write_bytes(manifest)
    assert mended >= 4


@pytest.mark.parametrize("change", [{"settings": {}}, {"shards": "00000"}, {"shards": "tar"}])
def test_a_manifest_that_adds_up_and_is_wrong_is_made_again(made, tmp_path, capsys, change):
    folder = Path(shutil.copytree(made, tmp_path / "set"))
    before = contents(folder)
    values = json.loads((folder / MANIFEST_NAME).read_bytes())
    if "settings" in change:
        values |= change
    elif change["shards"] == "tar":
        values["shards"][0]["tar"]["sha256"] = "0" * 64
    else:
        values["shards"][0]["stem"] = "00004"
    (folder / MANIFEST_NAME).write_bytes(canonical_json(values))
    assert MANIFEST_NAME in {problem.file for problem in verify_dataset(open_store(folder)).problems}
    assert repair(folder, capsys)[0] == 0
    assert contents(folder) == before
