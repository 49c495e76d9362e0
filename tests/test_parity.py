"""Our numbers against the public reference's, case by case, driven by the parity files alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support import (
    parity_captioner,
    parity_data,
    parity_text,
    parity_uniformer,
    parity_video_text,
    parity_videomae,
)
from tests.support.parity_harness import Case, parity_folder, run_check
from tests.support.parity_videomae import videomae_pretrain

CHECKS: dict[str, Callable[[Case], None]] = {
    **parity_videomae.CHECKS,
    **parity_data.CHECKS,
    **parity_uniformer.CHECKS,
    **parity_text.CHECKS,
    **parity_captioner.CHECKS,
    **parity_video_text.CHECKS,
}


def stored_cases() -> list[Any]:
    found = sorted(parity_folder().glob("*.json"))
    if found:
        return [pytest.param(path, id=path.stem) for path in found]
    reason = f"no parity files in {parity_folder()}; set VIDLOOM_PARITY_DIR to their folder"
    return [pytest.param(None, id="absent", marks=pytest.mark.skip(reason=reason))]


@pytest.mark.parametrize("path", stored_cases())
def test_numbers_are_the_references(path):
    case = Case.load(path)
    kind = case.about["kind"]
    assert kind in CHECKS, f"{path.name} is of kind {kind!r}, which nothing here knows: {', '.join(CHECKS)}"
    run_check(CHECKS[kind], case)
    case.require_all_compared()


def test_a_wrong_weight_is_noticed():
    """The comparison itself can fail: a thousandth more in one weight is seen."""
    found = [
        (case, name)
        for case in map(Case.load, sorted(parity_folder().glob("*.json")))
        if case.about["kind"] == "videomae_pretrain" and case.has("output/pred") and not case.raises
        for name in sorted(case.tensors)
        if name.startswith("state_dict/") and name.endswith("decoder.norm.weight")
    ]
    if not found:
        pytest.skip(f"no videomae_pretrain case with output/pred in {parity_folder()}")
    case, name = found[0]
    case.tensors[name] = case.tensors[name] + 1e-3
    with pytest.raises(AssertionError, match="output/pred"):
        videomae_pretrain(case)
