"""DALI itself, loaded when it is first needed."""

from __future__ import annotations

from typing import Any


def dali() -> Any:  # noqa: ANN401 - its types do not hold for what it takes at run time
    """Return the module; it is heavy, and there on Linux alone."""
    import nvidia.dali  # noqa: PLC0415 - see above

    return nvidia.dali
