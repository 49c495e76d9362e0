"""Run training as a process of its own, follow its metrics, and stop it at a step."""

from __future__ import annotations

import json
import re
import shlex
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tools.child import child_process

METRICS_NAME: Final = "metrics.jsonl"
LOG_NAME: Final = "train.log"
_POLL_SECONDS: Final = 0.05
_GRACE_SECONDS: Final = 60.0
_PLAIN: Final = re.compile(r"[\w./:+,\[\]-]+")

Line = Mapping[str, Any]
"""One line of ``metrics.jsonl``: what a training step reported."""


class RunFailedError(RuntimeError):
    """A training run ended otherwise than it should have; the message holds the end of its log."""


def read_lines(out: Path) -> list[Line]:
    """Return the steps that the run in ``out`` has reported so far; a line that is still being written is left out."""
    path = out / METRICS_NAME
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


@dataclass(frozen=True, slots=True)
class SavedStep:
    """A checkpoint's folder and the step that it was taken after."""

    step: int
    folder: Path


def newest_checkpoint(out: Path) -> SavedStep:
    """Return the newest whole checkpoint of the run in ``out``.

    Raises:
        RunFailedError: there is none.
    """
    found = [path.parent for path in (out / "checkpoints").glob("step-*/state.json")]
    if not found:
        raise RunFailedError(f"the run in {out} has left no checkpoint")
    newest = max(found, key=_step_of)
    return SavedStep(_step_of(newest), newest)


def _step_of(folder: Path) -> int:
    return int(folder.name.removeprefix("step-"))


def override(key: str, value: object) -> str:
    """Return ``key=value`` for the training command, each value quoted where it would be read as syntax."""
    if isinstance(value, list):
        text = f"[{','.join(map(_spell, value))}]"
    elif isinstance(value, Mapping):
        text = "{" + ",".join(f"{name}:{_spell(each)}" for name, each in value.items()) + "}"
    else:
        text = _spell(value)
    return f"{key}={text}"


def _spell(value: object) -> str:
    text = str(value)
    if _PLAIN.fullmatch(text):
        return text
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


class TrainingRun(AbstractContextManager["TrainingRun"]):
    """``python -m train`` as a child process, whose output goes to ``out/train.log``.

    Args:
        out: the run's folder.
        settings: key and value of every override but ``out``.
        resume: whether checkpoints in ``out`` are gone on from.
    """

    def __init__(self, out: Path, settings: Mapping[str, object], *, resume: bool = False) -> None:
        self.out = out
        told = {**settings, "train.resume": str(resume).lower(), "out": out}
        self.command = ["python", "-m", "train", *(override(key, value) for key, value in told.items())]
        out.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            log = stack.enter_context((out / LOG_NAME).open("ab"))
            self._process = stack.enter_context(child_process([sys.executable, *self.command[1:]], output=log))
            self._stack = stack.pop_all()

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def shown(self) -> str:
        """The command as a person types it."""
        return shlex.join(self.command)

    def follow(self, on_line: Callable[[Line], None], *, after: int = 0, until: int | None = None) -> None:
        """Hand every step past ``after`` to ``on_line`` as it is reported, up to ``until`` or the end of the process.

        Raises:
            RunFailedError: the process ended before step ``until``.
        """
        while True:
            ended = self._process.poll() is not None
            for line in read_lines(self.out):
                if line["step"] > after:
                    on_line(line)
                    after = line["step"]
            if until is not None and after >= until:
                return
            if ended:
                break
            time.sleep(_POLL_SECONDS)
        if until is not None:
            raise self._failure(f"ended before step {until}")

    def stop(self, how: signal.Signals) -> int:
        """Send a signal, wait for the end and return the exit status."""
        self._process.send_signal(how)
        return self._process.wait(_GRACE_SECONDS)

    def finish(self, expected: int = 0) -> None:
        """Wait for the end.

        Raises:
            RunFailedError: the exit status is not ``expected``.
        """
        status = self._process.wait()
        if status != expected:
            raise self._failure(f"ended with exit status {status} instead of {expected}")

    def _failure(self, what: str) -> RunFailedError:
        log = (self.out / LOG_NAME).read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return RunFailedError("\n".join([f"the run in {self.out} {what}; the end of its log:", *log[-8:]]))
