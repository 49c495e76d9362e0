"""What became of a file that is not right."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Repair:
    """What became of one file that is not right: whether it was put back, and what there is to say of it."""

    file: str
    done: bool
    what: str


def put_back(file: str) -> Repair:
    """Return what there is to say of a file that was made again."""
    return Repair(file, done=True, what="made again, byte for byte as it was")
