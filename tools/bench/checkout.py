"""Run a checkout's benchmarks from the command line of vidloom."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]


def run_benchmarks(arguments: Sequence[str], root: Path = ROOT) -> int:
    """Run ``python -m benchmarks`` in the checkout that this code lies in; return its exit status.

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
    return subprocess.run(command, cwd=root, check=False).returncode  # noqa: S603 - our own module
