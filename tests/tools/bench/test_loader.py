"""The bench of a loader: what it says is what the meter saw, as text and as JSON, and faults are told in one line."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipelines import pixels
from pipelines.settings import LoaderConfig, PackConfig
from shards.store import open_store
from tests.support.clip_datasets import build_clip_dataset
from tools.__main__ import app
from tools.bench.loader import LoaderBench, measure

SETTINGS = ["batch_size=4", "frames=2", "size=32", "lanes=2"]
STEP = 86400.0


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Eight clips, one of which cannot be decoded."""
    folder = tmp_path_factory.mktemp("dataset")
    build_clip_dataset(open_store(folder), tmp_path_factory.mktemp("scratch"), counts=(4, 4), broken={1})
    return str(folder)


def test_the_figures_agree_with_one_another(dataset: str):
    found = measure(LoaderBench(LoaderConfig(dataset, 4, frames=2, size=32, lanes=2), seconds=0.3))
    assert found.clips % 4 == 0
    assert found.clips_per_second == pytest.approx(found.clips / found.seconds)
    assert set(found.stages) == {"disk", "decode", "augment", "copy"}
    assert found.stages["decode"].seconds_per_clip == pytest.approx(
        found.stages["decode"].busy * found.seconds * found.stages["decode"].threads / found.clips
    )
    assert found.stages["disk"].bytes_per_second > 0
    assert set(found.queues) == {"ready", "decoded"}
    assert found.first_batch_seconds > 0


def test_packed_clips_are_measured_too(dataset: str):
    config = LoaderConfig(dataset, 4, frames=2, size=32, lanes=2, packing=PackConfig(2, 16, 8))
    found = measure(LoaderBench(config, seconds=0.1))
    assert found.clips % 4 == 0
    assert found.clips > 0


def test_what_is_slow_is_named_and_what_is_quick_is_not(dataset: str, monkeypatch: pytest.MonkeyPatch):
    decode = pixels.open_clip

    def slow(*args, **kwargs):
        time.sleep(0.1)
        return decode(*args, **kwargs)

    monkeypatch.setattr(pixels, "open_clip", slow)
    config = LoaderConfig(dataset, 4, frames=2, size=32, lanes=2)
    assert measure(LoaderBench(config, seconds=0.5)).waits_for == "decode"


def test_the_consumer_takes_its_step_over_each_batch(dataset: str, monkeypatch: pytest.MonkeyPatch):
    sleep, steps = time.sleep, []
    monkeypatch.setattr(time, "sleep", lambda seconds: steps.append(seconds) if seconds == STEP else sleep(seconds))
    config = LoaderConfig(dataset, 4, frames=2, size=32, lanes=2)
    patient = measure(LoaderBench(config, seconds=0.1, step=STEP))
    assert steps == [STEP] * (patient.clips // 4)
    assert 0 <= patient.data_wait <= 1


def test_the_command_prints_tables_or_json(dataset: str):
    runner = CliRunner()
    told = runner.invoke(app, ["bench", "loader", dataset, *SETTINGS, "--seconds", "0.2"])
    assert told.exit_code == 0
    assert "clips a second" in told.stdout
    assert "decode" in told.stdout
    parsed = runner.invoke(app, ["bench", "loader", dataset, *SETTINGS, "--seconds", "0.2", "--json"])
    assert json.loads(parsed.stdout)["dataset"] == dataset


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["framess=2"], "a loader has no setting 'framess'"),
        (["--seconds", "0"], "seconds is 0.0; take 0.1 or more"),
        (["--step", "-1"], "step is -1.0; take 0.0 or more"),
    ],
)
def test_faults_are_one_line(dataset: str, arguments: list[str], message: str):
    told = CliRunner().invoke(app, ["bench", "loader", dataset, *arguments])
    assert told.exit_code == 2
    assert message in told.stderr
    assert "Traceback" not in told.stderr


def test_what_is_no_dataset_is_refused(tmp_path: Path):
    told = CliRunner().invoke(app, ["bench", "loader", str(tmp_path / "nothing")])
    assert told.exit_code == 2
