"""Start a program as a child process that never outlives the block that needs it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Final

_OWN_TIME: Final = 3.0
_ASKED_TIME: Final = 60.0
"""Seconds a child has to end by itself (Ctrl-C in a terminal reaches it, too), and once it was asked to."""


@contextmanager
def child_process(command: Sequence[str], *, output: IO[bytes] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command while the context lasts; a child that still runs at its end is asked to stop, then made to.

    Its compute threads sleep while they wait for each other, unless the environment says otherwise: threads that wait
    by spinning made training six times slower where other programs wanted the processors, too.

    Args:
        command: program and arguments; no shell reads them.
        output: where both of its output streams go; None leaves them where ours go.
    """
    streams = {"stdout": output, "stderr": subprocess.STDOUT} if output is not None else {}
    environment = {"OMP_WAIT_POLICY": "PASSIVE"} | os.environ
    process = subprocess.Popen(command, env=environment, **streams)  # type: ignore[call-overload]  # noqa: S603 - no shell reads it
    try:
        yield process
    finally:
        end_child(process)


def end_child(process: subprocess.Popen[bytes]) -> None:
    """Wait a moment for a child to end by itself, then ask it with SIGTERM, then kill it."""
    for step, seconds in ((None, _OWN_TIME), (process.terminate, _ASKED_TIME), (process.kill, None)):
        if process.poll() is not None:
            return
        if step is not None:
            step()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            continue
