"""The loop: resumed from any step it is the run that was never stopped."""

from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path

import pytest
import torch

from tests.support.fake_loader import FakeLoader
from tests.support.ranks import on_ranks
from tests.support.run_config import tiny_config
from train import build, loaders, loop
from train.metrics import read_metrics
from train.parallel import Ranks
from train.step import TrainStep

ALONE = Ranks(0, 1, torch.device("cpu"))
STEPS = 8


def go(config, stop_after=None):
    """Run, with a signal in step ``stop_after`` where that is given; tell whether the run came to its end."""
    with build.prepare(config, ALONE) as run:
        if stop_after is not None:
            take = type(run.step).__call__

            class Signalled(type(run.step)):
                def __call__(self, batch, step, lr):
                    run.stop.asked += step + 1 == stop_after
                    return take(self, batch, step, lr)

            run.step.__class__ = Signalled
        return loop.train(run)


def lines_of(out):
    return [
        {key: value for key, value in line.items() if key not in {"clips_per_s", "data_wait"}}
        for line in read_metrics(out / "metrics.jsonl")
    ]


def weights_of(out, step=STEPS):
    return {path.name: path.read_bytes() for path in (out / f"checkpoints/step-{step:08d}").glob("*.safetensors")}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a run that was never stopped."""
    out = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            loaders, "build_loader", lambda config, state=None: FakeLoader(batch_size=config.batch_size, state=state)
        )
        assert go(tiny_config(out))
    return out


def test_a_run_leaves_lines_checkpoints_and_settings(whole):
    assert [line["step"] for line in lines_of(whole)] == list(range(1, STEPS + 1))
    assert sorted(path.name for path in (whole / "checkpoints").iterdir()) == [
        "latest",
        "step-00000006",
        "step-00000008",
    ]
    assert json.loads((whole / "config.json").read_text()) == tiny_config(whole).as_dict()
    state = json.loads((whole / "checkpoints/step-00000008/state.json").read_text())
    assert (state["step"], state["samples"], state["loader"]["samples"]) == (8, 32, 32)


def test_the_rates_are_the_schedule(whole):
    rates = [line["lr"] for line in lines_of(whole)]
    assert rates[:3] == [0.0, 1e-3, 1e-3]
    assert rates[3:] == sorted(rates[3:], reverse=True)


@pytest.mark.parametrize("stop_after", range(1, STEPS))
def test_stopped_after_any_step_it_goes_on_to_the_last_bit(fake, whole, tmp_path, stop_after):
    config = tiny_config(tmp_path)
    assert go(config, stop_after) is False
    assert fake[0].closed
    saved = json.loads((tmp_path / f"checkpoints/step-{stop_after:08d}/state.json").read_text())
    assert saved["samples"] == saved["loader"]["samples"] == 4 * stop_after
    assert go(config) is True
    assert lines_of(tmp_path) == lines_of(whole)
    assert weights_of(tmp_path) == weights_of(whole)


def go_with(config, **trouble):
    """Run with a loader that has some trouble."""
    with build.prepare(config, ALONE) as run:
        for name, value in trouble.items():
            setattr(run.feeds.video, name, value)
        return loop.train(run)


def test_a_crash_goes_back_to_the_last_checkpoint(fake, whole, tmp_path, monkeypatch):
    config = tiny_config(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(TrainStep, "__call__", crashing_at(5, TrainStep.__call__))
        with pytest.raises(RuntimeError, match="crash"):
            go(config)
    assert [line["step"] for line in lines_of(tmp_path)] == [1, 2, 3, 4, 5]
    assert not (tmp_path / "checkpoints/step-00000005").exists()
    assert go(config)
    assert lines_of(tmp_path) == lines_of(whole)
    assert weights_of(tmp_path) == weights_of(whole)


def crashing_at(last, take):
    def crash(self, batch, step, lr):
        if step == last:
            raise RuntimeError("crash")
        return take(self, batch, step, lr)

    return crash


def goes_on_from(step, config, whole):
    """Check that all whole steps were saved, and that the run goes on from there as if nothing had been."""
    out = Path(config.out)
    assert [line["step"] for line in lines_of(out)] == list(range(1, step + 1))
    assert (out / f"checkpoints/step-{step:08d}/state.json").exists()
    assert go(config)
    assert lines_of(out) == lines_of(whole)
    assert weights_of(out) == weights_of(whole)


def test_data_that_fail_end_the_run_after_a_checkpoint(fake, whole, tmp_path):
    config = tiny_config(tmp_path)
    with pytest.raises(ValueError, match="shard 00007 is damaged"):
        go_with(config, fails_at=20)
    goes_on_from(5, config, whole)


def test_an_evaluation_that_fails_ends_the_run_after_a_checkpoint(fake, whole, tmp_path, monkeypatch):
    config = tiny_config(tmp_path, data__val="val", train__eval_every=5)
    monkeypatch.setattr(build, "require_validation", lambda _config: None)

    def fail(*_, **__):
        raise ValueError("none of the 3 samples could be used")

    with monkeypatch.context() as patch:
        patch.setattr(loop, "evaluate", fail)
        with pytest.raises(ValueError, match="none of the 3 samples"):
            go(config)
    goes_on_from(5, tiny_config(tmp_path), whole)


def test_a_checkpoint_is_taken_before_the_evaluation_of_its_step(fake, tmp_path, monkeypatch):
    monkeypatch.setattr(build, "require_validation", lambda _config: None)
    done = []
    monkeypatch.setattr(loop, "evaluate", lambda *_, **__: done.append("evaluated") or {})
    monkeypatch.setattr(build.Checkpoints, "save", lambda *_: done.append("saved"))
    monkeypatch.setattr(loop, "export", lambda _run: None)
    go(tiny_config(tmp_path, data__val="val", train__eval_every=8, train__checkpoint_every=8))
    assert done == ["saved", "evaluated"]


def test_a_signal_ends_a_wait_for_data_that_do_not_come(fake, whole, tmp_path):
    config = tiny_config(tmp_path)

    def hang():
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()
        threading.Event().wait(20)
        raise AssertionError("the signal did not end the wait")

    assert go_with(config, hangs_at=20, hang=hang) is False
    goes_on_from(5, config, whole)


def test_a_signal_wins_over_data_that_fail(fake, whole, tmp_path, caplog):
    config = tiny_config(tmp_path)
    with build.prepare(config, ALONE) as run:
        run.feeds.video.hangs_at, run.feeds.video.hang = 20, lambda: setattr(run.stop, "asked", 1)
        assert loop.train(run) is False
    assert "it could not have gone on: waited in vain for shard 00007" in caplog.text
    goes_on_from(5, config, whole)


def _two_ranks(ranks, out, trouble):
    """Run two ranks of which the second has the trouble; return how it ended and the checkpoints that there are."""
    config = tiny_config(out)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loaders, "build_loader", lambda told, state=None: FakeLoader(**vars_of(told), state=state))
        with build.prepare(config, ranks) as run:
            if not ranks.first:
                run.feeds.video.fails_at = 20
            elif trouble == "stopped":
                run.feeds.video.hangs_at, run.feeds.video.hang = 20, lambda: signal.raise_signal(signal.SIGTERM)
            try:
                end = str(loop.train(run))
            except (OSError, ValueError) as error:
                end = f"{type(error).__name__}: {error}"
        return end, run.saves.steps()


def vars_of(told):
    return {name: getattr(told, name) for name in ("batch_size", "rank", "world")}


@pytest.mark.parametrize(
    ("trouble", "first", "second"),
    [
        ("failed", "PeerFailedError: another rank could not get its next batch", "ValueError: shard 00007 is damaged"),
        ("stopped", "False", "False"),
    ],
)
def test_all_ranks_save_before_one_that_fails_ends_them(tmp_path, trouble, first, second):
    (end, steps), (other_end, _) = on_ranks(2, _two_ranks, tmp_path, tmp_path / "run", trouble)
    assert end.startswith(first)
    assert other_end.startswith(second)
    assert steps[-1] == 5


def test_a_finished_run_does_nothing_more(fake, whole, tmp_path):
    config = tiny_config(tmp_path)
    go(config)
    before = weights_of(tmp_path)
    assert go(config)
    assert weights_of(tmp_path) == before
    assert len(lines_of(tmp_path)) == STEPS
    # More steps go on from there.
    assert go(tiny_config(tmp_path, train__max_steps=STEPS + 2))
    assert [line["step"] for line in lines_of(tmp_path)] == list(range(1, STEPS + 3))


def test_dropout_is_resumed_as_well(fake, tmp_path):
    """Stochastic depth draws random numbers in every step."""
    settings = {"model__drop_path": 0.5, "train__max_steps": 6}
    go(tiny_config(tmp_path / "whole", **settings))
    go(tiny_config(tmp_path / "parts", **settings), stop_after=2)
    go(tiny_config(tmp_path / "parts", **settings))
    assert lines_of(tmp_path / "parts") == lines_of(tmp_path / "whole")
    assert weights_of(tmp_path / "parts", 6) == weights_of(tmp_path / "whole", 6)


def test_out_may_be_an_object_store(fake, whole, object_store):
    url = object_store.make_bucket("runs") + "/one"
    go(tiny_config(url), stop_after=4)
    go(tiny_config(url))
    with build.prepare(tiny_config(url), ALONE) as run:
        assert run.state.step == STEPS
        lines = [json.loads(line) for line in run.saves.store.read("metrics.jsonl").splitlines()]
        assert [line["loss"] for line in lines] == [line["loss"] for line in lines_of(whole)]
        for name, weights in weights_of(whole).items():
            assert run.saves.store.read(f"checkpoints/step-00000008/{name}") == weights
