"""Run a checkout's benchmarks from the command line of vidloom."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]


def run_benchmarks(arguments: Sequence[str], root: Path = ROOT) -> int:
    """Run ``python -m benchmarks`` in the checkout that this code lies in; return its exit status.

    It has a group of processes of its own, so that Ctrl-C reaches this process alone. That hands it on once, and waits
    until the running benchmark's servers, processes and folders are gone.

    Args:
        arguments: what it is given; paths in it are to be absolute.
        root: the checkout.

    Raises:
        ValueError: this is no checkout.
    """
    if not (root / "benchmarks" / "__main__.py").is_file():
        raise ValueError(
            f"{root} has no benchmarks: they come with a checkout of the source, not with the installed package; "
            "run this command in an environment where a checkout was installed with pip install --editable"
        )
    command = [sys.executable, "-m", "benchmarks", *arguments]
    with subprocess.Popen(command, cwd=root, process_group=0) as process:  # noqa: S603 - our own module
        try:
            return process.wait()
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)
            return process.wait()
