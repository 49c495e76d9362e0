"""The runner: what is measured, absent, failed or too slow is told as that, and nothing is lost on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest

from benchmarks import __main__ as door
from benchmarks import runner
from benchmarks.catalogue import BENCHMARKS, FIGURES, PEER, REFERENCE, Benchmark, chosen
from benchmarks.figures import Budget, Figure
from benchmarks.machine import commit_of, describe_machine, peer_versions, versions
from benchmarks.results_table import render
from benchmarks.runner import ROOT, Settings, run_all, run_one

TOY = """
import argparse, json, os, pathlib, sys, time
parser = argparse.ArgumentParser()
parser.add_argument("do")
parser.add_argument("--json", type=pathlib.Path)
parser.add_argument("--peer-python")
given = parser.parse_args()
print("without video2dataset: nobody named it")
if given.do == "absent":
    print("no object store: nothing to compare with")
    sys.exit(69)
if given.do == "die":
    raise RuntimeError("it broke")
if given.do == "sleep":
    pathlib.Path(str(given.json) + ".pid").write_text(str(os.getpid()))
    time.sleep(60)
found = {"values": [1.0, 3.0, 2.0], "threads": os.environ["OMP_NUM_THREADS"], "peer": given.peer_python}
given.json.write_text(json.dumps(found))
"""


def toy(do, *, takes=(), quick="work"):
    return Benchmark(
        "a toy",
        lambda found: iter([Figure("speed", found["all"]["values"], "x", Budget(least=2.0))]),
        {"all": do},
        {"all": quick},
        takes=takes,
    )


@pytest.fixture
def toys(tmp_path, monkeypatch):
    """A checkout whose only benchmark does as it is told."""
    (tmp_path / "checkout/benchmarks").mkdir(parents=True)
    (tmp_path / "checkout/benchmarks/toy.py").write_text(TOY)
    monkeypatch.setattr(runner, "ROOT", tmp_path / "checkout")
    out = tmp_path / "out"
    out.mkdir()
    return out


def test_what_is_measured_stands_in_json_and_table(toys):
    results = run_all({"toy": toy("work", takes=(PEER,))}, Settings(toys, compared={PEER: "/python", "--other": "no"}))
    assert json.loads((toys / "results.json").read_text()) == results
    (one,) = results["benchmarks"]
    assert one["status"] == "measured"
    assert one["figures"][0] == {
        "name": "speed",
        "unit": "x",
        "median": 2.0,
        "range": [1.0, 3.0],
        "values": 3,
        "budget": "at least 2",
        "holds": True,
    }
    assert one["raw"]["all"]["peer"] == "/python"
    assert one["raw"]["all"]["threads"] == str(len(os.sched_getaffinity(0)))
    assert one["notes"] == ["without video2dataset: nobody named it"]
    table = (toys / "results.md").read_text()
    assert "| toy | speed | 2 x | 1 to 3 | at least 2 | yes |" in table
    assert "- toy: without video2dataset" in table
    assert not list(toys.glob("*.part"))


@pytest.mark.parametrize(
    ("do", "status", "note"),
    [
        ("absent", "absent", "no object store: nothing to compare with"),
        ("die", "failed", "ended with status 1: RuntimeError: it broke"),
        ("work --misspelt", "failed", "ended with status 2: toy.py: error: unrecognized arguments: --misspelt"),
    ],
)
def test_what_cannot_run_is_told(toys, do, status, note):
    found = run_one("toy", toy(do), Settings(toys))
    assert (found["status"], found["notes"], found["figures"]) == (status, [note], [])


def test_a_run_that_is_absent_leaves_the_others(toys):
    some = Benchmark(
        "a toy",
        lambda found: iter([Figure(name, each["values"]) for name, each in found.items()]),
        {"there": "work", "gone": "absent"},
        {},
    )
    found = run_one("toy", some, Settings(toys))
    assert found["status"] == "measured"
    assert [each["name"] for each in found["figures"]] == ["there"]
    assert "no object store: nothing to compare with" in found["notes"]
    assert found["cpu seconds"] >= 0


def test_figures_that_nobody_can_read_are_told(toys):
    odd = Benchmark("odd", lambda found: iter([Figure("speed", found["all"]["nothing"])]), {"all": "work"}, {})
    found = run_one("toy", odd, Settings(toys))
    assert found["status"] == "failed"
    assert "cannot be read: KeyError('nothing')" in found["notes"][0]


def test_a_run_beyond_its_limit_is_ended(toys, monkeypatch):
    monkeypatch.setattr(runner, "_PATIENCE_SECONDS", 5.0)
    found = run_one("toy", toy("sleep"), Settings(toys, limit=1.5))
    assert found["status"] == "failed"
    assert "longer than its limit" in found["notes"][0]
    pid = toys / "toy-all.json.pid"
    if pid.exists():  # on a slow machine it may not have come so far
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid.read_text()), 0)


def test_an_old_file_of_figures_is_not_taken_for_new(toys):
    (toys / "toy-all.json").write_text('{"values": [9]}')
    assert run_one("toy", toy("die"), Settings(toys))["raw"] == {}


def test_quick_takes_the_quick_sizes(toys):
    found = run_one("toy", toy("die", quick="work"), Settings(toys, quick=True))
    assert found["status"] == "measured"
    assert found["figures"][0]["holds"] is None


def test_signals_are_spelt():
    assert runner._spell(-signal.SIGKILL) == "was ended by SIGKILL"


def results_of(*statuses):
    part = {"title": "", "notes": [], "figures": [], "raw": {}, "seconds": 90.0, "cpu seconds": 75.2}
    return {
        "benchmarks": [{**part, "name": str(n), "status": status} for n, status in enumerate(statuses)],
        "machine": describe_machine(),
        "versions": {},
        "peers": {"webdataset": "1.0"},
        "date": "today",
        "quick": True,
        "load before": [0.0],
        "load after": [0.0],
    }


@pytest.mark.parametrize(("statuses", "expected"), [(("measured", "absent"), 0), (("absent", "failed"), 1)])
def test_the_exit_status_tells_failures_alone(statuses, expected, monkeypatch, tmp_path, capsys):
    seen, asked = {}, []

    def run(each, settings):
        seen.update(each)
        asked.append(settings)
        return results_of(*statuses)

    monkeypatch.delenv("VIDLOOM_PEER_PYTHON", raising=False)
    monkeypatch.delenv("VIDLOOM_REFERENCE_DIR", raising=False)
    monkeypatch.setattr(door, "run_all", run)
    monkeypatch.setattr(door.os, "sched_setaffinity", lambda pid, cores: seen.update(cores=cores))
    (tmp_path / "code").mkdir()
    arguments = ["resume", "decode", "--out", str(tmp_path), "--reference", f"{tmp_path}/code", "--cores", "1"]
    assert door.main(arguments) == expected
    assert list(seen) == ["decode", "resume", "cores"] or list(seen) == ["cores", "decode", "resume"]
    assert len(seen["cores"]) == 1
    assert asked[0].compared == {REFERENCE: f"{tmp_path}/code", FIGURES: str(tmp_path)}
    assert "figures mean nothing" in capsys.readouterr().out


def test_an_interruption_is_one_line(monkeypatch, tmp_path, capsys):
    def interrupted(benchmarks, settings):
        raise KeyboardInterrupt

    monkeypatch.setattr(door, "run_all", interrupted)
    monkeypatch.setattr(door.os, "sched_setaffinity", lambda pid, cores: None)
    assert door.main(["resume", "--out", str(tmp_path)]) == 130
    assert str(tmp_path) in capsys.readouterr().err


def test_a_wrong_name_is_told_with_those_there_are(capsys):
    assert door.main(["decoding"]) == 2
    assert (said := capsys.readouterr().err).startswith("vidloom: error: there is no benchmark 'decoding'")
    assert "decode" in said


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["probe", "--peer-python", "{}/no/python"], "there is no interpreter {}/no/python"),
        (["model_step", "--reference", "{}/no"], "there is no folder {}/no"),
        (["resume", "--out", "{}/file"], "File exists"),
    ],
)
def test_what_is_named_and_is_not_there_is_told_before_anything_runs(given, said, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(door, "run_all", lambda *_: pytest.fail("it ran"))
    assert door.main(["--out", str(tmp_path / "out"), *(each.format(tmp_path) for each in given)]) == 2
    assert (told := capsys.readouterr().err).startswith("vidloom: error: ")
    assert said.format(tmp_path) in told


@pytest.mark.parametrize("given", [["--cores", "0"], ["--limit", "-1"], ["--limit", "nan"]])
def test_wrong_amounts_are_told(given, capsys):
    with pytest.raises(SystemExit) as raised:
        door.main(["resume", *given])
    assert raised.value.code == 2
    assert "or more" in (said := capsys.readouterr().err) or "above 0" in said


def test_a_second_interruption_leaves_nothing_running(monkeypatch):
    """Whoever waits for a run to tidy up may have enough of it."""
    sent = []

    def wait(_):
        raise KeyboardInterrupt

    process = types.SimpleNamespace(pid=7, poll=lambda: None, wait=wait)
    monkeypatch.setattr(runner, "_tell", lambda pid, number: sent.append(number))
    with pytest.raises(KeyboardInterrupt):
        runner._end(process)
    assert sent == [signal.SIGINT, signal.SIGKILL]


def test_a_request_to_end_is_an_interruption(toys):
    """SIGTERM ends the benchmark that runs, too."""
    code = "import runpy, benchmarks.catalogue as c, benchmarks.runner as r, pathlib, sys\n"
    code += "from tests.benchmarks.test_runner import toy\n"
    code += f"c.BENCHMARKS = {{'toy': toy('sleep')}}; r.ROOT = pathlib.Path({str(runner.ROOT)!r})\n"
    code += (
        f"sys.argv = ['benchmarks', 'toy', '--out', {str(toys)!r}]; runpy.run_module('benchmarks', run_name='__main__')"
    )
    pid = toys / "toy-all.json.pid"
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code], cwd=ROOT, stderr=subprocess.PIPE, text=True
    ) as process:
        while not (pid.exists() and pid.read_text()):
            assert process.poll() is None
            time.sleep(0.02)
        process.terminate()
        assert process.wait(30) == 130
        assert process.stderr.read() == f"interrupted; what was measured is in {toys}\n"
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


def test_every_benchmark_is_in_the_catalogue():
    modules = {path.stem for path in (ROOT / "benchmarks").glob("*.py") if "argparse" in path.read_text()}
    assert modules - {"__main__", "amounts"} == set(BENCHMARKS)
    assert chosen(["all"]) == BENCHMARKS


def test_a_budget_that_does_not_hold_is_seen():
    slow = Figure("time", [3.0, 2.5, 1.0], "x", Budget(most=2.0)).to_json()
    assert slow["holds"] is False
    results = results_of("measured")
    results["benchmarks"][0]["figures"] = [slow, Figure("alone", [1234.5]).to_json()]
    table = render(results)
    assert "| 0 | time | 2.5 x | 1 to 3 | at most 2 | **no** |" in table
    assert "| 0 | alone | 1.23e+03 | | | |" in table
    assert "\nPeers: webdataset 1.0.\n" in table
    assert table.endswith("\nIt took 1.5 minutes; seconds of each, of CPU in brackets: 0 90 (75).\n")


def test_the_machine_is_described():
    machine = describe_machine()
    assert machine["processor"]
    assert machine["cores"] == len(os.sched_getaffinity(0))
    assert machine["memory"] > 1 << 28
    found = versions(("numpy", "no-such-package"))
    assert "numpy" in found
    assert "no-such-package" not in found


def test_peers_are_told_by_their_versions(tmp_path):
    assert peer_versions(sys.executable)["torch"] == versions(("torch",))["torch"]
    assert peer_versions(str(tmp_path / "nothing")) == {}
    assert commit_of(tmp_path / "nothing") == commit_of(Path("/")) == ""
    assert runner._peers({"--reference": str(tmp_path)}) == runner._peers({}) == {}


def test_the_public_code_is_told_by_its_commit(monkeypatch):
    monkeypatch.setattr(runner, "commit_of", lambda folder: f"that of {folder}")
    assert runner._peers({"--reference": "code"}) == {"InternVideo": "that of code"}


def test_a_file_is_replaced_at_once(tmp_path: Path):
    path = tmp_path / "results.json"
    path.write_text("old")
    began = time.time_ns()
    runner._write(path, "new")
    assert path.read_text() == "new"
    assert path.stat().st_mtime_ns >= began - 10**9
