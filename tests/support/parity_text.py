"""Parity checks of the CLIP text tower and its tokeniser."""

from __future__ import annotations

from collections.abc import Callable

from tests.support.parity_harness import Case

CHECKS: dict[str, Callable[[Case], None]] = {}
