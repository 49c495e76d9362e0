"""The verify command says which file is wrong, and ends with the status that fits."""

from __future__ import annotations

import json

import pytest

from shards.store import NotFoundError
from tests.support.small_corpus import write_corpus
from tools.corpus.request import ShardRequest
from tools.corpus.run import shard
from tools.verify import run_verify


@pytest.fixture
def dataset(tmp_path):
    table = write_corpus(tmp_path, videos=1)
    shard(ShardRequest(input=str(table), out=str(tmp_path / "out")), lambda _: None)
    return tmp_path / "out"


def test_a_whole_dataset(dataset, capsys):
    assert run_verify(str(dataset)) == 0
    assert f"{dataset} is whole: 1 shards, 5 files" in capsys.readouterr().out


@pytest.mark.parametrize("as_json", [False, True])
def test_a_damaged_file_is_named(dataset, capsys, as_json):
    data = bytearray((dataset / "00000.tar").read_bytes())
    data[1000] ^= 1
    (dataset / "00000.tar").write_bytes(data)
    assert run_verify(str(dataset), as_json=as_json) == 1
    shown = capsys.readouterr().out
    if as_json:
        assert {problem["file"] for problem in json.loads(shown)["problems"]} == {"00000.tar"}
    else:
        assert shown.startswith("00000.tar: its hash is ")
        assert "problems; 1 shards" in shown.splitlines()[-1]


def test_what_is_no_dataset_is_wrong_usage(tmp_path):
    with pytest.raises(NotFoundError, match="is no dataset"):
        run_verify(str(tmp_path))
