"""Training as a child process: following its metrics, stopping it, and never leaving it behind."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

import pytest

from tools.training_run import RunFailedError, TrainingRun, newest_checkpoint, override, read_lines

STAND_IN = """#!{python}
import json, pathlib, signal, sys, time
told = dict(word.partition("=")[::2] for word in sys.argv[3:])
out = pathlib.Path(told["out"].strip("'"))
print("told", *sys.argv[1:], flush=True)
stop = []
signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
for step in range(1, int(told["steps"]) + 1):
    if stop:
        sys.exit(130)
    with open(out / "metrics.jsonl", "a") as file:
        file.write(json.dumps({{"step": step}}) + "\\n")
    time.sleep(float(told["pause"]))
sys.exit(int(told["status"]))
"""


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Puts a short program in the place of training: it reports ``steps`` steps and leaves with ``status``."""
    script = tmp_path / "python"
    script.write_text(STAND_IN.format(python=sys.executable))
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    return {"steps": 5, "pause": 0, "status": 0}


def test_every_step_is_reported_once_and_in_order(tmp_path, stand_in):
    seen = []
    with TrainingRun(tmp_path / "run", stand_in) as run:
        run.follow(lambda line: seen.append(line["step"]))
        run.finish()
    assert seen == [1, 2, 3, 4, 5]


def test_following_passes_over_steps_that_were_reported_before(tmp_path, stand_in):
    seen = []
    with TrainingRun(tmp_path / "run", stand_in, resume=True) as run:
        run.follow(lambda line: seen.append(line["step"]), after=3)
    assert seen == [4, 5]
    assert "train.resume=true" in (tmp_path / "run" / "train.log").read_text()


@pytest.mark.parametrize(("how", "status"), [(signal.SIGTERM, 130), (signal.SIGKILL, -9)])
def test_run_is_stopped_at_a_step(tmp_path, stand_in, how, status):
    with TrainingRun(tmp_path / "run", stand_in | {"steps": 10_000, "pause": 0.01}) as run:
        run.follow(lambda line: None, until=7)
        assert run.stop(how) == status
    assert 7 <= len(read_lines(tmp_path / "run")) < 10_000


def test_run_does_not_outlive_its_context(tmp_path, stand_in):
    def interrupt(line):
        raise KeyboardInterrupt

    run = TrainingRun(tmp_path / "run", stand_in | {"steps": 10_000, "pause": 0.01})
    with pytest.raises(KeyboardInterrupt), run:
        run.follow(interrupt)
    assert run.stop(signal.SIGTERM) == 130


def test_early_end_is_told_with_the_log(tmp_path, stand_in):
    run = TrainingRun(tmp_path / "run", stand_in)
    with run, pytest.raises(RunFailedError, match=r"ended before step 9; .*\ntold -m train steps=5"):
        run.follow(lambda line: None, until=9)


def test_wrong_exit_status_is_told(tmp_path, stand_in):
    with (
        TrainingRun(tmp_path / "run", stand_in | {"status": 2}) as run,
        pytest.raises(RunFailedError, match="status 2"),
    ):
        run.finish()


def test_half_a_line_is_left_out(tmp_path):
    (tmp_path / "metrics.jsonl").write_text(json.dumps({"step": 1}) + '\n{"step": 2, "lo')
    assert read_lines(tmp_path) == [{"step": 1}]
    assert read_lines(tmp_path / "absent") == []


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3e-3, "k=0.003"),
        (Path("/a/b-1_c.d"), "k=/a/b-1_c.d"),
        ("s3://b/c", "k=s3://b/c"),
        ("/with blank", "k='/with blank'"),
        ("/it's", r"k='/it\'s'"),
        ("/a=b,c", "k='/a=b,c'"),
    ],
)
def test_overrides_are_quoted_where_needed(value, text):
    assert override("k", value) == text


def test_newest_checkpoint_is_the_one_of_the_highest_step(tmp_path):
    with pytest.raises(RunFailedError, match="no checkpoint"):
        newest_checkpoint(tmp_path)
    for name in ("step-00000009", "step-00000010", ".writing-x"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
        (tmp_path / "checkpoints" / name / "state.json").touch()
    (tmp_path / "checkpoints" / "step-00000011").mkdir()
    assert newest_checkpoint(tmp_path).step == 10
