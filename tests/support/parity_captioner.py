"""Parity checks of the caption decoder."""

from __future__ import annotations

from collections.abc import Callable

from tests.support.parity_harness import Case

CHECKS: dict[str, Callable[[Case], None]] = {}
