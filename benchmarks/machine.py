"""What a machine is and how busy it is, and which versions run on it: what figures mean nothing without."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Final

PACKAGES: Final = ("av", "numpy", "nvidia-dali-cuda130", "pyarrow", "s3fs", "swift", "torch", "vidloom", "webdataset")

PEERS: Final = ("av", "litdata", "megatron-energon", "mosaicml-streaming", "torch", "video2dataset", "webdataset")
_ASK: Final = """
import json, sys
from importlib import metadata
found = {each.metadata["Name"].lower(): each.version for each in metadata.distributions()}
print(json.dumps({name: found[name] for name in sys.argv[1:] if name in found}))
"""


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
    commit = commit_of(Path(__file__).resolve().parents[1])
    return found | ({"commit": commit} if commit else {})


def peer_versions(interpreter: str) -> dict[str, str]:
    """Return the versions of the peers in an interpreter's environment, none where it cannot be asked."""
    try:
        done = subprocess.run([interpreter, "-c", _ASK, *PEERS], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return {}
    found: dict[str, str] = json.loads(done.stdout)
    return found


def commit_of(checkout: Path) -> str:
    """Return the commit of a checkout, or nothing where git knows of none."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"],  # noqa: S607 - whatever git the user has
            cwd=checkout,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:  # no git, or no such folder
        return ""
    return done.stdout.strip()


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
