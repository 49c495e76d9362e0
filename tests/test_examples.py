"""The examples run as they are shown."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from shards.store import open_store
from tests.support.datasets import build_dataset
from tests.support.video_dataset import build_video_dataset

ROOT = Path(__file__).resolve().parents[1]


def run_example(name, *arguments):
    """Return the lines that an example prints."""
    command = [sys.executable, str(ROOT / "examples" / name), *map(str, arguments)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def test_other_readers_read_our_shards(tmp_path):
    build_dataset(open_store(tmp_path / "set"), tmp_path / "scratch")
    lines = run_example("read_shards.py", tmp_path / "set")
    assert len(lines) == len(list((tmp_path / "set").glob("*.tar"))) > 0
    assert all(line.endswith("the readers agree") for line in lines)


TRAINING = """
import runpy, sys
from pathlib import Path
sys.path.insert(0, "examples")
folder = Path(sys.argv[1])
names, sys.argv[1:] = sys.argv[2:], [str(folder / "set"), "1"]
runpy.run_path("examples/train_video_text.py", run_name="__main__")
print("== loops")
import train_lightning, train_plain
for steps in (2, 4):
    train_plain.main(str(folder / "set"), folder / "new" / "plain.pt", steps)
for steps in (1, 4):
    train_lightning.main(str(folder / "set"), folder / "lightning", steps)
print("== usage")
for name in names:
    sys.argv[1:] = []
    try:
        runpy.run_path(f"examples/{name}.py", run_name="__main__")
    except SystemExit as ended:
        print([word.strip("`") for word in str(ended.code).splitlines()[2].replace("]", " ").split()[2:4]])
"""


NAMES = ("train_video_text", "train_lightning", "train_plain")
NO_LIGHTNING = importlib.util.find_spec("pytorch_lightning") is None


@pytest.fixture(scope="module")
def training(tmp_path_factory):
    """What all examples that train print, run in one process, for starting one takes longest; and how it ended."""
    folder = tmp_path_factory.mktemp("training")
    build_video_dataset(folder / "set", folder / "scratch")
    command = [sys.executable, "-c", TRAINING, str(folder), *NAMES]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=240, cwd=ROOT)


def test_a_video_text_model_is_trained_measured_and_writes(training):
    lines = training.stdout.partition("== loops")[0].splitlines()
    expected = [*("5.6", "step", "text"), *("written:", "given:") * 2]
    assert [line.split()[0] for line in lines] == expected, training.stderr


@pytest.mark.skipif(NO_LIGHTNING, reason="pytorch_lightning is not installed")
def test_loops_of_ones_own_go_on_where_they_stopped(training):
    """One loop stops after two steps, the other, of Lightning, after one: where both say the same, both went on."""
    assert training.returncode == 0, training.stdout + training.stderr
    printed = training.stdout.partition("== loops")[2].partition("== usage")[0]
    steps = [line for line in printed.splitlines() if line.startswith("step ")]
    assert [line.split()[1] for line in steps] == ["1", "2", "3", "4"] * 2
    assert steps[:4] == steps[4:]


@pytest.mark.skipif(NO_LIGHTNING, reason="pytorch_lightning is not installed")
def test_an_example_that_is_given_nothing_says_what_it_takes(training):
    told = training.stdout.partition("== usage")[2].split("\n")[1:4]
    assert told == [f"['examples/{name}.py', 'DATASET']" for name in NAMES]
