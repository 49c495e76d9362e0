"""``vidloom caption``: a line for each clip, to the terminal or a file, on one rank and on two, and after a crash."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from model.generation import Generation
from pipelines.evaluation import evaluation_loader
from tests.support.evaluated import ROWS, build_evaluated, caption_of, save_model
from train.apply.__main__ import app
from train.apply.caption_job import CaptionSettings, caption_dataset
from train.apply.parts import Parts
from train.apply.shard_clips import Computing
from train.parallel import Ranks
from train.pretrained import load_model

BROKEN = 10
ONE = Ranks(0, 1, torch.device("cpu"))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("set")
    build_evaluated(folder, tmp_path_factory.mktemp("scratch"), broken=(BROKEN,))
    return str(folder)


@pytest.fixture(scope="module")
def towers(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("vlc"), "mm_full")


def caption(*args):
    return CliRunner().invoke(app, ["caption", *map(str, args), "--workers", "1", "--device", "cpu"])


def settings():
    return CaptionSettings(max_tokens=5, computing=Computing(batch_size=2, workers=1))


@pytest.mark.parametrize("beams", [1, 3])
def test_each_clip_has_a_line(dataset, towers, beams):
    found = caption(dataset, "--model", towers, "--beams", beams, "--max-tokens", 5)
    assert found.exit_code == 1
    assert "1 of 10 clips could not be captioned" in found.stderr
    lines = [json.loads(line) for line in found.stdout.splitlines()]
    assert [line["key"] for line in lines] == [f"{row:09d}_00000" for row in ROWS]
    assert [line["given"] for line in lines] == [caption_of(row) for row in ROWS]
    model = load_model(towers)
    with evaluation_loader(model.loader_config(dataset, batch_size=99, tokens=None)) as batches:
        (batch,) = batches
    kind = "greedy" if beams == 1 else "beam"
    wanted = model.caption(batch.video, Generation(kind=kind, beams=beams, max_tokens=5))
    for line, text, usable in zip(lines, wanted, batch.valid.tolist(), strict=True):
        assert line["caption"] == (text if usable else None)
        assert ("error" in line) != usable
    assert "BrokenClipError" in lines[ROWS.index(BROKEN)]["error"]


def test_a_file_appears_whole_and_an_interrupted_one_goes_on(dataset, towers, tmp_path, monkeypatch):
    out = str(tmp_path / "captions.jsonl")
    put, made = Parts.put, []

    def stopping(self, entry, data):
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(entry.stem)
        put(self, entry, data)

    monkeypatch.setattr(Parts, "put", stopping)
    options = ["--model", towers, "--max-tokens", 5, "--batch-size", 2, "--out", out]
    assert caption(dataset, *options).exit_code == 130
    assert not Path(out).exists()
    assert caption(dataset, *options, "--beams", 2).exit_code == 2
    monkeypatch.setattr(Parts, "put", lambda self, entry, data: made.append(entry.stem) or put(self, entry, data))
    done = caption(dataset, *options)
    assert (done.exit_code, done.stdout) == (1, f"{out}: captions of 9 of 10 clips\n")
    assert made == ["00000", "00001", "00002", "00003"]
    lines = []
    caption_dataset(load_model(towers), dataset, None, settings(), ONE, tell=lines.append)
    assert Path(out).read_text(encoding="utf-8").splitlines() == lines
    assert [path.name for path in tmp_path.iterdir()] == ["captions.jsonl"]
    again = caption(dataset, *options)
    assert (again.exit_code, len(again.stderr.splitlines())) == (2, 1)
    assert "is there" in again.stderr


def test_a_model_that_writes_nothing_is_refused(dataset, tmp_path):
    masked = save_model(tmp_path, "videomae_pretrain")
    found = caption(dataset, "--model", masked)
    assert (found.exit_code, len(found.stderr.splitlines())) == (2, 1)
    assert "knows no texts" in found.stderr
