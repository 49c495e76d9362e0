"""The five package names lead into this checkout, and no other distribution brings one of them."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.file_map import PACKAGES, ROOT


@pytest.mark.parametrize("name", PACKAGES)
def test_name_resolves_inside_the_checkout(name):
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert Path(spec.origin) == ROOT / name / "__init__.py"


def test_names_resolve_inside_the_checkout_from_elsewhere(tmp_path):
    program = f"import importlib.util as u; print(*[u.find_spec(n).origin for n in {PACKAGES!r}], sep='\\n')"
    answer = subprocess.run(
        [sys.executable, "-P", "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert answer.stdout.splitlines() == [str(ROOT / name / "__init__.py") for name in PACKAGES]


@pytest.mark.parametrize("name", PACKAGES)
def test_no_other_distribution_brings_the_name(name):
    assert set(importlib.metadata.packages_distributions().get(name, [])) == {"vidloom"}


def test_console_script_is_the_door():
    scripts = importlib.metadata.entry_points(group="console_scripts", name="vidloom")
    assert {script.value for script in scripts} == {"tools.__main__:main"}
