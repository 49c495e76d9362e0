"""A worker process: it answers or it is given up, its memory is bounded, it ends with its parent."""

from __future__ import annotations

import multiprocessing
import os
import resource
import time

from tools.corpus.worker import WORKER_MEMORY, _bound_memory, ask


def test_ask_answers_from_another_process_or_not_at_all(capfd):
    assert ask(divmod, 17, 5) == (3, 2)
    assert ask(os._exit, 3) is None
    assert ask(divmod, 1, 0) is None
    assert capfd.readouterr().err == "", "no traceback of another process"


def test_ask_gives_up_a_process_that_is_stuck():
    assert ask(time.sleep, 600, seconds=0.2) is None
    assert not multiprocessing.active_children()


def test_no_bound_is_too_large_to_be_set():
    before = resource.getrlimit(resource.RLIMIT_DATA)
    try:
        _bound_memory(1 << 80)
        assert resource.getrlimit(resource.RLIMIT_DATA)[0] > 1 << 60
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def test_a_question_has_bounded_memory():
    assert ask(resource.getrlimit, resource.RLIMIT_DATA)[0] == WORKER_MEMORY
    assert ask(bytes, 5 << 30) is None
