"""One task at a time beside the program, whose failure is heard of at the next wait."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future


class Background:
    """Runs tasks in a thread that does not keep the process from ending."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._running: Future[None] | None = None
        self._thread: threading.Thread | None = None

    @property
    def busy(self) -> bool:
        """Whether a task is running."""
        return self._running is not None and not self._running.done()

    def start(self, task: Callable[[], None]) -> None:
        """Begin a task once the one before has ended.

        Raises:
            Exception: what the one before has raised; the new one is not begun.
        """
        self.finish()
        future: Future[None] = Future()
        self._thread = threading.Thread(target=_run, args=(task, future), name=self._name, daemon=True)
        self._thread.start()
        self._running = future

    def finish(self) -> None:
        """Wait for the task and for its thread: one that lets go of tensors while the interpreter ends aborts it.

        Raises:
            Exception: what it has raised; once.
        """
        if self._running is None:
            return
        try:
            self._running.result()
        finally:
            # A signal may end the wait before the task has ended: then there still is something to wait for.
            if not self.busy:
                self._running = None
                if self._thread is not None:
                    self._thread.join()


def _run(task: Callable[[], None], future: Future[None]) -> None:
    try:
        task()
    except BaseException as error:  # noqa: BLE001 - it is handed on whole to the thread that waits
        future.set_exception(error)
    else:
        future.set_result(None)
