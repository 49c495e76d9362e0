"""The measurement of first batches: every position has its own clips, the same in every round, and others are told."""

from __future__ import annotations

import json
import types
from contextlib import contextmanager, nullcontext

import pytest
import torch

from benchmarks import resume
from benchmarks.resume import _First


@contextmanager
def no_bucket(folder):
    yield None


def test_first_batches_are_measured_and_compared(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(resume, "_bucket", no_bucket)
    out = tmp_path / "figures.json"
    given = ["--clips", "128", "--shards", "2", "--rounds", "1", "--folder", str(tmp_path), "--json", str(out)]
    assert resume.main(given) == 0
    (places,) = json.loads(out.read_text()).values()
    assert len(places) == 4
    assert all(len(times) == 1 and times[0] > 0 for times in places.values())
    assert "middle of epoch 10" in capsys.readouterr().out


@pytest.mark.parametrize("keys", [("a",), tuple("b" * resume.BATCH)], ids=["too few", "one clip over and over"])
def test_other_clips_are_told(tmp_path, monkeypatch, capsys, keys):
    monkeypatch.setattr(resume, "_bucket", no_bucket)
    monkeypatch.setattr(resume, "_first_batch", lambda config, state: _First(1.0, keys))
    assert resume.main(["--clips", "64", "--shards", "1", "--rounds", "1", "--folder", str(tmp_path)]) == 1
    assert "the times mean nothing" in capsys.readouterr().out


def test_clips_that_were_not_decoded_do_not_count(monkeypatch):
    batch = types.SimpleNamespace(keys=["a", "b", "c"], valid=torch.tensor([True, False, True]))
    monkeypatch.setattr(resume, "build_loader", lambda config, state: nullcontext(iter([batch])))
    assert resume._first_batch(None, {}).keys == ("a", "c")
