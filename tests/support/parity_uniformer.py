"""Parity checks of the UniFormerV2 encoder, alone with a head and as the video encoder of the multimodal model."""

from __future__ import annotations

from collections.abc import Callable

from tests.support.parity_harness import Case

CHECKS: dict[str, Callable[[Case], None]] = {}
