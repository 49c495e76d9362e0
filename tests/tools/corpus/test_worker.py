"""A worker process: it answers or it is given up, its memory is bounded, it ends with its parent."""

from __future__ import annotations

import multiprocessing
import os
import resource
import time

from tools.corpus.worker import WORKER_MEMORY, ask


def test_ask_answers_from_another_process_or_not_at_all():
    assert ask(divmod, 17, 5) == (3, 2)
    assert ask(os._exit, 3) is None


def test_ask_gives_up_a_process_that_is_stuck():
    assert ask(time.sleep, 600, seconds=0.2) is None
    assert not multiprocessing.active_children()


def test_a_question_has_bounded_memory():
    assert ask(resource.getrlimit, resource.RLIMIT_DATA)[0] == WORKER_MEMORY
    assert ask(bytes, 5 << 30) is None
