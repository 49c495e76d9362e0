"""Handing runs to Slurm: what is asked of the launcher, what is refused, and how a rank of the job starts."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest
from hydra import compose, initialize_config_module

from train import submit
from train.schema import register


@pytest.fixture
def launcher(monkeypatch):
    """Stand-ins for the packages that come with hydra-submitit-launcher; what they were asked for is noted."""
    asked = []
    helpers = ModuleType("submitit.helpers")

    def export(*, set_cuda_visible_devices):
        asked.append(set_cuda_visible_devices)
        monkeypatch.setenv("WORLD_SIZE", "2")

    helpers.TorchDistributedEnvironment = lambda: SimpleNamespace(export=export)
    for name, module in {"hydra_plugins.hydra_submitit_launcher": ModuleType("x"), "submitit.helpers": helpers}.items():
        monkeypatch.setitem(sys.modules, name, module)
    return asked


def test_one_run_goes_to_slurm(launcher):
    assert submit.arguments(["stage=mvm", "out=runs/a"]) == [
        "stage=mvm",
        "out=runs/a",
        "hydra/launcher=slurm",
        "--multirun",
    ]
    named = ["hydra/launcher=submitit_local", "--config-dir=here"]
    assert submit.arguments(named) == [*named, "--multirun"]


def test_runs_of_a_sweep_need_folders_of_their_own(launcher):
    for out in ([], ["out=runs/a"]):
        with pytest.raises(ValueError, match=r"optim\.lr has several values.*give out='runs/\$\{hydra:job\.num\}'"):
            submit.arguments(["optim.lr=1e-4,2e-4", *out])
    for out in ("out='runs/${hydra:job.num}'", "out=a,b"):
        assert submit.arguments(["optim.lr=1e-4,2e-4", out])[-1] == "--multirun"


def test_a_launcher_that_is_not_there_is_one_line(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "hydra_plugins.hydra_submitit_launcher", None)
    monkeypatch.setattr(sys, "argv", ["submit", "stage=mvm"])
    assert submit.main() == 2
    said = capsys.readouterr().err
    assert said == (
        "train: error: a Slurm job is started by hydra-submitit-launcher, which is not here: pip install"
        " hydra-submitit-launcher\n"
    )


def composed(*overrides):
    register()
    with initialize_config_module("train.conf", version_base="1.3"):
        return compose("config", overrides=["data.train=nowhere", *overrides])


def test_a_rank_of_the_job_runs_with_the_settings(launcher, monkeypatch):
    started = []
    monkeypatch.setattr(submit, "start", lambda config: started.append(config) or 0)
    monkeypatch.setattr(submit.signal, "signal", lambda *_: None)
    submit.job(composed("train.seed=5"))
    assert [config.train.seed for config in started] == [5]
    assert launcher == [False]
    with pytest.raises(ValueError, match=r"data\.batch_size=1 over 2 rank"):
        submit.job(composed("data.batch_size=1"))
    monkeypatch.setattr(submit, "start", lambda _: 1)
    with pytest.raises(RuntimeError, match="ended with status 1; the job's log says why"):
        submit.job(composed())
