"""What DALI's error text tells: the line with the reason, and whether a clip, memory or the machine is at fault."""

from __future__ import annotations

import re
from enum import Enum
from typing import Final

_NO_MEMORY: Final = re.compile(
    r"CUDA allocation failed|Can't allocate|out of memory|OUT_OF_MEMORY|bad_alloc", re.IGNORECASE
)
_CUDA_ERROR: Final = re.compile(r"CUDA (?:runtime|driver) API error:? (\w+)")
_VERDICTS: Final = frozenset(
    f"CUDA_ERROR_{name}"
    for name in ("INVALID_VALUE", "INVALID_HANDLE", "INVALID_IMAGE", "INVALID_SOURCE", "NOT_SUPPORTED", "UNKNOWN")
)
"""What NVDEC returns through the driver's API for streams that it cannot decode; the others are the machine's."""
_DECODER: Final = re.compile(r"decoders\.video`|cuvid", re.IGNORECASE)
"""How DALI names the decoder that failed, or the driver's library that it needs."""


class Fault(Enum):
    """Who is to blame for a failed run of DALI."""

    CLIP = "clip"
    MEMORY = "memory"
    MACHINE = "machine"


def fault_of(message: str) -> Fault:
    """Return what a message of DALI blames; only its decoder can blame a clip, and not with the machine's errors."""
    if _NO_MEMORY.search(message):
        return Fault.MEMORY
    of_decoder = _DECODER.search(message) is not None
    return Fault.CLIP if of_decoder and set(_CUDA_ERROR.findall(message)) <= _VERDICTS else Fault.MACHINE


def reason_of(message: str) -> str:
    """Return the line of DALI's long text that says what is wrong."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    told = lines[lines.index("encountered:") + 1 :] if "encountered:" in lines else []
    return (told or lines[-1:] or ["no reason given"])[0]
