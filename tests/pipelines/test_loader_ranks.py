"""Real processes: for every number of ranks and threads, from every step, the batches of one uninterrupted rank."""

from __future__ import annotations

import hashlib
from itertools import product
from typing import Any

import pytest
import torch

from pipelines.batch import VideoTextBatch
from pipelines.loader import Loader, LoaderConfig, MaskConfig, TokenConfig, build_loader
from shards.store import open_store
from tests.support.clip_datasets import build_clip_dataset
from tests.support.ranks import on_ranks
from train.parallel import Ranks

WORLDS, WORKERS, STEPS = (1, 2, 4), (1, 4), 5
PAIRS = tuple(product(WORLDS, WORKERS))


def config(source: str, rank: int, world: int, workers: int) -> LoaderConfig:
    return LoaderConfig(
        source,
        batch_size=8,
        seed=5,
        lanes=4,
        window=2,
        frames=2,
        stride=2,
        size=32,
        flip=0.5,
        mask=MaskConfig(ratio=0.75, tubelet=2, patch=8),
        tokens=TokenConfig(vocabulary=600, context=9),
        workers=workers,
        rank=rank,
        world=world,
    )


def prints(batch: VideoTextBatch) -> list[str]:
    """Return what tells each row apart: its key and the digest of all that is made of it, to the last bit."""
    assert batch.mask is not None
    assert batch.tokens is not None
    columns = (batch.video, batch.mask, batch.tokens, batch.valid, batch.frame_times)
    rows = zip(batch.keys, batch.captions, *columns, strict=True)
    return [_print(key, caption, *tensors) for key, caption, *tensors in rows]


def _print(key: str, caption: str, *tensors: torch.Tensor) -> str:
    digest = hashlib.sha256(caption.encode())
    for tensor in tensors:
        digest.update(tensor.contiguous().numpy().tobytes())
    return f"{key} {digest.hexdigest()}"


def take(loader: Loader, count: int) -> list[list[str]]:
    return [prints(next(loader)) for _ in range(count)]


def runs(ranks: Ranks, source: str) -> dict[Any, Any]:
    """Go through all pairs on this rank: from the start, noting states, and from every step on.

    A pair goes on from the states of the pair before it, so that each run is continued on other ranks or threads; the
    first pair of a rank goes on from its own.
    """
    found: dict[Any, Any] = {}
    earlier: list[dict[str, Any]] = []
    for world, workers in PAIRS:
        if ranks.rank >= world:
            continue
        with build_loader(config(source, ranks.rank, world, workers)) as loader:
            states, steps = [], []
            for _ in range(STEPS):
                states.append(loader.state_dict())
                steps += take(loader, 1)
            found[world, workers, "whole"], found[world, workers, "states"] = steps, states
            for step, state in enumerate(earlier or states):
                loader.load_state_dict(state)
                found[world, workers, step] = take(loader, STEPS - step)
        earlier = states
    return found


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[Any, Any]]:
    """What each of four processes saw; two of the clips cannot be decoded."""
    folder = tmp_path_factory.mktemp("dataset")
    build_clip_dataset(open_store(folder), tmp_path_factory.mktemp("scratch"), counts=(5, 0, 7, 4, 6), broken={2, 15})
    return on_ranks(max(WORLDS), runs, tmp_path_factory.mktemp("ranks"), str(folder))


def joined(found: list[dict[Any, Any]], world: int, workers: int, run: object) -> list[list[str]]:
    """Put the shares of the ranks end to end, step by step."""
    shares = [found[rank][world, workers, run] for rank in range(world)]
    return [[row for share in step for row in share] for step in zip(*shares, strict=True)]


@pytest.mark.parametrize(("world", "workers"), PAIRS)
def test_an_uninterrupted_run_is_that_of_one_rank(found: list[dict[Any, Any]], world: int, workers: int):
    expected = found[0][1, 1, "whole"]
    assert joined(found, world, workers, "whole") == expected
    assert len(expected) == STEPS
    assert all(len(step) == 8 for step in expected)


@pytest.mark.parametrize(("world", "workers"), PAIRS)
def test_a_run_goes_on_from_every_step_of_one_with_other_ranks_or_threads(
    found: list[dict[Any, Any]], world: int, workers: int
):
    expected = found[0][1, 1, "whole"]
    for step in range(STEPS):
        assert joined(found, world, workers, step) == expected[step:]


def test_states_name_no_rank_and_no_thread(found: list[dict[Any, Any]]):
    states = [seen[*pair, "states"] for seen in found for pair in PAIRS if (*pair, "states") in seen]
    assert len(states) == sum(world for world, _ in PAIRS)
    assert all(one == states[0] for one in states)
