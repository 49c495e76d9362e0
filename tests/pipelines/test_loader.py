"""The loader: the same batches for any ranks, threads and restarts; broken samples in their slots; a prompt end."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines import Loader, LoaderConfig, MaskConfig, TokenConfig, build_loader
from pipelines.batch import VideoTextBatch
from pipelines.clips import bin_frames, centred_frames, segment_views
from pipelines.dali import IMAGENET_MEAN, IMAGENET_STD
from pipelines.drops import DropBudget, TooManyDropsError
from pipelines.sources import ClipSources
from shards.index import DamagedShardError
from shards.layout import tar_name
from shards.store import NotFoundError, StoreError, open_store
from tests.support.clip_datasets import FPS, SHORTEST, build_clip_dataset
from tests.support.object_store import ObjectStore
from tools.corpus.frame_number import read_frame_number

BROKEN = {2, 15}
ROOT = Path(__file__).parents[2]
TENSORS = ("video", "valid", "frame_times", "mask", "tokens")
MASK = MaskConfig(ratio=0.75, tubelet=2, patch=8)
TOKENS = TokenConfig(vocabulary=600, context=9)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> str:
    """22 clips in five shards, one of them empty; two clips cannot be decoded."""
    folder = tmp_path_factory.mktemp("dataset")
    build_clip_dataset(open_store(folder), tmp_path_factory.mktemp("scratch"), broken=BROKEN)
    return str(folder)


def settings(source: str, **changes) -> LoaderConfig:
    defaults = {"batch_size": 6, "seed": 3, "lanes": 2, "window": 2, "frames": 4, "stride": 2, "size": 32}
    return LoaderConfig(source, **{**defaults, "mask": MASK, "tokens": TOKENS, **changes})


def take(loader: Loader, count: int) -> list[VideoTextBatch]:
    return [next(loader) for _ in range(count)]


def first_batches(config: LoaderConfig, count: int = 8) -> list[VideoTextBatch]:
    with build_loader(config) as loader:
        return take(loader, count)


def assert_same(got: list[VideoTextBatch], expected: list[VideoTextBatch]) -> None:
    """Compare to the last bit."""
    assert len(got) == len(expected)
    for one, other in zip(got, expected, strict=True):
        for name in ("keys", "captions", "sources"):
            assert getattr(one, name) == getattr(other, name)
        for name in TENSORS:
            assert torch.equal(getattr(one, name), getattr(other, name)), name


def joined(shares: list[VideoTextBatch]) -> VideoTextBatch:
    """Put the shares of all ranks end to end."""
    tensors = {n: torch.cat([getattr(s, n) for s in shares]) for n in TENSORS}
    lists = {n: [text for s in shares for text in getattr(s, n)] for n in ("keys", "captions", "sources")}
    return VideoTextBatch(**tensors, **lists)


def loader_threads() -> list[str]:
    """Names of running threads that a loader starts: ours and torchdata's."""
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if name.startswith("vidloom") or "_populate_queue" in name]


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline, "it did not happen within 20 s"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def reference(dataset: str) -> list[VideoTextBatch]:
    """Eight batches (two epochs) by one rank, one thread, nothing ahead."""
    return first_batches(settings(dataset, workers=1, prefetch_batches=1))


@pytest.mark.parametrize(
    "machinery",
    [{"workers": 0}, {"workers": 5, "prefetch_batches": 4}, {"cache_dir": "other", "decoder": "host"}],
    ids=["no-threads", "many-threads", "other"],
)
def test_batches_do_not_depend_on_the_machinery(
    dataset: str, reference: list[VideoTextBatch], machinery: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    assert_same(first_batches(settings(dataset, **machinery)), reference)
    kept = list(tmp_path.glob("other/tokenizers/tokenizer-*.json"))
    assert len(kept) == ("cache_dir" in machinery), "a trained vocabulary is kept in the cache folder"


@pytest.mark.parametrize("world", [2, 4])
def test_shares_of_the_ranks_make_the_batch(dataset: str, reference: list[VideoTextBatch], world: int):
    ranks = [first_batches(settings(dataset, rank=rank, world=world)) for rank in range(world)]
    assert_same([joined(list(shares)) for shares in zip(*ranks, strict=True)], reference)


def test_resume_is_exact_from_every_step_with_other_hardware(dataset: str, reference: list[VideoTextBatch]):
    with build_loader(settings(dataset)) as loader:
        states = [json.dumps(loader.state_dict())]
        for _ in reference:
            next(loader)
            states.append(json.dumps(loader.state_dict()))
    for step, text in enumerate(states):
        state = json.loads(text)
        assert state["samples"] == 6 * step
        workers, world = 1 + step % 3, 1 + step % 2
        shares = []
        for rank in range(world):
            config = settings(dataset, workers=workers, rank=rank, world=world, prefetch_batches=1 + step % 3)
            with build_loader(config, state) as loader:
                shares.append(take(loader, len(reference) - step))
        assert_same([joined(list(parts)) for parts in zip(*shares, strict=True)], reference[step:])


def test_a_loader_goes_back_and_forth_to_states(dataset: str, reference: list[VideoTextBatch]):
    with build_loader(settings(dataset)) as loader:
        start = loader.state_dict()
        take(loader, 5)
        five = loader.state_dict()
        loader.load_state_dict(start)
        assert_same(take(loader, 2), reference[:2])
        loader.load_state_dict(five)
        assert loader.meter.snapshot().ready == 0, "what was made ahead is gone"
        assert_same(take(loader, 3), reference[5:8])


def test_a_state_of_another_run_is_refused_with_all_fields(dataset: str):
    with build_loader(settings(dataset)) as loader:
        state = loader.state_dict()
    changed = settings(dataset, seed=4, batch_size=4, size=48, mask=None, workers=1)
    with pytest.raises(ValueError, match="another dataset or other settings") as caught:
        build_loader(changed, state)
    for name in ("seed: 3 in the state, 4", "batch_size: 6", "settings.size: 32", "settings.mask: {"):
        assert name in str(caught.value)
    assert "digests" not in str(caught.value)


def test_a_state_of_another_dataset_is_refused(dataset: str, tmp_path: Path):
    build_clip_dataset(open_store(tmp_path / "other"), tmp_path / "scratch", counts=(9, 9))
    with build_loader(settings(dataset)) as loader:
        state = loader.state_dict()
    with pytest.raises(ValueError, match="digests: "):
        build_loader(settings(str(tmp_path / "other")), state)


def test_an_epoch_shows_every_clip_once(dataset: str):
    with build_loader(settings(dataset, batch_size=11)) as loader:
        assert loader.batches_per_epoch == 2
        keys = [key for batch in take(loader, 2) for key in batch.keys]
        assert loader.epoch == 1
    assert len(keys) == len(set(keys)) == 22


def test_broken_clips_keep_their_slots_and_are_named(dataset: str, tmp_path: Path):
    log = tmp_path / "drops.jsonl"
    with build_loader(settings(dataset, drop_log=str(log))) as loader:
        batches = take(loader, 4)
        assert loader.dropped == sum(int((~batch.valid).sum()) for batch in batches)
    broken = [f"{row:09d}_00000" for row in sorted(BROKEN)]
    seen = 0
    for batch in batches:
        for place, key in enumerate(batch.keys):
            assert bool(batch.valid[place]) == (key not in broken)
            assert batch.captions[place] == f"video {int(key[:9])}"
            if key in broken:
                seen += 1
                assert not batch.video[place].any()
                assert not batch.frame_times[place].any()
            else:
                assert batch.video[place].any()
    assert seen >= 2
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert len(lines) == seen
    assert {(line["shard"], line["key"]) for line in lines} == {("00000", broken[0]), ("00002", broken[1])}
    assert all(line["reason"] == "BrokenClipError" and "cannot be decoded" in line["message"] for line in lines)
    assert [line["position"] // 6 for line in lines] == [
        n for n, b in enumerate(batches) for _ in range(int((~b.valid).sum()))
    ]


def test_drops_count_when_they_are_delivered_and_not_ahead(dataset: str, tmp_path: Path):
    log = tmp_path / "drops.jsonl"
    with build_loader(settings(dataset, drop_log=str(log), prefetch_batches=4)) as loader:
        batch = next(loader)
        wait_until(lambda: loader.meter.snapshot().ready >= 4)
        assert loader.dropped == int((~batch.valid).sum())
        assert len(log.read_text().splitlines() if log.exists() else []) == loader.dropped


def test_the_drop_budget_stops_the_run(dataset: str, tmp_path: Path):
    budget = DropBudget(share=0.0)
    with build_loader(settings(dataset, drops=budget, drop_log=str(tmp_path / "log"))) as loader:
        with pytest.raises(TooManyDropsError, match="BrokenClipError"):
            take(loader, 4)
        state = loader.state_dict()
        with pytest.raises(ValueError, match="closed"):
            next(loader)
    assert state["samples"] < 24, "the batch that spent the budget was not received"
    assert len((tmp_path / "log").read_text().splitlines()) >= 1
    assert not loader_threads()


CHOSEN = {
    "center": lambda length: centred_frames(length, 4, 2),
    "segment_center": lambda length: segment_views(length, 4, 1)[0],
    "bin_center": lambda length: bin_frames(length, 4, None),
}


@pytest.mark.parametrize("sampling", CHOSEN)
def test_frames_are_those_that_were_drawn(dataset: str, sampling: str):
    config = settings(dataset, sampling=sampling, crop="center", size=48, mask=None)
    mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
    for batch in first_batches(config, 4):
        assert batch.mask is None
        for place, key in enumerate(batch.keys):
            if not batch.valid[place]:
                continue
            ids = CHOSEN[sampling](SHORTEST + int(key[:9]) % 7)
            pictures = (batch.video[place].permute(1, 2, 3, 0) * std + mean).mul(255).clamp(0, 255).to(torch.uint8)
            assert [read_frame_number(picture.numpy()) for picture in pictures] == ids.tolist()
            np.testing.assert_allclose(batch.frame_times[place].numpy(), ids / FPS, atol=1e-6)


def test_every_epoch_draws_anew(dataset: str):
    with build_loader(settings(dataset, batch_size=22, flip=0.5)) as loader:
        first, second = take(loader, 2)
    order = [second.keys.index(key) for key in first.keys]
    assert order != sorted(order)
    assert first.mask is not None
    assert second.mask is not None
    assert not torch.equal(first.mask, second.mask[order])
    assert not torch.equal(first.video, second.video[order])


def test_masks_hide_the_same_number_everywhere(reference: list[VideoTextBatch]):
    for batch in reference:
        assert batch.mask is not None
        assert batch.mask.shape == (6, 2 * 4 * 4)
        assert (batch.mask.sum(1) == 2 * 12).all()


def test_a_streamed_dataset_equals_the_local_one(
    dataset: str, reference: list[VideoTextBatch], object_store: ObjectStore, tmp_path: Path
):
    url = object_store.make_bucket("loader") + "/clips"
    here, there = open_store(dataset), open_store(url)
    for name in here.list():
        there.put(name, here.read(name))
    assert_same(first_batches(settings(url)), reference)
    cached = settings(url, cache_dir=str(tmp_path / "cache"), cache_bytes=200_000)
    assert_same(first_batches(cached), reference)
    assert list((tmp_path / "cache").glob("vidloom-*.data"))
    assert sum(file.stat().st_size for file in (tmp_path / "cache").iterdir()) <= 200_000
    with build_loader(cached) as loader:
        take(loader, 3)
        state = loader.state_dict()
    with build_loader(settings(url), state) as loader:
        assert_same(take(loader, 5), reference[3:])


def copied(dataset: str, folder: Path) -> Path:
    here, there = open_store(dataset), open_store(folder)
    for name in here.list():
        there.put(name, here.read(name))
    return folder


def test_a_cut_tar_ends_the_run_by_name(dataset: str, tmp_path: Path):
    folder = copied(dataset, tmp_path / "copy")
    tar = folder / tar_name("00003")
    os.truncate(tar, tar.stat().st_size // 1024 * 512)
    with build_loader(settings(str(folder))) as loader:
        with pytest.raises(DamagedShardError, match=r"00003\.tar is damaged"):
            take(loader, 8)
        with pytest.raises(ValueError, match="closed"):
            next(loader)
    assert not loader_threads()


def test_an_error_of_the_store_reaches_the_consumer_in_its_turn(dataset: str, tmp_path: Path):
    folder = copied(dataset, tmp_path / "copy")
    (folder / tar_name("00004")).unlink()
    with build_loader(settings(str(folder), workers=3)) as loader:
        good = next(k for k in range(99) if any(slot.shard == 4 for slot in loader.order.batch(k)))
        take(loader, good)
        with pytest.raises(NotFoundError, match=r"00004\.tar"):
            next(loader)


def test_closing_in_another_thread_ends_who_waits(dataset: str, monkeypatch: pytest.MonkeyPatch):
    """What reading fails with then is no news."""
    begun, closed = threading.Event(), threading.Event()

    def cut_off(source: object, slot: object) -> None:
        begun.set()
        closed.wait(20)
        raise StoreError("reading was stopped")

    monkeypatch.setattr(ClipSources, "fetch", cut_off)
    loader = build_loader(settings(dataset))
    found: list[object] = []
    waiting = threading.Thread(target=lambda: found.append(next(loader, "the end")))
    waiting.start()
    assert begun.wait(20)
    closing = threading.Thread(target=loader.close)
    closing.start()
    wait_until(lambda: not loader._closer.alive)
    closed.set()
    for thread in (waiting, closing):
        thread.join(20)
    assert found == ["the end"]


def test_what_is_no_dataset_is_refused(tmp_path: Path):
    with pytest.raises(NotFoundError, match="no dataset"):
        build_loader(settings(str(tmp_path)))
    build_clip_dataset(open_store(tmp_path / "empty"), tmp_path / "scratch", counts=(0, 0, 0))
    with pytest.raises(ValueError, match="no sample"):
        build_loader(settings(str(tmp_path / "empty")))


def test_no_more_is_read_ahead_than_said(dataset: str):
    with build_loader(settings(dataset, workers=2, prefetch_batches=2)) as loader:
        next(loader)
        wait_until(lambda: loader.meter.snapshot().ready == 2)
        time.sleep(0.2)
        reading = loader.meter.snapshot()
        assert reading.ready == 2
        delivered, ready, under_way = 6, 2 * 6, 6 + 2
        assert reading.stage("disk").calls <= delivered + ready + 6 + under_way
        assert reading.stage("disk").bytes > 0
        assert reading.stage("wait").calls == 1


def test_closing_ends_all_threads_and_comes_twice(dataset: str):
    loader = build_loader(settings(dataset, workers=4, prefetch_batches=3))
    take(loader, 2)
    assert loader_threads()
    loader.close()
    loader.close()
    assert not loader_threads()
    assert loader.state_dict()["samples"] == 12
    with pytest.raises(ValueError, match="closed"):
        loader.load_state_dict(loader.state_dict())


def test_a_forgotten_loader_closes_itself(dataset: str):
    loader = build_loader(settings(dataset))
    next(loader)
    del loader
    gc.collect()
    assert not loader_threads()


def test_an_unused_loader_starts_no_thread(dataset: str):
    with build_loader(settings(dataset)):
        assert not loader_threads()


PROGRAM = """
import sys, time
from pipelines import LoaderConfig, build_loader
loader = build_loader(LoaderConfig(sys.argv[1], batch_size=6, frames=4, stride=2, size=32, workers=3))
next(loader)
print("running", flush=True)
while sys.argv[2] == "endless":
    next(loader)
if sys.argv[2] == "raise":
    raise ValueError("the program failed")
"""


def start(dataset: str, manner: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM, dataset, manner]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize(("manner", "status"), [("leave", 0), ("raise", 1)])
def test_a_program_that_never_closes_ends_by_itself(dataset: str, manner: str, status: int):
    with start(dataset, manner) as program:
        output, errors = program.communicate(timeout=60)
    assert program.returncode == status, errors
    assert output == "running\n"
    assert errors.strip().endswith("the program failed" if status else "")
    assert "Fatal" not in errors


def test_an_interrupt_ends_the_program(dataset: str):
    with start(dataset, "endless") as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "running\n"
        program.send_signal(signal.SIGINT)
        _, errors = program.communicate(timeout=60)
    assert "KeyboardInterrupt" in errors.splitlines()  # what was dropped may be told after it
    assert program.returncode == -signal.SIGINT


def test_the_stream_that_takes_a_batch_is_made_known_in_its_thread(dataset: str, monkeypatch: pytest.MonkeyPatch):
    takers = []
    monkeypatch.setattr(VideoTextBatch, "record_stream", lambda self: takers.append(threading.current_thread()))
    with build_loader(settings(dataset)) as loader:
        take(loader, 2)
    assert takers == [threading.current_thread()] * 2
