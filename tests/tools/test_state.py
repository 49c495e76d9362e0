"""The state commands on loader states and checkpoints: what they say, and runs that leave batches out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from pipelines.state import LoaderState
from shards.store import open_store
from tools.__main__ import app
from train.checkpoint import Checkpoints
from train.state import TrainState

STATE = LoaderState(("ab" * 32,), (90,), seed=7, batch_size=4, lanes=8, window=4, settings={"frames": 16}, samples=100)


def run(*words: object) -> Any:
    return CliRunner().invoke(app, ["state", *map(str, words)])


def plain(samples: int = 100, **changes: Any) -> dict[str, Any]:
    return STATE.to_json() | {"samples": samples} | changes


def save(out: Path, *steps: int, **loaders: Any) -> str:
    """Write a run's checkpoints, of clips alone or, with states by name, of several loaders."""
    with Checkpoints(open_store(out), keep=9) as saves:
        for step in steps:
            loader = loaders or plain(4 * step)
            saves.save(TrainState({"stage": "mvm"}, step, 4 * step, loader), {"model/x": torch.full((3,), step)})
    return str(out)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "loader.json"
    path.write_text(json.dumps(plain()))
    return path


def test_a_state_is_shown(file: Path):
    text = run("show", file).output
    assert "25 batches of 4 samples taken: 100 samples, in epoch 1, 23 batches each" in text
    assert "dataset 0 (abababababab): 100 samples taken of 90 clips, 1.111 passes" in text
    assert f"seed 7, {len(json.dumps(plain()))} bytes" in text
    told = json.loads(run("show", file, "--json").output)
    assert (told["step"], told["loaders"]["loader"]["batches"]) == (None, 25)


def test_a_mix_is_shown_by_dataset(tmp_path: Path):
    mix = {"by": "sample", "sources": [{"weight": 3.0}, {"weight": 1.0, "where": "fps > 9"}]}
    path = tmp_path / "s.json"
    path.write_text(json.dumps(plain(digests=["ab" * 32, "cd" * 32], clips=[90, 50], mix=mix)))
    text = run("show", path).output
    assert "dataset 0 (abababababab, weight 3.0): 75 samples taken of 90 clips" in text
    assert "dataset 1 (cdcdcdcdcdcd, weight 1.0, where fps > 9): 25 samples taken of 50 clips" in text
    assert "mixed by sample, seed 7" in text


def test_of_a_run_the_newest_checkpoint_is_shown_or_the_one_of_a_step(tmp_path: Path):
    out = save(tmp_path / "run", 5, 20)
    assert "checkpoint after step 20\n20 batches" in run("show", out).output
    assert "checkpoint after step 5\n5 batches" in run("show", out, "--step", 5).output
    assert "5 batches" in run("show", f"{out}/checkpoints/step-00000005").output
    missing = run("show", out, "--step", 6)
    assert (missing.exit_code, "no checkpoint of step 6; there are 5, 20" in missing.output) == (2, True)


def test_states_of_one_order_are_told_by_their_distance(file: Path, tmp_path: Path):
    other = tmp_path / "other.json"
    other.write_text(json.dumps(plain(132)))
    result = run("diff", file, other)
    assert result.exit_code == 0
    assert "states of the same order\nthe second is 32 samples (8 batches) further on" in result.output
    assert "further back" in run("diff", other, file).output
    assert "both are at the same sample" in run("diff", file, file).output


def test_states_of_two_orders_are_told_by_their_fields(file: Path, tmp_path: Path):
    other = tmp_path / "other.json"
    other.write_text(json.dumps(plain(seed=9)))
    result = run("diff", file, other)
    assert (result.exit_code, result.output.splitlines()[0]) == (1, "seed: 7 in the first, 9 in the second")
    told = json.loads(run("diff", file, other, "--json").output)
    assert told == {"fields": [{"field": "seed", "first": "7", "second": "9"}], "samples_between": 0}


def test_a_state_leaves_batches_out(file: Path, tmp_path: Path):
    out = tmp_path / "moved" / "loader.json"
    assert "goes on with batch 35, 10 batches (40 samples)" in run("skip", file, out, "--batches", 10).output
    assert json.loads(out.read_text()) == plain(140)
    again = run("skip", file, out, "--batches", 10)
    assert (again.exit_code, "is there already" in again.output) == (2, True)
    assert run("skip", file, tmp_path / "to.json", "--to", 26).exit_code == 0
    assert json.loads((tmp_path / "to.json").read_text()) == plain(104)
    assert json.loads(file.read_text()) == plain(), "the old state stays"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "one of the two"),
        (("--batches", 1, "--to", 30), "one of the two"),
        (("--batches", 0), "must be at least 1"),
        (("--to", 25), "not ahead of the state"),
        (("--batches", 3, "--feed", "images"), "leave --feed out"),
        (("--batches", 3, "--step", 4), "no run with checkpoints"),
    ],
)
def test_a_way_that_leads_nowhere_is_refused(file: Path, tmp_path: Path, options: tuple[object, ...], said: str):
    result = run("skip", file, tmp_path / "out.json", *options)
    assert (result.exit_code, said in result.output) == (2, True)
    assert not (tmp_path / "out.json").exists()


def test_a_run_goes_on_from_a_checkpoint_that_was_moved(tmp_path: Path):
    run_out = save(tmp_path / "run", 20)
    out = tmp_path / "without"
    assert "python -m train with out=" in run("skip", run_out, out, "--batches", 7).output
    with Checkpoints(open_store(out), keep=9) as saves:
        found = saves.newest()
        tensors = saves.read(found.step).tensors
    assert (found.step, found.state.samples, found.state.loader) == (20, 108, plain(108))
    assert tensors["model/x"].tolist() == [20, 20, 20]
    taken = run("skip", run_out, out, "--batches", 7)
    assert (taken.exit_code, "has files in it" in taken.output) == (2, True)


def test_of_clips_and_images_one_is_moved(tmp_path: Path):
    out = save(tmp_path / "run", 20, video=plain(40), images=plain(40, seed=8))
    text = run("show", out).output
    assert "video: 10 batches" in text
    assert "images: 10 batches" in text
    unsaid = run("skip", out, tmp_path / "new", "--batches", 2)
    assert (unsaid.exit_code, "--feed: video, images" in unsaid.output) == (2, True)
    assert run("skip", out, tmp_path / "new", "--batches", 2, "--feed", "images").exit_code == 0
    with Checkpoints(open_store(tmp_path / "new"), keep=9) as saves:
        state = saves.newest().state
    assert (state.loader["video"]["samples"], state.loader["images"]["samples"], state.samples) == (40, 48, 88)


@pytest.mark.parametrize(
    ("text", "said"),
    [("[]", "a loader state is a mapping"), ("{", "is no JSON"), ('{"loader": null}', "not {}")],
)
def test_what_is_no_state_is_refused(tmp_path: Path, text: str, said: str):
    path = tmp_path / "x.json"
    path.write_text(text)
    result = run("skip", path, tmp_path / "y.json", "--batches", 1)
    assert (result.exit_code, said in result.output) == (2, True)
    assert run("show", tmp_path / "nothing").exit_code == 2


def test_a_checkpoint_that_was_changed_by_hand_is_refused(tmp_path: Path):
    out = Path(save(tmp_path / "run", 20))
    place = out / "checkpoints" / "step-00000020" / "state.json"
    place.write_text(place.read_text().replace('"samples": 80', '"samples": 84'))
    result = run("show", out)
    assert (result.exit_code, "does not say what was written" in result.output) == (2, True)
