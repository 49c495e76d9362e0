"""Ranks: they add up, agree, fail and stop together."""

from __future__ import annotations

import os
import signal

import pytest
import torch

from tests.support.ranks import on_ranks
from train.parallel import PeerFailedError, Ranks, StopSignal, next_together, start_ranks

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
        assert next_together(batches, ALONE, stop) == "a"
        stop.asked = 1
        assert next_together(batches, ALONE, stop) is None
        # A batch that was not asked for was not taken either.
        assert next(batches) == "b"


def _failing():
    yield "a"
    raise ValueError("shard 00003 is damaged")


def test_a_failure_is_raised_as_it_is():
    batches = _failing()
    with StopSignal() as stop:
        next_together(batches, ALONE, stop)
        with pytest.raises(ValueError, match="shard 00003 is damaged"):
            next_together(batches, ALONE, stop)


def _tasks(ranks):
    done = {
        "sum": ranks.add_up(torch.tensor(ranks.rank + 1)).item(),
        "worst": ranks.worst(ranks.rank),
        "gathered": ranks.gather(["key", ranks.rank]),
    }
    ranks.wait()
    with StopSignal() as stop:
        done["together"] = next_together(iter("ab"), ranks, stop)
        stop.asked = ranks.rank  # only the second rank hears the signal
        done["stopped"] = next_together(iter("ab"), ranks, stop)
        stop.asked = 0
        try:
            batches = iter("a") if ranks.first else _failing()
            next_together(batches, ranks, stop)
            batches = iter("a") if ranks.first else batches
            next_together(batches, ranks, stop)
        except (PeerFailedError, ValueError) as error:
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
        assert (done["sum"], done["worst"], done["together"], done["stopped"]) == (3, 1, "a", None)
    assert first["gathered"] == [["key", 0], ["key", 1]]
    assert second["gathered"] == []
    assert first["failure"].startswith("PeerFailedError: another rank could not get its next batch")
    assert second["failure"] == "ValueError: shard 00003 is damaged"
    assert "another rank is gone or out of reach" in first["gone"]
