"""Ranks: they add up, agree, fail and stop together."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest
import torch
from torch.multiprocessing import start_processes

from model.contrastive import OneRank, contrastive_loss
from shards.store import open_store
from tests.support.ranks import on_ranks
from train.__main__ import explain
from train.checkpoint import Checkpoints
from train.parallel import (
    STRATEGIES,
    PeerFailedError,
    Ranks,
    StopAskedError,
    StopSignal,
    Taken,
    each_together,
    next_together,
    start_ranks,
)
from train.state import TrainState

ALONE = Ranks(0, 1, torch.device("cpu"))


def test_a_run_of_one_needs_no_one():
    with start_ranks("cpu") as ranks:
        assert ranks == ALONE
        assert ranks.first
        assert ranks.add_up(torch.tensor(3)).item() == 3
        assert ranks.worst(2) == 2
        assert ranks.gather("x") == ["x"]
        assert ranks.exchange() == OneRank()
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


def test_a_pass_that_fails_says_why():
    with StopSignal() as stop:
        assert list(each_together("ab", 2, ALONE, stop)) == ["a", "b"]
        with pytest.raises(ValueError, match="shard 00003 is damaged"):
            list(each_together(_failing(), 2, ALONE, stop))


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


def _pass(ranks, stop):
    """Return how far a pass came in whose second batch the second rank is told to stop."""
    seen = []
    try:
        for batch in each_together("abc", 3, ranks, stop):
            seen.append(batch)
            stop.asked = ranks.rank * (len(seen) == 2)
    except StopAskedError:
        seen.append("stopped")
    return seen


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
        done["passed"] = _pass(ranks, stop)
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
        assert done["passed"] == ["a", "b", "stopped"]
    assert first["gathered"] == [["key", 0], ["key", 1]]
    assert second["gathered"] == []
    assert first["failure"].startswith("PeerFailedError: another rank could not get its next batch")
    assert second["failure"] == "ValueError: shard 00003 is damaged"
    assert "another rank is gone or out of reach" in first["gone"]


def _exchanged(ranks):
    exchange = ranks.exchange()
    x = torch.arange(4.0).view(2, 2).add(10 * ranks.rank).requires_grad_()
    everyone = exchange.gather(x)
    # Rank r makes r + 1 times the weights out of everyone's rows; sums over ranks are 1 + 2 + 3 times the weights.
    weights = torch.arange(float(everyone.numel())).view_as(everyone)
    (everyone * weights * (ranks.rank + 1)).sum().backward()
    shared = torch.tensor(2.0, requires_grad=True)
    (exchange.replicate(shared) * 3 * ranks.rank).backward()
    try:
        exchange.gather(torch.zeros(1 + ranks.rank, 2))
    except ValueError as error:
        told = str(error)
    return {"rows": everyone.detach(), "to_rows": x.grad, "to_shared": float(shared.grad), "told": told}


def test_gradients_flow_through_the_exchange(tmp_path):
    done = on_ranks(3, _exchanged, tmp_path)
    expected = torch.cat([torch.arange(4.0).view(2, 2) + 10 * rank for rank in range(3)])
    for rank, each in enumerate(done):
        assert torch.equal(each["rows"], expected)
        assert torch.equal(each["to_rows"], 6 * torch.arange(12.0).view(6, 2)[2 * rank : 2 * rank + 2])
        assert each["to_shared"] == 3.0
        assert each["told"] == f"rank {rank} has {rank + 1} rows and the ranks have 1 to 3: all must have as many"


def _features():
    generator = torch.Generator().manual_seed(5)
    features = [torch.randn(6, 4, generator=generator, dtype=torch.float64) for _ in range(4)]
    return *features, torch.tensor(1.7, dtype=torch.float64)


def _contrast(ranks, exchange, valid, chunk):
    """Return loss and averaged gradients of two linear towers over this rank's share of six pairs."""
    video, text, *weights = _features()
    leaves = [weight.requires_grad_() for weight in weights]
    share = slice(6 * ranks.rank // ranks.world, 6 * (ranks.rank + 1) // ranks.world)
    towers = (x[share] @ weight.T for x, weight in zip((video, text), leaves, strict=False))
    loss = contrastive_loss(*towers, leaves[2], valid=valid[share], exchange=exchange, chunk=chunk)
    count = ranks.add_up(loss.count.clone()).clamp(min=1)
    (loss.total * ranks.world / count).backward()
    gradients = [ranks.add_up(leaf.grad.clone()) / ranks.world for leaf in leaves]
    return {"loss": ranks.add_up(loss.total.detach().clone()) / count, "gradients": gradients, "own": leaves[2].grad}


def _contrasts(ranks, masks, chunk):
    return [_contrast(ranks, ranks.exchange(), valid, chunk) for valid in masks]


MASKS = torch.tensor([[1, 1, 1, 1, 1, 1], [0, 1, 1, 1, 1, 1], [0, 0, 0, 1, 0, 1], [1, 1, 1, 0, 0, 0], [0] * 6]).bool()


@pytest.mark.parametrize(("world", "chunk"), [(2, 3), (3, 1)])
def test_ranks_contrast_the_global_batch_as_one_process_does(world, chunk, tmp_path):
    """Also with broken pairs spread unevenly, and with none left on one rank or on any."""
    alone = _contrasts(ALONE, MASKS, 256)
    for done in on_ranks(world, _contrasts, tmp_path, MASKS, chunk):
        for ours, expected in zip(done, alone, strict=True):
            torch.testing.assert_close(ours["loss"], expected["loss"], rtol=1e-6, atol=1e-12)
            torch.testing.assert_close(ours["gradients"], expected["gradients"], rtol=1e-6, atol=1e-12)
            torch.testing.assert_close(ours["own"], expected["own"], rtol=1e-6, atol=1e-12)


class _LocalSlice(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, ranks):
        ctx.rows, ctx.ranks = len(x), ranks
        return ranks.exchange().gather(x)

    @staticmethod
    def backward(ctx, grad):
        return grad[ctx.rows * ctx.ranks.rank :][: ctx.rows], None


class _NotReduced(OneRank):
    """A gather whose backward pass keeps this rank's slice only, as is often seen."""

    def gather(self, x):
        return _LocalSlice.apply(x, Ranks(self.rank, self.world, x.device))


def _contrast_not_reduced(ranks):
    return _contrast(ranks, _NotReduced(ranks.rank, ranks.world), MASKS[0], 256)


def test_a_gather_that_does_not_reduce_would_be_noticed(tmp_path):
    alone = _contrast(ALONE, ALONE.exchange(), MASKS[0], 256)
    ours = on_ranks(2, _contrast_not_reduced, tmp_path)[0]
    torch.testing.assert_close(ours["loss"], alone["loss"], rtol=1e-6, atol=0)
    assert (ours["gradients"][0] - alone["gradients"][0]).abs().max() > 1e-2


def _come_and_go(rank, world, port, folder):
    """Wrap both ways, step, save, and note which of gloo's threads there are before the group's end and after it."""
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), RANK=str(rank), WORLD_SIZE=str(world))
    with start_ranks("cpu") as ranks:
        for strategy in STRATEGIES:
            module = ranks.wrap(torch.nn.Linear(3, 3), strategy)
            module(torch.ones(2, 3)).sum().backward()
            with Checkpoints(open_store(folder / strategy), ranks) as saves:
                saves.save(
                    TrainState({}, step=1), {f"model/{name}": each for name, each in module.state_dict().items()}
                )
            del module, saves
        during = _threads_of_gloo()
    (folder / str(rank)).write_text(f"{during > 0} {_threads_of_gloo()}")


def _threads_of_gloo():
    return sum("gloo" in place.read_text() for place in Path("/proc/self/task").glob("*/comm"))


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are listed by Linux only")
def test_no_thread_of_the_group_outlives_it(tmp_path):
    """One that does may abort the process at its end ("terminate called without an active exception")."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    start_processes(_come_and_go, (2, port, tmp_path), nprocs=2, start_method="forkserver")
    assert [(tmp_path / str(rank)).read_text() for rank in range(2)] == ["True 0"] * 2
