"""The tokenizer command: what it writes and says, where it stops, and what it leaves alone."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from pipelines.vocabulary import load_tokenizer
from shards.store import NotFoundError, open_store
from tests.support.captioned import build_captioned_dataset
from tools import __main__ as door
from tools.tokenizer import TokenizerRequest, run_tokenizer

SHARDS = [["a red dog runs", "a green dog runs in the park"], [], ["two dogs", " ".join(["dog"] * 40)]]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dataset")
    build_captioned_dataset(open_store(folder), tmp_path_factory.mktemp("scratch"), SHARDS)
    return str(folder)


def request(dataset, out, **changes):
    settings = {"vocabulary": 600, "context": 20, "captions": 100}
    return TokenizerRequest(dataset, str(out), **{**settings, **changes})


def call(*args):
    return CliRunner().invoke(door.app, ["tokenizer", *map(str, args)])


def test_the_file_and_the_figures_agree(dataset, tmp_path, capsys):
    assert run_tokenizer(request(dataset, tmp_path / "t.json"), as_json=True) == 0
    report, written = json.loads(capsys.readouterr().out), load_tokenizer(tmp_path / "t.json")
    lengths = written.lengths([caption for captions in SHARDS for caption in captions])
    assert (report["vocabulary"], report["digest"]) == (written.vocabulary, written.digest)
    assert (report["context"], report["captions"]) == (20, 4) == (written.context, len(lengths))
    assert report["tokens_mean"] == pytest.approx(lengths.mean())
    assert report["tokens_p95"] == max(lengths) == 42
    assert report["too_long"] == np.mean(lengths > 20) == 0.25


def test_what_a_person_reads(dataset, tmp_path, capsys):
    run_tokenizer(request(dataset, tmp_path / "t.json"))
    said = capsys.readouterr().out
    for words in ("ids, from 4 captions", "95 % have 42 or fewer", "25.00% of the captions have more than 20 tokens"):
        assert words in said
    assert f"written to          {tmp_path / 't.json'}" in said


def test_a_part_of_the_captions_can_be_asked_for(dataset, tmp_path, capsys):
    run_tokenizer(request(dataset, tmp_path / "t.json", captions=2), as_json=True)
    assert json.loads(capsys.readouterr().out)["captions"] == 2


def test_the_same_again_is_fine_and_something_else_stays(dataset, tmp_path, capsys):
    out = tmp_path / "t.json"
    run_tokenizer(request(dataset, out))
    before = out.read_bytes()
    assert run_tokenizer(request(dataset, out)) == 0
    with pytest.raises(ValueError, match="holds something else: remove it, or name another file with --out"):
        run_tokenizer(request(dataset, out, context=30))
    assert out.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["t.json"]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"captions": 0}, "--captions 0: at least one is needed"),
        ({"vocabulary": 100}, "vocabulary is 100: 515 or more"),
        ({"context": 1}, "context is 1"),
    ],
)
def test_settings_out_of_range_write_nothing(dataset, tmp_path, changes, text):
    with pytest.raises(ValueError, match=text):
        run_tokenizer(request(dataset, tmp_path / "t.json", **changes))
    assert not list(tmp_path.iterdir())


def test_a_dataset_without_captions_teaches_nothing(tmp_path):
    build_captioned_dataset(open_store(tmp_path / "set"), tmp_path / "scratch", [[]])
    with pytest.raises(ValueError, match="set has no clips, so that there are no captions to train on"):
        run_tokenizer(request(str(tmp_path / "set"), tmp_path / "t.json"))
    with pytest.raises(NotFoundError, match="no dataset"):
        run_tokenizer(request(str(tmp_path / "none"), tmp_path / "t.json"))


def test_a_bucket_is_read_and_written(dataset, tmp_path, object_store, capsys):
    url = object_store.make_bucket("tokenizer")
    build_captioned_dataset(open_store(f"{url}/set"), tmp_path / "scratch", SHARDS)
    digests = []
    for source, out in ((dataset, tmp_path / "t.json"), (f"{url}/set", f"{url}/t.json")):
        assert run_tokenizer(request(source, out), as_json=True) == 0
        digests.append(json.loads(capsys.readouterr().out)["digest"])
        assert load_tokenizer(out).digest == digests[-1]
    assert digests[0] == digests[1]


def test_the_command_line(dataset, tmp_path, monkeypatch):
    shown = call("--help")
    assert shown.exit_code == 0
    assert "Example: vidloom tokenizer" in shown.output
    monkeypatch.chdir(tmp_path)
    assert call(dataset, "--vocabulary", 540, "--context", 16, "--captions", 3).exit_code == 0
    written = load_tokenizer(tmp_path / "tokenizer.json")
    assert (written.context, written.vocabulary <= 540) == (16, True)
    assert call(dataset, "--out", tmp_path / "b.json", "--json").output.startswith('{"out": "')
    assert call(tmp_path, "--out", tmp_path / "c.json").exit_code == 2
    assert not (tmp_path / "c.json").exists()


def test_clips_without_a_word_teach_nothing_either(tmp_path):
    build_captioned_dataset(open_store(tmp_path / "set"), tmp_path / "scratch", [["", " "], [""]])
    with pytest.raises(ValueError, match="set has no captions to train on: its clips were stored without"):
        run_tokenizer(request(str(tmp_path / "set"), tmp_path / "t.json"))
    assert not (tmp_path / "t.json").exists()
