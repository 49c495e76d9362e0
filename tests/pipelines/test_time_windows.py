"""Windows along clips: where they lie, which frames they take, and what happens to clips that break."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pytest
import torch

from pipelines.settings import LoaderConfig
from pipelines.time_windows import Span, TimeWindows, WindowReader, in_order, span_frames
from shards.index import DamagedShardError
from shards.layout import tar_name
from shards.manifest import open_manifest
from shards.store import open_store
from tests.support.clip_datasets import FPS, build_clip_dataset, video_clip
from tools.corpus.frame_number import read_frame_number


@pytest.mark.parametrize(
    ("duration", "seconds", "stride", "wanted"),
    [
        (10.0, 4.0, 3.0, [(0, 4), (3, 7), (6, 10)]),
        (9.99, 4.0, 3.0, [(0, 4), (3, 7)]),
        (1.0, 0.25, 0.25, [(0, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1.0)]),
        (0.3, 0.1, 0.1, [(0, 0.1), (0.1, 0.2), (0.2, 0.3)]),
        (2.0, 4.0, 1.0, [(0, 2)]),
        (5.0, 4.0, 9.0, [(0, 4)]),
    ],
)
def test_windows_lie_where_they_fit(duration, seconds, stride, wanted):
    spans = TimeWindows(seconds, stride).of(duration)
    assert [part for span in spans for part in (span.start, span.end)] == pytest.approx([*chain(*wanted)])


@pytest.mark.parametrize(("seconds", "stride"), [(0.0, 1.0), (1.0, -1.0), (float("nan"), 1.0), (1.0, float("inf"))])
def test_windows_that_cannot_be_are_refused(seconds, stride):
    with pytest.raises(ValueError, match="positive number of seconds"):
        TimeWindows(seconds, stride)


def test_frames_are_those_shown_in_the_middles_of_equal_parts():
    even = np.arange(50, dtype=np.float32) / 25
    assert span_frames(even, Span(0.0, 0.32), 4).tolist() == [1, 3, 5, 7]  # on the border: the frame that comes
    assert span_frames(even, Span(1.0, 1.4), 2).tolist() == [27, 32]
    assert span_frames(even, Span(1.9, 9.0), 3).tolist() == [49, 49, 49]
    uneven = np.array([0.0, 0.5, 0.6, 2.0], dtype=np.float32)
    assert span_frames(uneven, Span(0.0, 2.0), 4).tolist() == [0, 2, 2, 2]


def reader(folder, windows, **changes):
    store = open_store(folder)
    settings = {"batch_size": 4, "frames": 2, "size": 48, "crop": "center", "workers": 1} | changes
    return WindowReader(LoaderConfig(source=str(folder), **settings), store, open_manifest(store), windows)


def make_set(tmp_path, broken=()):
    folder = tmp_path / "set"
    build_clip_dataset(
        open_store(folder),
        tmp_path / "scratch",
        counts=(2, 0, 2),
        make=lambda row: video_clip(row, broken=row in broken),
    )
    return folder


def numbers_in(video):
    """Read the number that is painted into each frame."""
    pixels = video * torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1, 1)
    pixels = ((pixels + torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1, 1)) * 255).round().clamp(0, 255)
    return [read_frame_number(frame.permute(1, 2, 0).to(torch.uint8).numpy()) for frame in pixels.unbind(1)]


def test_each_window_has_its_own_frames_in_order(tmp_path):
    folder = make_set(tmp_path)
    batches = list(reader(folder, TimeWindows(0.16, 0.08)))
    assert [len(batch.clips) for batch in batches] == [4] * (len(batches) - 1) + [len(batches[-1].clips)]
    found = [
        (clip, round(span.start * FPS), numbers_in(video))
        for batch in batches
        for clip, span, video in zip(batch.clips, batch.spans, batch.video, strict=True)
    ]
    for clip, start, frames in found:
        assert frames == [start + 1, start + 3], (clip, start)
    lengths = [sum(clip == each for clip, _, _ in found) for each in range(4)]
    assert lengths == [(frames - 4) // 2 + 1 for frames in (9, 10, 13, 14)]
    assert found == sorted(found)


def test_batches_and_chunks_change_nothing(tmp_path, monkeypatch):
    folder = make_set(tmp_path)
    whole = torch.cat([batch.video for batch in reader(folder, TimeWindows(0.16, 0.08), batch_size=64)])
    monkeypatch.setattr("pipelines.time_windows._CHUNK_BYTES", 2 * 48 * 48 * 3)
    parts = [batch.video for batch in reader(folder, TimeWindows(0.16, 0.08), batch_size=3, workers=3)]
    assert torch.equal(torch.cat(parts), whole)


def test_a_broken_clip_is_named_and_the_others_come(tmp_path):
    read = reader(make_set(tmp_path, broken={1}), TimeWindows(1.0, 1.0))
    clips = [clip for batch in read for clip in batch.clips]
    assert clips == [0, 2, 3]
    assert set(read.failures) == {1}
    assert "cannot be decoded" in str(read.failures[1]) or "damaged" in str(read.failures[1])


def test_a_cut_shard_ends_the_pass(tmp_path):
    folder = make_set(tmp_path)
    tar = folder / tar_name("00002")
    tar.write_bytes(tar.read_bytes()[:-600])
    with pytest.raises(DamagedShardError, match="00002"):
        list(reader(folder, TimeWindows(1.0, 1.0)))


def test_results_come_in_order_and_work_stays_a_little_ahead():
    asked = []

    def items():
        for number in range(8):
            asked.append(number)
            yield number

    results = in_order(lambda number: number * number, items(), 2)
    assert next(results) == 0
    assert len(asked) == 3
    assert list(results) == [number * number for number in range(1, 8)]
