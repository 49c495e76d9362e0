"""The demo: what it makes and shows, and how it ends when something falls short."""

from __future__ import annotations

import json

import av
import pytest

from tools import demo
from tools.demo import run_demo
from tools.demo_stage import DemoFailedError, loss_fall


@pytest.fixture
def stages(monkeypatch):
    """Replace the demo's stages by the given functions."""

    def put(*functions):
        monkeypatch.setattr(demo, "_STAGES", tuple((function.__name__, function) for function in functions))

    return put


@pytest.mark.slow
def test_the_whole_way(tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    out = tmp_path / "with blank" / "demo"

    assert run_demo(out, clips=16, steps=16, workers=1) == 0

    shown = capfd.readouterr().out
    assert "$ vidloom shard" in shown
    for reason in ("not_a_video", "truncated", "no_video_stream", "bad_encoding"):
        assert reason in shown, "a broken file of the corpus is named"
    assert "kill -9" in shown
    assert "equal the uninterrupted run's to the last bit" in shown
    assert (out / "dataset" / "_vidloom" / "manifest.json").is_file()
    whole, other = (
        [json.loads(line) for line in (out / "runs" / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("whole", "killed")
    )
    assert [line["step"] for line in whole] == list(range(1, 17))
    assert other[-1]["step"] >= 5
    assert [line["loss"] for line in other] == [line["loss"] for line in whole[: len(other)]]
    with av.open(str(out / "reconstruction.png")) as container:
        (frame,) = container.decode(video=0)
    assert frame.width > 8 * 96
    assert frame.height > 4 * 3 * 96


def test_foreign_files_are_left_alone(tmp_path, stages):
    stages()
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match="holds files that no demo wrote"):
        run_demo(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_second_demo_starts_anew_in_the_same_folder(tmp_path, stages):
    stages(lambda each: (each.bench.out / "runs").mkdir())
    assert run_demo(tmp_path) == 0
    (tmp_path / "runs" / "left").touch()
    (tmp_path / "notes.txt").touch()
    assert run_demo(tmp_path) == 0
    assert not (tmp_path / "runs" / "left").exists()
    assert (tmp_path / "notes.txt").exists()


def test_failing_stage_ends_the_demo_with_its_reason(tmp_path, stages, capsys):
    def falls_short(each):
        raise DemoFailedError("the loss [0.9] did not fall")

    stages(falls_short, lambda each: pytest.fail("a stage after the failed one ran"))
    assert run_demo(tmp_path) == 1
    assert "failed: the loss [0.9] did not fall" in capsys.readouterr().out


def test_failing_command_is_named_with_its_status(tmp_path, stages, capfd):
    stages(lambda each: each.bench.command(["verify", str(each.bench.dataset)]))
    assert run_demo(tmp_path) == 1
    assert "vidloom verify ended with exit status 2; 0 was expected" in capfd.readouterr().out


def test_interrupt_ends_with_status_130(tmp_path, stages, capsys):
    def interrupted(each):
        raise KeyboardInterrupt

    stages(interrupted)
    assert run_demo(tmp_path) == 130
    assert "interrupted" in capsys.readouterr().out


@pytest.mark.parametrize("wrong", [{"clips": 7}, {"steps": 7}, {"workers": 0}])
def test_too_small_numbers_are_refused(tmp_path, wrong):
    with pytest.raises(ValueError, match="at least"):
        run_demo(tmp_path / "demo", **wrong)
    assert not (tmp_path / "demo").exists()


@pytest.mark.parametrize(("losses", "falls"), [([1.0] * 20, False), ([1.0 - 0.04 * n for n in range(20)], True)])
def test_training_must_lower_the_loss_clearly(losses, falls):
    lines = [{"step": n, "loss": loss} for n, loss in enumerate(losses, start=1)]
    assert loss_fall(lines).clear is falls
