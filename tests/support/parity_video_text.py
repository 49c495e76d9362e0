"""Parity checks of the whole contrastive and captioning model, on one rank and on several."""

from __future__ import annotations

from collections.abc import Callable

from tests.support.parity_harness import Case

CHECKS: dict[str, Callable[[Case], None]] = {}
