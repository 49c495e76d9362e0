"""The Slurm example, with stand-ins for Slurm's commands: what it starts, and what it does when its time is up."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "examples" / "slurm_train.sh"
SRUN = """
echo "srun $*" >> "$CALLS"
trap 'exit 130' TERM
echo $$ > "$CALLS.pid"
for _ in $(seq "$LASTS"); do sleep 0.05; done
exit "$ENDS"
"""
SCONTROL = """
if [ "$1" = show ]; then printf 'node7\\nnode8\\n'; else echo "scontrol $*" >> "$CALLS"; fi
"""
SCANCEL = """
echo "scancel $*" >> "$CALLS"
kill -TERM "$(cat "$CALLS.pid")"
"""


@pytest.fixture
def slurm(tmp_path):
    """The environment of a job of 2 nodes with 4 GPUs each; calls are noted in a file."""
    for name, text in {"srun": SRUN, "scontrol": SCONTROL, "scancel": SCANCEL}.items():
        command = tmp_path / name
        command.write_text(f"#!/bin/bash{text}")
        command.chmod(0o755)
    job = {"SLURM_JOB_ID": "4711", "SLURM_JOB_NODELIST": "node[7-8]", "SLURM_NNODES": "2", "SLURM_GPUS_ON_NODE": "4"}
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    return os.environ | job | {"PATH": path, "CALLS": str(tmp_path / "calls"), "LASTS": "0", "ENDS": "0"}


def calls(slurm):
    return Path(slurm["CALLS"]).read_text().splitlines()


@pytest.mark.parametrize("status", [0, 1])
def test_it_starts_torchrun_on_all_nodes_and_hands_on_the_status(slurm, status):
    done = subprocess.run(["bash", SCRIPT, "stage=mvm", "out=a b"], env=slurm | {"ENDS": str(status)}, check=False)
    assert done.returncode == status
    (command,) = calls(slurm)
    for part in ("--nnodes 2", "--nproc-per-node 4", "--rdzv-endpoint node7:24711", "-m train stage=mvm out=a b"):
        assert part in command


@pytest.mark.parametrize("how", [signal.SIGUSR1, signal.SIGTERM])
def test_it_stops_the_run_and_goes_back_into_the_queue(slurm, how):
    process = subprocess.Popen(["bash", SCRIPT], env=slurm | {"LASTS": "400"})
    deadline = time.monotonic() + 20
    while not Path(f"{slurm['CALLS']}.pid").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(how)
    assert process.wait(20) == 130
    assert calls(slurm)[1:] == ["scancel --signal=TERM 4711.0", "scontrol requeue 4711"]
