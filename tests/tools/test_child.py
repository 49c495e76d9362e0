"""Child processes end with the block that started them, politely where they listen."""

from __future__ import annotations

import signal
import sys

import pytest

from tools import child
from tools.child import child_process

SLEEPS = "import signal, sys, time; signal.signal(signal.SIGTERM, {}); print(1, flush=True); time.sleep(60)"
LISTENS = SLEEPS.format("lambda *_: sys.exit(130)")
IS_DEAF = SLEEPS.format("signal.SIG_IGN")


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    monkeypatch.setattr(child, "_OWN_TIME", 0.05)
    monkeypatch.setattr(child, "_ASKED_TIME", 1.0)


def started(path, program):
    """Start a program in a context and leave it by an exception once the program has spoken."""
    with path.open("w+b") as output, child_process([sys.executable, "-c", program], output=output) as process:
        while not path.stat().st_size and process.poll() is None:
            pass
        raise RuntimeError(process)


@pytest.mark.parametrize(("program", "status"), [(LISTENS, 130), (IS_DEAF, -signal.SIGKILL)])
def test_child_ends_with_its_block(tmp_path, program, status):
    with pytest.raises(RuntimeError) as raised:
        started(tmp_path / "output", program)
    assert raised.value.args[0].returncode == status


def test_child_that_ends_by_itself_is_left_alone(tmp_path):
    with child_process([sys.executable, "-c", "raise SystemExit(3)"]) as process:
        assert process.wait() == 3
    assert process.returncode == 3


def test_both_streams_go_to_the_output(tmp_path):
    program = "import sys; print('out', flush=True); print('err', file=sys.stderr)"
    with (
        (tmp_path / "log").open("wb") as output,
        child_process([sys.executable, "-c", program], output=output) as process,
    ):
        process.wait()
    assert (tmp_path / "log").read_text() == "out\nerr\n"
