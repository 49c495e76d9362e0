"""Clips that are damaged in every way, one in a hundred each: good ones come once, bad ones are named once."""

from __future__ import annotations

import io
import json
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from pipelines import LoaderConfig, MaskConfig, build_loader
from pipelines.batch import VideoTextBatch
from pipelines.drops import DropBudget
from shards.store import open_store
from shards.writer import Clip
from tests.support.clip_datasets import HEIGHT, SHORTEST, WIDTH, build_clip_dataset, video_clip
from tests.support.numbered_videos import Coding, encode_numbered

SAMPLES, BATCH = 200, 10
COUNTS = (70, 0, 1, 64, 65)
BLOCK = 70


def random_bytes(payload: bytes) -> bytes:
    return np.random.default_rng(0).bytes(len(payload))


def truncated(payload: bytes) -> bytes:
    return payload[: len(payload) * 2 // 3]


def empty(_: bytes) -> bytes:
    return b""


@cache
def zero_frames(_: bytes) -> bytes:
    """Return a video stream with its header and nothing in it."""
    target = io.BytesIO()
    with av.open(target, "w", format="mp4") as out:
        stream = out.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuvj420p"
        out.start_encoding()
    return target.getvalue()


def wrong_container(_: bytes) -> bytes:
    return b"#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n"


def overwritten(payload: bytes) -> bytes:
    """Put zeros where the packets are, which only decoding notices."""
    start, index = payload.index(b"mdat") + 4, payload.index(b"moov")
    end = len(payload) if index < start else index - 4
    return payload[:start] + bytes(end - start) + payload[end:]


BAD = {
    number: spoil
    for kind, spoil in enumerate([random_bytes, truncated, empty, zero_frames, wrong_container, overwritten])
    for number in (7 + 9 * kind, 141 + 10 * kind)
}
"""Which samples are damaged how, two in two hundred of each."""
FULL_COLOUR = {5, 100}
"""Samples of 4:4:4 colour, which hardware decoders refuse: they are told to take them, and the host must."""
ROWS = [shard * BLOCK + n for shard, count in enumerate(COUNTS) for n in range(count)]


def make(row: int) -> Clip:
    number = ROWS.index(row)
    clip = video_clip(row % 7, codec="mjpeg" if number % 2 else "h264")
    record = replace(clip.record, row=row, key=f"{row:09d}_00000", caption=f"video {row}")
    payload = clip.payload
    if number in FULL_COLOUR:
        frames = SHORTEST + row % 7
        coding = Coding(pix_fmt="yuv444p", options={"g": "5", "x264-params": "log-level=none"})
        payload = encode_numbered(coding, frames, size=(WIDTH, HEIGHT))
        told = replace(record.media, codec="h264", pix_fmt="yuv444p", decodable=TRUSTED)
        record = replace(record, media=told)
    if number in BAD:
        payload = BAD[number](payload)
    return Clip(record, payload, clip.ext)


TRUSTED = replace(video_clip(0).record.media.decodable, dali_cpu=True)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("dataset")
    build_clip_dataset(open_store(folder), tmp_path_factory.mktemp("scratch"), counts=COUNTS, make=make)
    return str(folder)


def settings(dataset: str, **changes: object) -> LoaderConfig:
    mask = MaskConfig(0.75, 2, 8)
    config = LoaderConfig(dataset, BATCH, seed=1, lanes=3, window=2, frames=2, stride=2, size=16, flip=0.5, mask=mask)
    return replace(config, drops=DropBudget(share=0.5, window=100), **changes)


def epoch(config: LoaderConfig, state: dict | None = None, batches: int = SAMPLES // BATCH) -> list[VideoTextBatch]:
    with build_loader(config, state) as loader:
        return [next(loader) for _ in range(batches)]


@pytest.mark.parametrize("decoder", ["host", "dali"])
def test_good_ones_come_once_and_bad_ones_are_named_once(dataset: str, tmp_path: Path, decoder: str):
    log = tmp_path / "drops.jsonl"
    batches = epoch(settings(dataset, decoder=decoder, drop_log=str(log)))
    valid = [key for batch in batches for key, good in zip(batch.keys, batch.valid.tolist(), strict=True) if good]
    good = {f"{row:09d}_00000" for number, row in enumerate(ROWS) if number not in BAD}
    assert Counter(valid) == Counter(good)
    drops = [json.loads(line) for line in log.read_text().splitlines()]
    assert Counter(drop["key"] for drop in drops) == Counter(f"{ROWS[number]:09d}_00000" for number in BAD)
    assert {drop["reason"] for drop in drops} == {"BrokenClipError"}
    assert all(drop["message"] and drop["shard"] == f"{int(drop['key'][:9]) // BLOCK:05d}" for drop in drops)
    kinds = {BAD[ROWS.index(int(drop["key"][:9]))].__name__: drop["message"] for drop in drops}
    assert len(kinds) == 6
    assert kinds["zero_frames"] == "the container holds no video stream that can be decoded"
    assert "frame 0 of" in kinds["overwritten"]
    for batch in batches:
        assert batch.video.shape == (BATCH, 3, 2, 16, 16)
        assert batch.mask.shape == (BATCH, 4)
        assert not batch.video[~batch.valid].any()
        assert batch.video[batch.valid].flatten(1).any(dim=1).all()


def test_a_run_that_goes_on_elsewhere_sees_the_same(dataset: str):
    config = settings(dataset)
    whole = epoch(config)
    with build_loader(replace(config, workers=0)) as loader:
        for _ in range(6):
            next(loader)
        state = json.loads(json.dumps(loader.state_dict()))
    shares = [epoch(replace(config, rank=rank, world=2, workers=3), state, 8) for rank in range(2)]
    for before, *parts in zip(whole[6:14], *shares, strict=True):
        assert [key for part in parts for key in part.keys] == before.keys
        for name in ("video", "valid", "mask", "frame_times"):
            assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(before, name)), name


def test_two_decoders_share_a_batch(dataset: str):
    for here, shared in zip(
        *(epoch(settings(dataset, decoder=decoder), batches=4) for decoder in ("host", "dali")), strict=True
    ):
        assert here.keys == shared.keys
        assert torch.equal(here.valid, shared.valid)
        assert torch.equal(here.frame_times, shared.frame_times)
        for row, key in enumerate(here.keys):
            difference = (here.video[row] - shared.video[row]).abs()
            by_dali = ROWS.index(int(key[:9])) % 2
            assert difference.mean() < 0.05 if by_dali else difference.max() == 0


def test_several_clips_of_a_video_are_rows_of_the_batch(dataset: str):
    alone, several = (epoch(settings(dataset, clips=clips), batches=2) for clips in (1, 3))
    for one, three in zip(alone, several, strict=True):
        assert three.video.shape == (3 * BATCH, 3, 2, 16, 16)
        assert three.keys == [key for key in one.keys for _ in range(3)]
        assert torch.equal(three.video[::3], one.video), "the first is what it is alone"
        assert torch.equal(three.valid.view(BATCH, 3), one.valid[:, None].expand(BATCH, 3))
        times = three.frame_times.view(BATCH, 3, 2)[one.valid]
        assert torch.equal(times[:, 0], one.frame_times[one.valid])
        assert (times[:, 0] != times[:, 1]).any()
