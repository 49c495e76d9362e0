"""The commands index, merge and select: what they say, and their exit status."""

from __future__ import annotations

import json

import pytest

from shards.dataset import open_dataset
from shards.store import open_store
from tests.support.adoptable import sample, write_tar
from tests.support.datasets import build_dataset
from tests.support.in_process import InProcess, run_here, work_here
from tests.support.small_corpus import write_corpus
from tools import index
from tools.__main__ import app
from tools.console import DONE, FALLS_SHORT
from tools.corpus import adopt_work
from tools.corpus.workspace import workspace
from tools.verify import run_verify
from tools.verifying.request import VerifyRequest


@pytest.fixture
def call(monkeypatch, capsys):
    """Return what runs a command line in this process and gives its exit status and what it printed."""
    monkeypatch.setattr(adopt_work, "open_executor", InProcess)

    def run(*arguments):
        with pytest.raises(SystemExit) as ending:
            app([str(argument) for argument in arguments], prog_name="vidloom")
        printed = capsys.readouterr()
        return ending.value.code, printed.out, printed.err

    return run


@pytest.fixture
def dataset(tmp_path):
    build_dataset(open_store(tmp_path / "set"), tmp_path / "scratch")
    return tmp_path / "set"


def test_index_makes_the_indexes_of_a_dataset(call, dataset):
    assert call("index", dataset, "--index", "wids,open_clip")[:2] == (
        DONE,
        f"{dataset} has indexes for wids, open_clip: 2 files\n",
    )
    status, out, _ = call("index", dataset, "--index", "energon", "--json")
    assert status == DONE
    assert json.loads(out)["index"] == ["energon", "wids", "open_clip"]
    status, _, err = call("index", dataset)
    assert status == 2
    assert "say with --index for which readers" in err
    assert "'wdis' is unknown" in call("index", dataset, "--index", "wdis")[2]


def test_index_adopts_tars_and_names_what_is_odd(call, tmp_path):
    write_tar(tmp_path / "in" / "a.tar", sample("0", 0, "zero") | {"1.txt": b"no clip"})
    status, out, _ = call("index", tmp_path / "in", "--index", "wids")
    assert status == FALLS_SHORT
    lines = out.splitlines()
    assert lines[0] == "a.tar/1: bad_sample: the sample has no video and no picture: .txt"
    assert lines[-1] == "2 samples: 1 failed, 1 success" or lines[-1] == "2 samples: 1 success, 1 failed"
    assert (tmp_path / "in" / "shardindex.json").exists()
    again = json.loads(call("index", tmp_path / "in", "--json")[1])
    assert (again["clips"], again["reasons"]) == (1, {"bad_sample": 1})
    assert run_verify(VerifyRequest(str(tmp_path / "in"))) == DONE


def test_merge_and_select_say_where_the_clips_are(call, dataset, tmp_path):
    status, out, _ = call("select", dataset, "row == 1", tmp_path / "one")
    assert status == DONE
    assert "1 clip of 1.2 s in 3 shards, 2 of them in the sources' tars" in out
    assert out.splitlines()[-1] == "12 rows: 7 failed, 4 filtered, 1 success"
    status, out, _ = call(
        "merge", dataset, tmp_path / "one", tmp_path / "both", "--copy", "--index", "energon", "--json"
    )
    assert status == DONE
    found = json.loads(out)
    assert (found["clips"], found["linked"], found["prefixes"]) == (6, 0, ["set", "one"])
    assert run_verify(VerifyRequest(str(tmp_path / "both"))) == DONE
    assert (tmp_path / "both" / ".nv-meta" / "split.yaml").exists()
    assert open_dataset(tmp_path / "both").manifest.totals.clips == 6


def test_what_cannot_be_made_is_said_in_one_line(call, dataset, tmp_path):
    for arguments, what in (
        (("merge", dataset), "merge takes the datasets and then the place"),
        (("merge", dataset, dataset, tmp_path / "o", "--keys", "plain"), "--keys dataset"),
        (("select", dataset, "shoe_size > 42", tmp_path / "o"), "shoe_size"),
        (("select", dataset, "row >", tmp_path / "o"), "row >"),
        (("select", tmp_path / "nothing", "true", tmp_path / "o"), "is no dataset"),
        (("select", dataset, "true", dataset), "is a source, which stays as it is: give another folder"),
        (("merge", dataset, f"{dataset}/"), "is a source, which stays as it is: give another folder"),
    ):
        status, _, err = call(*arguments)
        assert status == 2, arguments
        assert what in err, err
        assert "Traceback" not in err


def test_index_says_how_far_it_is_where_nobody_looks(call, tmp_path, monkeypatch):
    monkeypatch.setattr(index, "_LINE_SECONDS", 0.0)
    write_tar(tmp_path / "in" / "a.tar", sample("0", 0, "zero"))
    assert "reading tars: 1 of 1 done" in call("index", tmp_path / "in")[2]


def test_a_reader_that_cannot_find_the_tars_is_refused_before_they_are_read(call, dataset, tmp_path, monkeypatch):
    write_tar(tmp_path / "in" / "a.tar", sample("0", 0, "zero"))
    monkeypatch.setattr("tools.corpus.adopting.read_tars", lambda *_: pytest.fail("a tar is read"))
    status, _, err = call("index", tmp_path / "in", "--out", tmp_path / "out", "--index", "wids,energon")
    assert (status, "energon finds tars in the dataset's own folder only" in err) == (2, True)
    monkeypatch.setattr("tools.compose.make_composition", lambda *_: pytest.fail("a shard is made"))
    status, _, err = call("select", dataset, "row == 1", tmp_path / "out", "--index", "open_clip")
    assert (status, "shard 00000 of" in err) == (2, True)
    assert not (tmp_path / "out").exists()


def test_indexes_are_made_while_the_output_is_still_ones_own(call, dataset, tmp_path, monkeypatch):
    kept = []

    def note(store, *_):
        with pytest.raises(ValueError, match="another run is writing"), workspace(store):
            pass
        kept.append(store.url)

    for module in ("tools.corpus.completing.update_indexes", "tools.corpus.adopting.write_indexes"):
        monkeypatch.setattr(module, note)
    work_here(monkeypatch)
    run_here(write_corpus(tmp_path, videos=1), tmp_path / "sharded")
    write_tar(tmp_path / "in" / "a.tar", sample("0", 0, "zero"))
    call("index", tmp_path / "in", "--index", "wids")
    assert kept == [str(tmp_path / "sharded"), str(tmp_path / "in")]
