"""Read the parity files, or skip the test where their folder is absent."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

ROOT = Path(__file__).resolve().parents[2]


def parity_file(name: str) -> Path:
    """Return the path of a parity file."""
    folder = Path(os.environ.get("VIDLOOM_PARITY_DIR") or ROOT.parent / "shared/reference/parity")
    if not (folder / name).is_file():
        pytest.skip(f"no {name} in {folder}; set VIDLOOM_PARITY_DIR to the folder of parity files")
    return folder / name


def parity_case(case: str) -> dict[str, Any]:
    """Return the JSON of a case."""
    found: dict[str, Any] = json.loads(parity_file(f"{case}.json").read_text())
    return found


def parity_tensors(case: str) -> dict[str, np.ndarray[Any, Any]]:
    """Return the tensors of a case by name."""
    return load_file(parity_file(f"{case}.safetensors"))
