"""What reading from a store took: requests, bytes, retries and second requests for stragglers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Traffic:
    """What one transfer took.

    ``requests`` were sent and answered, ``bytes`` came in, ``retries`` requests were sent again because an answer was
    an error or broke, and ``hedges`` were sent beside one that was late; of each pair the slower one was given up.
    """

    requests: int = 0
    bytes: int = 0
    retries: int = 0
    hedges: int = 0

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(
            self.requests + other.requests,
            self.bytes + other.bytes,
            self.retries + other.retries,
            self.hedges + other.hedges,
        )


Watch = Callable[[Traffic], None]
"""Is told of each transfer when it is over, from any thread."""
