"""The loop: resumed from any step it is the run that was never stopped."""

from __future__ import annotations

import json

import pytest
import torch

from tests.support.fake_loader import FakeLoader
from tests.support.run_config import tiny_config
from train import build, loop
from train.metrics import read_metrics
from train.parallel import Ranks

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
    return {
        name: (out / f"checkpoints/step-{step:08d}" / name).read_bytes()
        for name in ("model.safetensors", "optim.safetensors")
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a run that was never stopped."""
    out = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            build, "build_loader", lambda config, state=None: FakeLoader(batch_size=config.batch_size, state=state)
        )
        assert go(tiny_config(out))
    return out


def test_a_run_leaves_lines_checkpoints_and_settings(whole):
    assert [line["step"] for line in lines_of(whole)] == list(range(1, STEPS + 1))
    assert sorted(path.name for path in (whole / "checkpoints").iterdir()) == ["step-00000006", "step-00000008"]
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


def test_a_crash_goes_back_to_the_last_checkpoint(fake, whole, tmp_path):
    config = tiny_config(tmp_path)

    def crash():
        with build.prepare(config, ALONE) as run:
            run.loader.fails_at = 20
            loop.train(run)

    with pytest.raises(ValueError, match="shard 00007 is damaged"):
        crash()
    assert [line["step"] for line in lines_of(tmp_path)] == [1, 2, 3, 4, 5]
    assert not (tmp_path / "checkpoints/step-00000005").exists()
    assert go(config)
    assert lines_of(tmp_path) == lines_of(whole)
    assert weights_of(tmp_path) == weights_of(whole)


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
        assert (
            run.saves.store.read("checkpoints/step-00000008/model.safetensors")
            == weights_of(whole)["model.safetensors"]
        )
