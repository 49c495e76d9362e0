"""What a machine is and how busy it is, and which versions run on it: what figures mean nothing without."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Final

PACKAGES: Final = ("av", "numpy", "nvidia-dali-cuda130", "pyarrow", "s3fs", "swift", "torch", "vidloom", "webdataset")


def describe_machine() -> dict[str, Any]:
    """Return processor, cores that may be used, bytes of memory, and the operating system."""
    fields = [line.partition(":") for line in _lines("/proc/cpuinfo")]
    model = next((value.strip() for name, _, value in fields if name.strip() == "model name"), platform.machine())
    total = next((line.split()[1] for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), "0")
    return {
        "processor": model,
        "cores": len(os.sched_getaffinity(0)),
        "memory": int(total) * 1024,
        "system": platform.platform(),
    }


def load() -> list[float]:
    """Return the machine's load of the last minute, five minutes and quarter of an hour."""
    return [round(value, 2) for value in os.getloadavg()]


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Return the versions of Python and of packages, those that are installed, and the commit of the checkout."""
    found = {"python": platform.python_version()}
    for name in packages:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    commit = _commit()
    return found | ({"commit": commit} if commit else {})


def _commit() -> str:
    root = Path(__file__).resolve().parents[1]
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"],  # noqa: S607 - whatever git the user has
            cwd=root,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:  # no git
        return ""
    return done.stdout.strip()


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
