"""Ranks: they add up, agree, fail and stop together."""

from __future__ import annotations

import os
import signal

import pytest
import torch

from tests.support.ranks import on_ranks
from train.__main__ import explain
from train.parallel import PeerFailedError, Ranks, StopSignal, Taken, next_together, start_ranks

ALONE = Ranks(0, 1, torch.device("cpu"))


def test_a_run_of_one_needs_no_one():
    with start_ranks("cpu") as ranks:
        assert ranks == ALONE
        assert ranks.first
        assert ranks.add_up(torch.tensor(3)).item() == 3
        assert ranks.worst(2) == 2
        assert ranks.gather("x") == ["x"]
        ranks.wait()
        assert not torch.distributed.is_initialized()


def test_cuda_where_there_is_none_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"train\.device=cuda, but torch sees no CUDA device"), start_ranks("cuda"):
        pass
    with start_ranks("auto") as ranks:
        assert ranks.device.type == "cpu"


def test_a_signal_asks_and_the_third_insists():
    before = signal.getsignal(signal.SIGTERM)
    with StopSignal() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.asked == 1
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.asked == 2
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) == before


def test_the_next_batch_of_one():
    with StopSignal() as stop:
        batches = iter(["a", "b"])
        assert next_together(batches, ALONE, stop) == Taken("a")
        stop.asked = 1
        assert next_together(batches, ALONE, stop) == Taken()
        # A batch that was not asked for was not taken either.
        assert next(batches) == "b"


def _failing():
    yield "a"
    raise ValueError("shard 00003 is damaged")


def test_a_failure_is_handed_on_as_it_is():
    batches = _failing()
    with StopSignal() as stop:
        next_together(batches, ALONE, stop)
        error = next_together(batches, ALONE, stop).error
    assert isinstance(error, ValueError)
    assert str(error) == "shard 00003 is damaged"


def _signalled(times):
    for _ in range(times):
        signal.raise_signal(signal.SIGTERM)
    yield "a"


def test_only_the_first_signal_cuts_a_wait_short():
    with StopSignal() as stop:
        assert next_together(_signalled(1), ALONE, stop) == Taken()
        assert stop.asked == 1
        signal.raise_signal(signal.SIGTERM)  # the repetition of torchrun, say, while a checkpoint is written
        assert stop.asked == 2
    with StopSignal() as stop:
        signal.raise_signal(signal.SIGTERM)  # outside a wait nothing is raised
        assert stop.asked == 1


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        torch.AcceleratorError("CUDA error: an illegal memory access was encountered", 700),
        torch.distributed.DistBackendError("NCCL error: unhandled CUDA error"),
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
    ],
    ids=lambda error: str(error)[:20],
)
def test_this_ranks_own_errors_are_not_blamed_on_others(error):
    with pytest.raises(type(error)) as caught, Ranks(0, 2, torch.device("cpu")).exchanging():
        raise error
    assert caught.value is error


def _left_alone(ranks, where):
    """The second rank leaves before or after the model is wrapped; return what the first one is told."""
    module = torch.nn.Linear(3, 3)
    if where == "backward":
        module = ranks.wrap(module)
    ranks.wait()  # torch may abort a process that leaves in the middle of an exchange
    if not ranks.first:
        return None
    try:
        if where == "wrap":
            ranks.wrap(module)
        with ranks.exchanging():
            module(torch.ones(2, 3)).sum().backward()
    except PeerFailedError as error:
        return explain(error)


@pytest.mark.parametrize("where", ["wrap", "backward"])
def test_a_rank_that_is_left_alone_says_so_in_one_line(where, tmp_path):
    told, _ = on_ranks(2, _left_alone, tmp_path, where)
    assert told.startswith("another rank is gone or out of reach; its own message says why: ")
    assert told.count("another") == told.count("Connection") == 1
    assert "\n" not in told


def _tasks(ranks):
    done = {
        "sum": ranks.add_up(torch.tensor(ranks.rank + 1)).item(),
        "worst": ranks.worst(ranks.rank),
        "gathered": ranks.gather(["key", ranks.rank]),
    }
    ranks.wait()
    with StopSignal() as stop:
        done["together"] = next_together(iter("ab"), ranks, stop).batch
        stop.asked = ranks.rank  # only the second rank hears the signal
        done["stopped"] = next_together(iter("ab"), ranks, stop)
        stop.asked = 0
        batches = iter("abc") if ranks.first else _failing()
        next_together(batches, ranks, stop)
        error = next_together(batches, ranks, stop).error
        done["failure"] = f"{type(error).__name__}: {error}"
    if ranks.first:  # the second rank leaves
        try:
            ranks.worst(0)
        except PeerFailedError as error:
            done["gone"] = str(error)
    return done


def test_two_ranks_act_as_one(tmp_path):
    first, second = on_ranks(2, _tasks, tmp_path)
    for done in (first, second):
        assert (done["sum"], done["worst"], done["together"], done["stopped"]) == (3, 1, "a", Taken())
    assert first["gathered"] == [["key", 0], ["key", 1]]
    assert second["gathered"] == []
    assert first["failure"].startswith("PeerFailedError: another rank could not get its next batch")
    assert second["failure"] == "ValueError: shard 00003 is damaged"
    assert "another rank is gone or out of reach" in first["gone"]
