"""The verify command says which file is wrong and what to do about it, and ends with the status that fits."""

from __future__ import annotations

import json

import pytest

from shards.layout import MANIFEST_NAME, PLAN_NAME
from shards.manifest import open_manifest
from shards.store import NotFoundError, open_store
from tests.support.datasets import build_dataset
from tools.__main__ import app
from tools.verify import run_verify
from tools.verifying.request import VerifyRequest

DAMAGED = "00000.tar"


@pytest.fixture
def dataset(tmp_path):
    build_dataset(open_store(tmp_path / "out"), tmp_path / "scratch")
    return tmp_path / "out"


def flip(path, at=2200):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def call(capsys, *arguments):
    """Run a command line in this process; return its exit status and what it printed."""
    with pytest.raises(SystemExit) as ending:
        app([str(argument) for argument in arguments], prog_name="vidloom")
    printed = capsys.readouterr()
    return ending.value.code, printed.out, printed.err


def test_a_whole_dataset(dataset, capsys):
    assert run_verify(VerifyRequest(str(dataset))) == 0
    assert f"{dataset} is whole: 3 shards, 15 files" in capsys.readouterr().out


@pytest.mark.parametrize("as_json", [False, True])
def test_a_damaged_file_is_named(dataset, capsys, as_json):
    flip(dataset / DAMAGED)
    assert run_verify(VerifyRequest(str(dataset)), as_json=as_json) == 1
    shown = capsys.readouterr().out
    if as_json:
        assert {problem["file"] for problem in json.loads(shown)["problems"]} == {DAMAGED}
    else:
        assert shown.startswith("00000.tar: its hash is ")
        assert "shards 00000: files that nothing else holds the bytes of" in shown
        assert "2 problems (1 hash, 1 payload); 3 shards, 15 files" in shown.splitlines()[-1]
        assert run_verify(VerifyRequest(str(dataset), shards="0")) == 1
        assert "; 1 shard, 5 files" in capsys.readouterr().out.splitlines()[-1]


def test_the_json_is_as_documented(dataset, capsys):
    flip(dataset / DAMAGED)
    (dataset / "00000.idx").unlink()
    status, out, _ = call(capsys, "verify", dataset, "--json")
    told = json.loads(out)
    problems = {(each["file"], each["kind"], each["key"], each["repairable"]) for each in told.pop("problems")}
    assert status == 1
    assert problems == {
        ("00000.tar", "hash", None, False),
        ("00000.tar", "payload", "000000000_00000", False),
        ("00000.idx", "missing", None, True),
    }
    assert told == {
        "format": 1,
        "dataset": str(dataset),
        "digest": open_manifest(dataset).digest,
        "whole": False,
        "shards": 3,
        "files": 14,
        "bytes": told["bytes"],
        "samples": 5,
        "decoded": 0,
        "frames": 0,
        "counts": {"hash": 1, "missing": 1, "payload": 1},
        "reasons": {},
        "repairs": [],
    }


def test_the_index_of_a_tar_that_is_lost_is_made_again(dataset, capsys):
    flip(dataset / DAMAGED)
    (dataset / "00000.idx").unlink()
    status, out, _ = call(capsys, "verify", dataset, "--repair")
    assert status == 1
    assert out.startswith("00000.idx: put back: made again, byte for byte as it was\n00000.tar: its hash is")


def test_what_can_be_repaired_is_said(dataset, capsys):
    (dataset / "00000.parquet").unlink()
    assert "1 of these files can be made again: vidloom verify" in call(capsys, "verify", dataset)[1]
    (dataset / MANIFEST_NAME).unlink()
    status, out, _ = call(capsys, "verify", dataset)
    assert status == 1
    assert "the same command with --repair tries it" in out
    (dataset / PLAN_NAME).unlink()
    status, _, err = call(capsys, "verify", dataset, "--repair")
    assert (status, "is no dataset" in err) == (2, True)


def test_a_plan_that_is_gone_cannot_be_made_again(dataset, capsys):
    (dataset / PLAN_NAME).unlink()
    status, out, _ = call(capsys, "verify", dataset, "--repair")
    assert status == 1
    assert f"{PLAN_NAME} cannot be made again" in out


def test_every_problem_is_logged_though_not_shown(dataset, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("shards.verify._MOST_PER_FILE", 1)
    path = dataset / DAMAGED
    path.write_bytes(path.read_bytes().replace(b"caption of row", b"caption of now"))
    assert call(capsys, "verify", dataset, "--log", tmp_path / "log.jsonl")[0] == 1
    kinds = [json.loads(line)["kind"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert sorted(kinds) == ["caption"] * 3 + ["hash"] + ["record"] * 3


def test_some_shards_are_looked_at(dataset, capsys):
    flip(dataset / DAMAGED)
    assert call(capsys, "verify", dataset, "--shards", "1-2")[:2] == (
        0,
        f"{dataset} has nothing wrong in shards 1-2: 2 shards, 10 files, {_size(dataset)} read\n",
    )
    assert call(capsys, "verify", dataset, "--shards", "2,0")[0] == 1


def _size(dataset):
    shards = open_manifest(dataset).shards[1:]
    return f"{sum(file.bytes for entry in shards for file in entry.files().values()) / 1024:.1f} KiB"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--shards", "7"], "--shards names shard 7; the dataset has 0 to 2"),
        (["--shards", "one"], "--shards is 'one'; it takes numbers"),
        (["--sample", "3"], "--sample goes with --decode"),
        (["--decode", "--sample", "0"], "--sample is 0; it must be at least 1"),
        (["--executor", "ray"], "--executor ray goes with --decode"),
        (["--workers", "0"], "--workers is 0; it must be at least 1"),
    ],
)
def test_wrong_usage(dataset, capsys, options, said):
    status, _, err = call(capsys, "verify", dataset, *options)
    assert status == 2
    assert said in err


def test_what_is_no_dataset_is_wrong_usage(tmp_path):
    with pytest.raises(NotFoundError, match="is no dataset"):
        run_verify(VerifyRequest(str(tmp_path)))
    assert not list(tmp_path.iterdir())
    with pytest.raises(NotFoundError, match="is no dataset"):
        run_verify(VerifyRequest(str(tmp_path), repair=True))
    assert not list(tmp_path.iterdir())
