"""The pace of asking: pauses that grow between tries, and bodies given up where they come too slowly."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from typing import Final

from shards.web_client import Answer, Manners
from shards.web_errors import WebError

PIECE_BYTES: Final = 256 * 1024
"""Most bytes of a body that are taken at a time."""


def pause(error: WebError, failures: int, until: float, manners: Manners) -> None:
    """Wait before the next try, longer each time and as long as the server asks for; raise where that is no use."""
    if not error.passing:
        raise error
    if error.retry_after > manners.retry_after:
        raise WebError(error.fault, f"{error}, and asks to be left alone for more than {manners.retry_after:g} s")
    longest = min(manners.longest_pause, manners.first_pause * 2 ** (failures - 1))
    seconds = max(error.retry_after, random.uniform(longest / 2, longest))  # noqa: S311 - spreads requests, guards nothing
    if time.monotonic() + seconds > until:
        raise error
    time.sleep(seconds)


def pieces(answer: Answer, left: int | None, until: float, manners: Manners) -> Iterator[bytes]:
    """Yield the next ``left`` bytes of the body (None: all) as they come; raise where they come too slowly."""
    begun, came = time.monotonic(), 0
    while left != 0:
        piece = answer.read(PIECE_BYTES if left is None else min(PIECE_BYTES, left))
        if not piece:
            return
        yield piece
        left = None if left is None else left - len(piece)
        if left == 0:
            return
        came += len(piece)
        now = time.monotonic()
        if now > until:
            raise WebError("too_slow", f"it did not come in {manners.total_seconds:g} s")
        if now - begun > manners.slow_seconds:
            if came < manners.slowest * (now - begun):
                raise WebError("too_slow", f"less than {manners.slowest} bytes of it came a second", passing=True)
            begun, came = now, 0
