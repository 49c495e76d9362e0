"""The exit status by which a benchmark says that what it compares with is not here, which is no failure."""

from __future__ import annotations

from typing import Final

ABSENT: Final = 69
"""None of those by which Python (1) and wrong options (2) end a process, nor of a shell's; ``EX_UNAVAILABLE``."""
