"""An input that has grown at its end becomes new shards; anything else about it is refused, and no old byte changes."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import dataclass, replace

import pytest

from shards.layout import MANIFEST_NAME
from shards.ledger import read_ledger
from shards.manifest import open_manifest
from shards.plan import BlockPlan, read_plan, write_plan
from shards.store import open_store
from shards.verify import verify_dataset
from tests.support.in_process import Crashes, hashes, run_here, work_here
from tests.support.small_corpus import write_corpus
from tools.corpus.columns import convert, join_kinds, value_kind
from tools.corpus.events import Note
from tools.corpus.extending import digest_rows, extend
from tools.corpus.ingest import InputRow, TableInfo
from tools.corpus.making import finished

SETTINGS = {"shard_bytes": 16_000}
FIRST = 4
"""Rows of the corpus before it grows; the dataset has blocks of three."""

UP_TO_DATE = "nothing to extend: the dataset has all rows of the input already"


@dataclass(frozen=True)
class Listed:
    """An input whose rows are a list; ``cells`` are those of the column of the user's own."""

    cells: list
    name: str = "list.csv"
    digest: str = "1" * 64
    video: str = "v"
    column: str = "own"

    def scan(self, *, limit=None):
        kind = None
        for cell in self.cells[:limit]:
            kind = join_kinds(kind, value_kind(cell))
        return TableInfo(len(self.cells[:limit]), {self.column: kind or "string"})

    def rows(self, extra, *, limit=None):
        for number, cell in enumerate(self.cells[:limit]):
            own = {self.column: convert(cell, extra.get(self.column, "string"))}
            yield InputRow(number, f"{self.video}/{number}.mp4", "c", extra=own)


def plan_of(table, limit=None):
    info = table.scan(limit=limit)
    digest = digest_rows(table.rows(info.extra, limit=limit), 0).whole
    blocks = -(-info.rows // 3)
    return BlockPlan(
        "0" * 64, "list.csv", info.rows, 3, blocks, {"limit": limit, "a": 1}, info.extra, rows_digest=digest
    )


def grown(old, new, limit=None, **settings):
    table = new if isinstance(new, Listed) else Listed(new)
    return extend(plan_of(Listed(old)), table, {"limit": limit, "a": 1} | settings)


def test_added_rows_become_blocks_of_their_own():
    plan = grown([1, 2, 3, 4], [1, 2, 3, 4, 5, 6, 7, 8])
    assert (plan.rows, plan.blocks, plan.sections, plan.input_digest) == (8, 4, (4,), "1" * 64)
    assert [list(plan.block_rows(number)) for number in range(4)] == [[0, 1, 2], [3], [4, 5, 6], [7]]
    more = extend(plan, Listed([*range(1, 9), 9, 10, 11, 12], digest="2" * 64), plan.settings)
    assert (more.sections, more.blocks, more.input_digest) == ((4, 8), 6, "2" * 64)


def test_what_has_not_grown_keeps_its_plan():
    old = plan_of(Listed([1, 2]))
    assert extend(old, Listed([1, 2], digest=old.input_digest), old.settings) is old
    assert extend(old, Listed([1, 2], digest="5" * 64), old.settings) is old, "the same rows in other bytes"


def test_a_limit_may_grow_too():
    cells = [1, 2, 3, 4, 5]
    old = plan_of(Listed(cells), limit=2)
    assert extend(old, Listed(cells), {"limit": 4, "a": 1}).sections == (2,)
    assert extend(old, Listed(cells), {"limit": None, "a": 1}).rows == 5
    with pytest.raises(ValueError, match="has 1 rows, the dataset was made of 2"):
        extend(old, Listed(cells), {"limit": 1, "a": 1})


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ([1, 2, 3], [1, 2], "has 2 rows, the dataset was made of 3"),
        ([1, 2], [1, 7, 3], r"of its first 2 rows, .* some are others now \(digest \w{64} on disk, \w{64} given\)"),
        ([1, 2], [0, 1, 2], "some are others now"),
        ([1, 2], Listed([1, 2, 3], video="elsewhere"), "some are others now"),
        ([1, 2], Listed([1, 2, 3], column="new"), "same columns: 'new' is in the input, not in the dataset"),
        ([1, 2], [1, 2, 3, 4.5, 6], "column 'own' holds int64, and row 3 of list.csv would make it double"),
        ([1.5], [1.5, 2, "x"], "column 'own' holds double, and row 2 of list.csv would make it string"),
        ([True], [True, None, 3], "column 'own' holds bool, and row 2 of list.csv would make it string"),
    ],
)
def test_anything_but_rows_at_the_end_is_refused_by_name(old, new, said):
    with pytest.raises(ValueError, match=f"--extend takes .*{said}"):
        grown(old, new)


def test_cells_that_the_old_type_holds_are_taken():
    assert grown([1.5, None], [1.5, None, 7, None]).extra == {"own": "double"}
    assert grown([None, None], [None, None, 7]).extra == {"own": "string"}, "a column without a cell was stored as text"


def test_other_settings_are_refused_with_both_sides():
    with pytest.raises(ValueError, match=r"settings.a: 1 on disk, 2 given"):
        grown([1], [1, 2], a=2)


def test_a_plan_without_a_digest_of_its_rows_cannot_be_extended():
    old = replace(plan_of(Listed([1])), rows_digest=None)
    with pytest.raises(ValueError, match="the plan on disk is of an earlier version"):
        extend(old, Listed([1, 2]), old.settings)


@pytest.fixture
def _here(monkeypatch):
    work_here(monkeypatch)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """The whole corpus, its first rows, and the dataset of those."""
    folder = tmp_path_factory.mktemp("corpus")
    whole = write_corpus(folder, videos=4, extra=["videos/none.mp4,missing,,,"])
    lines = whole.read_text().splitlines(keepends=True)
    (folder / "first.csv").write_text("".join(lines[: 1 + FIRST]))
    with pytest.MonkeyPatch.context() as patch:
        work_here(patch)
        run_here(folder / "first.csv", folder / "out", **SETTINGS)
    return folder


@pytest.fixture
def out(corpus, tmp_path):
    return shutil.copytree(corpus / "out", tmp_path / "out")


def old_files(folder):
    return {
        name: digest for name, digest in hashes(folder).items() if not name.endswith(("plan.json", "manifest.json"))
    }


def notes(events):
    return [event.text for event in events if isinstance(event, Note)]


@pytest.mark.usefixtures("_here")
def test_a_grown_table_adds_shards_and_leaves_the_old_ones(corpus, out):
    assert notes(run_here(corpus / "corpus.csv", out, extend=True, **SETTINGS)) == ["adding 5 rows in 2 new shards"]
    assert old_files(corpus / "out").items() <= hashes(out).items()
    manifest, store = open_manifest(out), open_store(out)
    assert [entry.rows for entry in manifest.shards] == [3, 1, 3, 2]
    assert (manifest.totals.rows, manifest.totals.status) == (9, {"failed": 1, "success": 8})
    rows = [row.row for entry in manifest.shards for row in read_ledger(store, entry.stem)]
    assert rows == list(range(9))
    assert verify_dataset(store).problems == ()
    before = hashes(out)
    run_here(corpus / "corpus.csv", out, **SETTINGS)
    said = notes(run_here(corpus / "corpus.csv", out, extend=True, **SETTINGS))
    assert said == [UP_TO_DATE]
    assert hashes(out) == before


@pytest.mark.usefixtures("_here")
def test_the_same_rows_in_another_format_extend_too(corpus, out, tmp_path):
    expected = shutil.copytree(out, tmp_path / "expected")
    run_here(corpus / "corpus.csv", expected, extend=True, **SETTINGS)
    with (corpus / "corpus.csv").open(newline="") as file:
        rows = [{name: cell for name, cell in row.items() if cell} for row in csv.DictReader(file)]
    (corpus / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run_here(corpus / "corpus.jsonl", out, extend=True, **SETTINGS)
    assert old_files(out) == old_files(expected)


@pytest.mark.usefixtures("_here")
def test_a_table_may_be_followed_by_another(corpus, out, tmp_path):
    expected = shutil.copytree(out, tmp_path / "expected")
    run_here(corpus / "corpus.csv", expected, extend=True, **SETTINGS)
    lines = (corpus / "corpus.csv").read_text().splitlines(keepends=True)
    (corpus / "more.csv").write_text("".join([lines[0], *lines[1 + FIRST :]]))
    run_here((str(corpus / "first.csv"), str(corpus / "more.csv")), out, extend=True, **SETTINGS)
    assert old_files(out) == old_files(expected)


@pytest.mark.usefixtures("_here")
def test_a_grown_table_without_the_option_is_refused_with_a_hint(corpus, out):
    with pytest.raises(ValueError, match="rows were added at the input's end only, --extend takes them"):
        run_here(corpus / "corpus.csv", out, **SETTINGS)


@pytest.mark.usefixtures("_here")
def test_an_extension_may_die_at_any_step(corpus, out, tmp_path, monkeypatch):
    crashes = Crashes(monkeypatch)
    old = open_manifest(out)
    run_here(corpus / "corpus.csv", out, extend=True, **SETTINGS)
    for step in range(40):
        again = shutil.copytree(corpus / "out", tmp_path / f"out-{step}")
        died = crashes.at(step, lambda again=again: run_here(corpus / "corpus.csv", again, extend=True, **SETTINGS))
        assert open_manifest(again) == (old if died else open_manifest(out)), "old, until all is there"
        assert old_files(corpus / "out").items() <= hashes(again).items()
        plan = read_plan(open_store(again))
        grown, left = plan.rows > old.totals.rows, plan.blocks - len(finished(open_store(again), plan))
        said = notes(run_here(corpus / "corpus.csv", again, extend=True, **SETTINGS))
        begun = f"going on with an extension that was cut off: {left} shard{'s' * (left > 1)} left"
        assert said == ["adding 5 rows in 2 new shards" if not grown else begun if left else UP_TO_DATE]
        assert hashes(again) == hashes(out)
        if not died:
            break
    assert not died
    assert step > 10


@pytest.mark.usefixtures("_here")
def test_a_dataset_that_is_not_finished_may_be_extended(corpus, out, tmp_path):
    run_here(corpus / "corpus.csv", shutil.copytree(out, tmp_path / "whole"), extend=True, **SETTINGS)
    for name in ("_vidloom/ledger/00000.parquet", MANIFEST_NAME):
        (out / name).unlink()
    run_here(corpus / "corpus.csv", out, extend=True, **SETTINGS)
    assert hashes(out) == hashes(tmp_path / "whole")


@pytest.mark.usefixtures("_here")
def test_a_plan_that_another_run_put_there_meanwhile_is_not_overwritten(corpus, out, monkeypatch):
    store = open_store(out)
    other = replace(read_plan(store), input_digest="9" * 64)
    real = read_plan

    def looked(place):
        """Answer the first look, and let the other run come after it."""
        monkeypatch.setattr("tools.corpus.planning.read_plan", real)
        found = real(place)
        write_plan(store, other)
        return found

    monkeypatch.setattr("tools.corpus.planning.read_plan", looked)
    with pytest.raises(ValueError, match="input_digest"):
        run_here(corpus / "corpus.csv", out, extend=True, **SETTINGS)
    assert read_plan(store) == other
