"""The ranks of a run: how they start, agree, add up, stop and end together."""

from __future__ import annotations

import atexit
import logging
import os
import signal
import warnings
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from inspect import signature
from types import FrameType
from typing import Any, Final, Generic, Self, TypeAlias, TypeVar

import torch
import torch.distributed as dist
import torch.distributed.nn.functional  # before any group is there, see start_ranks
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.distributed.fsdp import FSDPModule
from torch.nn.parallel import DistributedDataParallel

from model.contrastive import Exchange, OneRank
from train.sharding import clip, forget, gathered, shard, total_norm, without_exchange

T = TypeVar("T")
_Context: TypeAlias = Any
"""What torch hands to the passes of a function with a gradient of its own; it has no type for it."""

_log = logging.getLogger(__name__)

STRATEGIES: Final = ("ddp", "fsdp")
"""How weights lie on many ranks: all on each, or cut over them."""

_GO_ON: Final = 0
_FAILED: Final = 1
_STOP: Final = 2
"""Votes on the next step, of which the largest wins: a run that is told to stop does so even if its data fail."""

_ASKS: Final = 2
"""Signals that ask the run to stop in order, for torchrun repeats a terminal's Ctrl-C; one more ends it at once."""


_SYNC_BUFFERS: Final = next(
    name
    for name in ("forward_sync_buffers", "broadcast_buffers")
    if name in signature(DistributedDataParallel).parameters
)
"""What torch calls sending buffers around before each forward pass, which tables that never change do not need."""

_all_gather, _reduce_scatter = (
    getattr(dist, f"{name}_single", None) or getattr(dist, old)
    for name, old in (("all_gather", "all_gather_into_tensor"), ("reduce_scatter", "reduce_scatter_tensor"))
)
"""The exchanges of whole tensors, which torch has renamed."""


class PeerFailedError(ConnectionError):
    """Another rank cannot go on or is gone; it says itself why."""


class StopAskedError(KeyboardInterrupt):
    """A signal came in the middle of a wait, or of an evaluation, that it may cut short."""


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process's place among the processes of the run, and the device that it computes on."""

    rank: int
    world: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this process writes what the run writes once."""
        return self.rank == 0

    def wrap(self, module: nn.Module, strategy: str = "ddp", dtype: torch.dtype = torch.float32) -> nn.Module:
        """Return the module with gradients averaged over ranks in each backward pass, or as it is in a run of one.

        Args:
            module: what is trained; parameters that ask for no gradient take no part.
            strategy: ``ddp``: every rank holds everything. ``fsdp``: the module's own parameters are replaced by parts
                of them, one on each rank, so optimisers and averages of weights are built afterwards.
            dtype: what the passes compute in (see ``train.sharding.shard``).

        Raises:
            ValueError: another strategy.
        """
        if strategy not in STRATEGIES:
            raise ValueError(f"train.strategy={strategy} must be one of {', '.join(STRATEGIES)}")
        if self.world == 1:
            return module
        with _peers():
            if strategy == "fsdp":
                return shard(module, self.device, self.world, dtype)
            settings: dict[str, Any] = {_SYNC_BUFFERS: False, "gradient_as_bucket_view": True}
            # Strides of axes with one entry, as depthwise convolutions have them, are nobody's concern.
            warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
            return DistributedDataParallel(module, **settings)

    def quiet(self, wrapped: nn.Module) -> AbstractContextManager[None]:
        """Return what to run all but the last of a step's passes in: gradients add up and nothing is exchanged."""
        if isinstance(wrapped, DistributedDataParallel):
            return wrapped.no_sync()
        return without_exchange(wrapped) if isinstance(wrapped, FSDPModule) else nullcontext()

    def whole(self, module: nn.Module) -> AbstractContextManager[None]:
        """Return what to use a wrapped module's network in by other ways than the module's own ``forward``.

        All ranks make the same passes inside; nothing is trained there.
        """
        return gathered(module)

    def clip(self, params: Iterable[nn.Parameter], most: float | None = None) -> Tensor:
        """Return the length of the whole gradient, and shorten the gradient to ``most`` where that is set.

        After a backward pass that exchanged it, in a run of one, and with parts on each rank alike.
        """
        listed = [param for param in params if param.grad is not None]
        with self.exchanging():
            norm = total_norm([param.grad for param in listed if param.grad is not None])
        if most is not None:
            clip(listed, most, norm)
        return norm

    def exchanging(self) -> AbstractContextManager[None]:
        """Return what to run a wrapped module's passes in, so that a failure of the other ranks is told as such.

        Errors of this rank's own device or code pass unchanged.
        """
        return _peers() if self.world > 1 else nullcontext()

    def exchange(self) -> Exchange:
        """Return what a loss over the global batch needs of the other ranks."""
        return RanksExchange(self) if self.world > 1 else OneRank()

    def add_up(self, values: Tensor) -> Tensor:
        """Return the sum over ranks; ``values`` takes it too."""
        if self.world > 1:
            with _peers():
                dist.all_reduce(values)
        return values

    def worst(self, vote: int) -> int:
        """Return the largest vote of all ranks."""
        if self.world == 1:
            return vote
        votes = torch.tensor(vote)
        with _peers():
            dist.all_reduce(votes, op=dist.ReduceOp.MAX)
        return int(votes)

    def gather(self, value: T) -> list[T]:
        """Return every rank's value in the order of ranks; ranks other than the first get an empty list."""
        if self.world == 1:
            return [value]
        values: list[Any] | None = [None] * self.world if self.first else None
        with _peers():
            dist.gather_object(value, values)
        return values or []

    def wait(self) -> None:
        """Wait until all ranks have come here."""
        if self.world > 1:
            # The vote is a host tensor; a barrier would take a device from NCCL.
            self.worst(_GO_ON)


@dataclass(frozen=True, slots=True)
class RanksExchange:
    """Collectives that gradients flow through, for losses over the global batch.

    Every rank makes the same calls in the same order, and so do their backward passes.
    """

    ranks: Ranks

    @property
    def rank(self) -> int:
        """This rank's number."""
        return self.ranks.rank

    @property
    def world(self) -> int:
        """How many ranks there are."""
        return self.ranks.world

    def gather(self, x: Tensor) -> Tensor:
        """Return the rows of all ranks in their order; backward sums the gradient over ranks.

        Raises:
            ValueError: ranks have different numbers of rows.
            PeerFailedError: another rank is gone.
        """
        fewest, most = -self.ranks.worst(-len(x)), self.ranks.worst(len(x))
        if fewest != most:
            raise ValueError(
                f"rank {self.rank} has {len(x)} rows and the ranks have {fewest} to {most}: all must have as many"
            )
        return _Gather.apply(x, self.world)  # type: ignore[no-any-return, no-untyped-call] # so in torch

    def replicate(self, x: Tensor) -> Tensor:
        """Return what is the same on every rank; backward averages the gradient over ranks."""
        return _Replicate.apply(x, self.world)  # type: ignore[no-any-return, no-untyped-call] # so in torch


class _Gather(torch.autograd.Function):
    """All ranks' rows, end to end; each rank's gradient is the sum of what all ranks have for its rows."""

    @staticmethod
    def forward(ctx: _Context, x: Tensor, world: int) -> Tensor:
        """Gather."""
        ctx.rows = len(x)
        everyone = x.new_empty(world * len(x), *x.shape[1:])
        with _peers():
            _all_gather(everyone, x.contiguous())
        return everyone

    @staticmethod
    @once_differentiable
    def backward(ctx: _Context, grad: Tensor) -> tuple[Tensor, None]:
        """Add up over ranks and keep this rank's rows."""
        own = grad.new_empty(ctx.rows, *grad.shape[1:])
        with _peers():
            _reduce_scatter(own, grad.contiguous())
        return own, None


class _Replicate(torch.autograd.Function):
    """A value that all ranks share."""

    @staticmethod
    def forward(ctx: _Context, x: Tensor, world: int) -> Tensor:
        """Return the value."""
        ctx.world = world
        return x.view_as(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: _Context, grad: Tensor) -> tuple[Tensor, None]:
        """Average over ranks."""
        mean = grad / ctx.world
        with _peers():
            dist.all_reduce(mean)
        return mean, None


@contextmanager
def _peers() -> Iterator[None]:
    """Name a failure of the others as such; let through what is this rank's own."""
    try:
        yield
    except RuntimeError as error:
        if not _came_from_peers(error):
            raise
        raise PeerFailedError("another rank is gone or out of reach; its own message says why") from error


def _came_from_peers(error: RuntimeError) -> bool:
    """Tell the errors of exchanging with other ranks: gloo's have no class of their own, but name their source file."""
    text = str(error).lower()
    exchange = isinstance(error, dist.DistError) or "gloo" in text or "nccl" in text
    return exchange and "cuda error" not in text


@contextmanager
def start_ranks(device: str) -> Iterator[Ranks]:
    """Join the run that torchrun's environment variables tell of, or be a run of one.

    Tensors of the host travel by gloo, those of a GPU by NCCL. At the end the group is taken down with its threads: a
    thread of gloo that outlives the interpreter may abort the process. torch.distributed.nn.functional, which torch
    imports to wrap a module, would hold the group in default arguments if it were imported after the start.

    Args:
        device: ``cpu``, ``cuda``, or ``auto``: CUDA where there is one.

    Raises:
        ValueError: CUDA is asked for and absent.
    """
    rank, world, local = (int(os.environ.get(name, default)) for name, default in _PLACE.items())
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("train.device=cuda, but torch sees no CUDA device here; give train.device=cpu or auto")
    on_gpu = device != "cpu" and torch.cuda.is_available()
    if on_gpu:
        torch.cuda.set_device(local)
    place = torch.device("cuda", local) if on_gpu else torch.device("cpu")
    if world > 1:
        dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo")
    try:
        yield Ranks(rank, world, place)
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
            forget()
            # What is trained may be in use here still, and is in circles that nothing but this breaks.
            atexit.register(forget)


_PLACE: Final = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}


class StopSignal(AbstractContextManager["StopSignal"]):
    """Hears SIGTERM and SIGINT while it is open, so that a run ends after the step it is in and writes a checkpoint.

    A third signal ends the process at once.
    """

    def __init__(self) -> None:
        self.asked = 0
        self._cut_short = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self.asked += 1
        if self.asked > _ASKS:
            signal.default_int_handler(number, frame)
        # Only the first signal raises, or a second one could break off the checkpoint that the first has led to.
        if self._cut_short and self.asked == 1:
            raise StopAskedError

    @contextmanager
    def cutting_short(self) -> Iterator[None]:
        """Let the first signal raise StopAskedError inside, where a wait may be long and what it brings can be lost."""
        self._cut_short = True
        try:
            yield
        finally:
            self._cut_short = False


@dataclass(frozen=True, slots=True)
class Taken(Generic[T]):
    """What all ranks got together: batches, or an error that all know of, or neither where a rank was told to stop."""

    batch: T | None = None
    error: Exception | None = None


def next_together(batches: Iterator[T], ranks: Ranks, stop: StopSignal) -> Taken[T]:
    """Take the next batch on every rank, or on none; a signal ends this rank's wait for it.

    The error is what the iterator raised, or a PeerFailedError where that of another rank did. A rank that was told to
    stop wins over errors.

    Raises:
        PeerFailedError: another rank is gone, so that nothing can be agreed.
    """
    mine = _take(batches, stop)
    vote = ranks.worst(_STOP if stop.asked else _FAILED if mine.error else _GO_ON)
    if vote == _GO_ON:
        return mine
    if vote == _FAILED:
        elsewhere = PeerFailedError("another rank could not get its next batch; its own message says why")
        return Taken(error=mine.error or elsewhere)
    if mine.error is not None:
        _log.warning("the run stops as it was told to; it could not have gone on: %s", mine.error)
    return Taken()


def each_together(batches: Iterable[T], count: int, ranks: Ranks, stop: StopSignal) -> Iterator[T]:
    """Yield a pass of so many batches, as many on every rank, until a rank is told to stop.

    Raises:
        StopAskedError: one of the ranks was; all of them raise it.
        PeerFailedError: another rank is gone, or could not get its next batch.
    """
    taking = iter(batches)
    for _ in range(count):
        taken = next_together(taking, ranks, stop)
        if taken.error is not None:
            raise taken.error
        if taken.batch is None:
            raise StopAskedError
        yield taken.batch


def _take(batches: Iterator[T], stop: StopSignal) -> Taken[T]:
    if stop.asked:
        return Taken()
    try:
        with stop.cutting_short():
            return Taken(next(batches))
    except StopAskedError:
        return Taken()
    except (OSError, MemoryError, RuntimeError, ValueError) as error:
        return Taken(error=error)
