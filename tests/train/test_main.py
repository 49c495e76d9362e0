"""``python -m train`` as a person meets it: usage, exit status, interruption, resumption, several ranks."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from shards.store import open_store
from tests.support.clip_datasets import build_clip_dataset
from tests.support.run_config import made, tiny_config
from tests.support.video_dataset import build_video_dataset
from train.__main__ import DONE, FAILED, INTERRUPTED, USAGE, explain, start
from train.metrics import read_metrics
from train.parallel import PeerFailedError

STEPS = 60
SETTINGS = [
    *("stage=mvm", "model=vit_tiny", "model.width=48", "model.depth=2", "model.heads=2", "model.decoder_width=24"),
    *("model.decoder_depth=1", "model.decoder_heads=2", "data.batch_size=4", "data.frames=4", "data.stride=2"),
    *("data.size=32", "data.mask_ratio=0.5", "optim.lr=1e-3", f"train.max_steps={STEPS}", "train.checkpoint_every=8"),
    *("train.log_every=1", "train.device=cpu"),
]
PYTHON = [sys.executable, "-m", "train"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "train"]
ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in {"HYDRA_FULL_ERROR", "RANK"}}
ENVIRONMENT |= {"OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Twenty videos in four shards; one cannot be decoded."""
    folder = tmp_path_factory.mktemp("videos")
    build_video_dataset(folder / "set", folder / "scratch", broken={3})
    return folder / "set"


def begin(*arguments, program=PYTHON, cwd=None):
    return subprocess.Popen(
        [*program, *arguments], cwd=cwd, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finish(process):
    """Wait for the end; return the exit status and what was said."""
    said, _ = process.communicate(timeout=120)
    return process.returncode, said


def stop_after(process, out, steps, how):
    """Send a signal once a run has reported some steps and written its first checkpoint; return its end."""
    while len(steps_of(out)) < steps or not any(out.glob("checkpoints/step-*/state.json")):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.005)
    process.send_signal(how)
    return finish(process)


def steps_of(out):
    path = out / "metrics.jsonl"
    return path.read_bytes().splitlines() if path.exists() else []


def told(out, dataset, *more):
    return [*SETTINGS, f"data.train={dataset}", f"out={out}", *more]


def facts(out):
    """What must be the same however the run was cut up."""
    return [
        {key: line[key] for key in ("step", "keys_sha", "loss", "grad_norm", "lr", "drops")} for line in _lines(out)
    ]


def _lines(out):
    return read_metrics(out / "metrics.jsonl")


@pytest.fixture(scope="module")
def whole(dataset, tmp_path_factory):
    """The folder of a run in one piece."""
    here = tmp_path_factory.mktemp("whole")
    status, said = finish(begin(*told("run", dataset), cwd=here))
    assert status == DONE, said
    assert f"done at step {STEPS} of {STEPS}" in said
    assert "mvm: " in said
    return here / "run"


def test_the_run_is_whole_and_leaves_nothing_elsewhere(whole):
    lines = _lines(whole)
    assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
    assert 0 < sum(line["drops"] for line in lines) <= STEPS * 4 // 20 + 1
    drops = (whole / "drops/rank-00000.jsonl").read_text().splitlines()
    assert len(drops) == sum(line["drops"] for line in lines)
    assert all('"000000003_00000"' in drop for drop in drops)
    assert [path.name for path in whole.parent.iterdir()] == ["run"]


@pytest.mark.slow
def test_killed_resumed_terminated_resumed_it_is_the_same_run(whole, dataset, tmp_path, caplog):
    status, _ = stop_after(begin(*told(tmp_path, dataset)), tmp_path, 12, signal.SIGKILL)
    assert status == -signal.SIGKILL
    seen = len(steps_of(tmp_path))
    assert 12 <= seen < STEPS
    status, said = stop_after(begin(*told(tmp_path, dataset)), tmp_path, seen + 8, signal.SIGTERM)
    assert status == INTERRUPTED, said
    assert re.search(r"going on from .*/step-000000(08|16|24|32|40)", said)
    stopped = int(re.search(r"stopped at step (\d+)", said)[1])
    assert (tmp_path / f"checkpoints/step-{stopped:08d}/state.json").exists()
    assert stopped < STEPS
    caplog.set_level("INFO")
    assert start(made(*told(tmp_path, dataset))) == DONE
    assert f"going on from {tmp_path}/checkpoints/step-{stopped:08d}" in caplog.text
    assert facts(tmp_path) == facts(whole)
    for name in ("model", "optim"):
        place = f"checkpoints/step-{STEPS:08d}/{name}.safetensors"
        assert (tmp_path / place).read_bytes() == (whole / place).read_bytes()


@pytest.mark.slow
def test_two_ranks_then_one_are_the_same_run(whole, dataset, tmp_path):
    two = begin(*told(tmp_path, dataset), program=TORCHRUN)
    status, said = stop_after(two, tmp_path, 20, signal.SIGTERM)
    assert status != DONE
    stopped = int(re.search(r"stopped at step (\d+)", said)[1])
    assert 20 <= stopped < STEPS
    assert "Traceback" not in said.partition("torch/distributed")[0]
    assert (tmp_path / f"checkpoints/step-{stopped:08d}/state.json").exists()
    assert start(made(*told(tmp_path, dataset, "train.accumulate=2", "data.workers=0"))) == DONE
    for mine, theirs in zip(facts(tmp_path), facts(whole), strict=True):
        assert mine | {"loss": 0, "grad_norm": 0} == theirs | {"loss": 0, "grad_norm": 0}
        assert mine["loss"] == pytest.approx(theirs["loss"], rel=1e-4)
        assert mine["grad_norm"] == pytest.approx(theirs["grad_norm"], rel=1e-3)


WRONG = [
    ([], "nothing says data.train: add data.train=..."),
    (["data.train=x", "data.sizee=3"], "there is no setting data.sizee; did you mean data.size?"),
    (["data.train=x", "+data.foo=3"], "there is no setting data.foo"),
    (["data.train=x", "optim.lr=fast"], "optim.lr=fast: Value 'fast' of type 'str' could not be converted"),
    (["data.train=x", "train.seed=1.5"], "Value '1.5' of type 'float' could not be converted to Integer"),
    (["data.train=x", "optim.lr=[1"], "cannot read optim.lr=[1"),
    (
        ["data.train=x", "model=vit_x"],
        "Could not find 'model/vit_x'; Available options in 'model': coordination_tiny",
    ),
    (["data.train=x", "optim.lrr=1"], "there is no setting optim.lrr; did you mean optim.lr?"),
    (["data.train=x", "stage=cma"], "stage=cma needs data.label"),
    (["data.train=x", "data.batch_size=0"], "data.batch_size=0 must be a whole number"),
    (["data.train=x", "--multirun"], "--multirun is not taken"),
]
"""Command lines, and what is said of them."""

_TRY_ALL = """
import contextlib, io, json, sys, train.__main__ as program
for arguments in json.loads(sys.argv[1]):
    sys.argv[1:] = arguments
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as errors:
        try:
            status = program.main()
        except SystemExit as end:
            status = end.code
    heavy = sorted({"torch", "nvidia.dali", "av"} & set(sys.modules))
    print(json.dumps([status, out.getvalue(), errors.getvalue(), heavy]))
"""


@pytest.fixture(scope="module")
def refusals(tmp_path_factory):
    """How each wrong command line ends, all tried by one process; the folder where it was."""
    folder = tmp_path_factory.mktemp("refused")
    command = [sys.executable, "-c", _TRY_ALL, json.dumps([arguments for arguments, _ in WRONG])]
    done = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return [json.loads(line) for line in done.stdout.splitlines()], folder


@pytest.mark.parametrize("number", range(len(WRONG)), ids=lambda number: WRONG[number][1][:30])
def test_a_wrong_command_line_is_one_line_before_anything_heavy(refusals, number):
    ends, folder = refusals
    status, said, errors, heavy = ends[number]
    assert (status, said, heavy) == (USAGE, "", [])
    assert errors.startswith("train: error: ")
    assert WRONG[number][1] in errors
    assert errors.count("\n") == 1
    assert list(folder.iterdir()) == []


def test_shares_that_are_too_small_are_refused_before_ranks_meet(tmp_path):
    """Eight samples over three ranks: two of them get three, one gets two."""
    arguments = ["data.train=x", "data.batch_size=8", "train.accumulate=3"]
    ends = [
        subprocess.run(
            [*PYTHON, *arguments],
            cwd=tmp_path,
            env=ENVIRONMENT | {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "3"},
            capture_output=True,
            text=True,
            check=False,
        )
        for rank in ("0", "1")
    ]
    assert [end.returncode for end in ends] == [USAGE, USAGE]
    assert ends[0].stderr.startswith("train, rank 0: error: data.batch_size=8 over 3 rank(s) leaves a rank 2 sample(s)")
    assert "train.accumulate=3" in ends[0].stderr
    assert ends[0].stderr.count("\n") == 1
    assert ends[1].stderr == ""
    assert list(tmp_path.iterdir()) == []


def test_help_says_how(tmp_path):
    status, said = finish(begin("--help", cwd=tmp_path))
    assert status == DONE
    for part in (
        "python -m train stage=mvm data.train=DATASET",
        "torchrun",
        "Exit status",
        "vit_tiny",
        "batch_size: 64",
    ):
        assert part in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("module", ["omegaconf", "torch"])
def test_a_signal_while_modules_load_ends_it_without_a_word(tmp_path, dataset, module, how):
    """The module is one of the test's own, which interrupts the program that loads it."""
    (tmp_path / f"{module}.py").write_text(f"import signal, time\nsignal.raise_signal({int(how)})\ntime.sleep(60)\n")
    done = subprocess.run(
        [*PYTHON, *told(tmp_path / "run", dataset)],
        env=ENVIRONMENT | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{Path.cwd()}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (INTERRUPTED, "", "")
    assert not (tmp_path / "run/checkpoints").exists()


def test_tracebacks_are_there_for_who_wants_them(tmp_path):
    done = subprocess.run(
        [*PYTHON, "data.train=x", "data.stride=0"],
        env=ENVIRONMENT | {"HYDRA_FULL_ERROR": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "data.stride=0 must be" in done.stderr


def real_config(out, dataset, **settings):
    return tiny_config(out, **{"data__train": str(dataset), "data__stride": 2, "data__workers": 1, **settings})


def said_by(capsys):
    """Return the one error line."""
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("train: error:")]
    assert len(lines) == 1
    return lines[0]


def test_a_dataset_that_is_none_is_wrong_usage(tmp_path, capsys):
    assert start(real_config(tmp_path / "run", tmp_path)) == USAGE
    assert "is no dataset" in said_by(capsys)


def test_where_credentials_were_found_is_not_logged(tmp_path):
    logger = logging.getLogger("botocore.credentials")
    logger.setLevel(logging.NOTSET)
    assert start(real_config(tmp_path / "run", tmp_path)) == USAGE
    assert logger.level == logging.WARNING


def test_an_empty_dataset_is_wrong_usage(tmp_path, capsys):
    build_clip_dataset(open_store(tmp_path / "set"), tmp_path / "scratch", counts=(0,))
    assert start(real_config(tmp_path / "run", tmp_path / "set")) == USAGE
    assert said_by(capsys).startswith(f"train: error: {tmp_path}/set holds no sample; ")


def test_a_cause_is_told_once():
    cause = ValueError("it is torn\nin two")
    for text, said in [("x: it is torn", "x: it is torn"), ("cannot read x", "cannot read x: it is torn")]:
        error = ValueError(text)
        error.__cause__ = cause
        assert explain(error) == said


def test_a_rank_that_fails_is_no_wrong_usage_of_the_others(tmp_path, monkeypatch, capsys):
    def left_alone(*_):
        raise PeerFailedError("another rank is gone")

    monkeypatch.setattr("train.build.prepare", left_alone)
    assert start(real_config(tmp_path / "run", tmp_path)) == FAILED
    assert said_by(capsys) == "train: error: another rank is gone"


def test_another_dataset_is_refused(dataset, tmp_path, capsys):
    assert start(real_config(tmp_path / "run", dataset, train__max_steps=3)) == DONE
    build_video_dataset(tmp_path / "other", tmp_path / "scratch", clips=8)
    capsys.readouterr()
    assert start(real_config(tmp_path / "run", tmp_path / "other", train__max_steps=5)) == USAGE
    assert "digests" in said_by(capsys)


def test_a_dataset_that_moved_is_the_same(dataset, tmp_path):
    (tmp_path / "link").symlink_to(dataset)
    assert start(real_config(tmp_path / "run", dataset, train__max_steps=3)) == DONE
    assert start(real_config(tmp_path / "run", tmp_path / "link", train__max_steps=5)) == DONE
    assert len(_lines(tmp_path / "run")) == 5


def test_too_many_drops_end_the_run(tmp_path, capsys):
    build_video_dataset(tmp_path / "set", tmp_path / "scratch", clips=8, broken=range(8))
    assert start(real_config(tmp_path / "run", tmp_path / "set", train__max_steps=100)) == FAILED
    assert re.search(r"0000000\d\d_00000", said_by(capsys))
    lines = _lines(tmp_path / "run")
    assert lines
    assert all(line["loss"] is None and line["drops"] == 4 for line in lines)


def test_a_damaged_shard_ends_the_run(tmp_path, capsys):
    build_video_dataset(tmp_path / "set", tmp_path / "scratch", clips=10)
    os.truncate(tmp_path / "set/00001.tar", (tmp_path / "set/00001.tar").stat().st_size - 512)
    assert start(real_config(tmp_path / "run", tmp_path / "set")) == FAILED
    assert "00001.tar" in said_by(capsys)


def test_a_run_from_an_object_store_is_the_same_run(dataset, tmp_path, object_store):
    bucket = object_store.make_bucket("train")
    for path in sorted(Path(dataset).rglob("*")):
        if path.is_file():
            open_store(bucket + "/set").put(path.relative_to(dataset).as_posix(), path.read_bytes())
    assert start(real_config(tmp_path / "local", dataset)) == DONE
    remote = real_config(f"{bucket}/run", f"{bucket}/set", data__cache_dir=str(tmp_path / "cache"))
    assert start(remote) == DONE
    (tmp_path / "metrics.jsonl").write_bytes(open_store(bucket + "/run").read("metrics.jsonl"))
    assert facts(tmp_path) == facts(tmp_path / "local")
