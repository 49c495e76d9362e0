"""What the files of figures say: each benchmark's ratios, and which of them have a budget."""

from __future__ import annotations

import pytest

from benchmarks import figures


def told(reader, found):
    return {each.name: (list(each.values), str(each.budget) if each.budget else None) for each in reader(found)}


def test_decoding():
    found = {"stored": "train", "take": "dense", "ms": {"a": {"ratio": 0.5}, "b": {"ratio": 1.0}}}
    assert told(figures.of_decode, {"1": found}) == {"train, dense: speed of FFmpeg's": ([0.5, 1.0], "at least 0.7")}


def test_storing_for_training():
    found = {"take": "dense", "overall": {"cpu": [5.5, 6.0], "wall": [4.0, 5.0]}}
    assert told(figures.of_presets, {"dense": found}) == {
        "dense: clips a second, stored for training over originals": ([5.5, 6.0], "at least 5"),
        "dense: clips a second, stored for training over originals, by wall time": ([4.0, 5.0], None),
    }


def test_cutting():
    def task(name, **peers):
        return {"task": name, "ours": [{"cpu": 2.0}, {"cpu": 4.0}], **peers}

    peers = {"ffmpeg-each": [{"cpu": 2.0}, {"cpu": 4.0}], "video2dataset": [{"cpu": 4.0}, {"cpu": 4.0}]}
    copied = task("copy", ffmpeg=[{"cpu": 1.0}, {"cpu": 1.0}], **peers)
    long = task("copy, many clips", ffmpeg=[{"cpu": 2.0}, {"cpu": 3.0}])
    encoded = task("transcode", ffmpeg=[{"cpu": 2.0}, {"cpu": 2.0}])
    assert told(figures.of_sharding, {"all": [copied, long, encoded]}) == {
        "copy: speed of ffmpeg's": ([0.5, 0.25], "at least 0.6"),
        "copy: speed of ffmpeg-each's": ([1.0, 1.0], None),
        "copy: speed of video2dataset's": ([2.0, 1.0], None),
        "copy, many clips: speed of ffmpeg's": ([1.0, 0.75], "at least 0.6"),
        "transcode: speed of ffmpeg's": ([1.0, 0.5], None),
    }


def test_probing():
    sides = {"ours": [{"cpu": 0.2}], "ffmpeg": [{"cpu": 0.1}]}
    assert told(figures.of_probe, {"all": {"work": {"videos": 10}, "sides": sides}}) == {
        "CPU a video": ([20.0], None),
        "speed of ffmpeg's": ([0.5], None),
    }


def test_steps_of_networks():
    step = {
        "task": "VideoMAE, forward and backward",
        "public": [{"wall": 3.0, "cpu": 4.0}],
        "ours": [{"wall": 1.5, "cpu": 1.0}],
        "plain": [{"wall": 6.0, "cpu": 1.0}],
        "ratio": {"public": {"memory": 1.7}, "plain": {"memory": 5.0}},
    }
    apply = {**step, "task": "UniFormer, forward", "ratio": {"public": {"memory": 1.2}}}
    found = told(figures.of_model_step, {"all": [step, apply]})
    assert found["VideoMAE, forward and backward: public over ours, wall"] == ([2.0], "at least 1.5")
    assert found["VideoMAE, forward and backward: public over ours, CPU"] == ([4.0], None)
    assert found["VideoMAE, forward and backward: public over ours, memory"] == ([1.7], "at least 1")
    assert found["VideoMAE, forward and backward: plain attention over ours, wall"] == ([4.0], None)
    assert found["VideoMAE, forward and backward: plain attention over ours, memory"] == ([5.0], None)
    assert found["UniFormer, forward: public over ours, wall"] == ([2.0], None)
    assert len(found) == 9


def test_scaling():
    rounds = {"1": [{"wall": 4.0, "cpu": 3.0}], "2": [{"wall": 2.5, "cpu": 3.6}]}
    assert told(figures.of_scaling, {"all": {"loading": {"rounds": rounds}}}) == {
        "loading, 2 ranks over 1: clips a second": ([1.6], None),
        "loading, 2 ranks over 1: CPU a clip": ([1.2], None),
    }


def test_statistics():
    rows = [
        {"rows": n, "scan": {"seconds": 2.0, "cpu": 1.0}, "count": {"seconds": 3.0, "cpu": 2.5, "peak": peak}}
        for n, peak in ((1, 80), (5, 100))
    ]
    assert told(figures.of_stats, {"all": rows}) == {
        "1 rows: time of one scan's": ([1.5], "at most 2"),
        "1 rows: CPU of one scan's": ([2.5], None),
        "5 rows: CPU of one scan's": ([2.5], None),
        "5 rows: time of one scan's": ([1.5], "at most 2"),
        "memory, 5 rows over 1": ([1.25], "at most 1.1"),
    }


def test_streaming():
    sides = {
        "http.client": {"MB/s": [100.0], "CPU s/GB": [1.0]},
        "fs.open().read()": {"MB/s": [25.0], "CPU s/GB": [4.0]},
        "ours, to a file": {"MB/s": [50.0], "CPU s/GB": [2.0]},
        "ours, checked": {"MB/s": [50.0], "CPU s/GB": [2.0]},
    }
    found = told(figures.of_streaming, {"swift": sides, "ranges": sides})
    assert len(found) == 12
    assert found["ranges: ours, to a file: speed of http.client's"] == ([0.5], "at least 0.6")
    assert found["swift: ours, to a file: speed of http.client's"] == ([0.5], "at least 0.6")
    assert found["swift: ours, to a file: speed of open().read()'s"] == ([2.0], "at least 2")
    assert found["swift: ours, to a file: CPU of open().read()'s"] == ([0.5], "at most 0.5")
    assert found["swift: ours, checked: speed of http.client's"] == ([0.5], None)


def test_resuming():
    found = {"all": {"disk": {"position 0": [2.0, 1.0], "deep": [2.0, 2.0]}}}
    assert told(figures.of_resume, found) == {"disk, deep: time of position 0's": ([1.0, 2.0], "at most 1.2")}


@pytest.mark.parametrize(("passes", "part"), [(2, "steady"), (0, "whole")])
def test_the_loader(passes, part):
    def side(cpu, *, same=True):
        return {"same": same, "rounds": [{f"{part}_cpu": cpu, f"{part}_clips": 10}]}

    sides = {"vidloom": side(2.0), "webdataset": side(5.0), "odd": side(1.0, same=False)}
    sides["broken"] = {"same": True, "rounds": []}
    assert told(figures.of_loader, {"all": {"local": {"work": {"passes": passes}, "sides": sides}}}) == {
        "local: ours": ([5.0], None),
        "local: webdataset over ours, CPU a clip": ([2.5], None),
    }


def test_memory_and_duplicates():
    peaks = [{"rows": 10, "parent": 2.0, "worker": 5.0}, {"rows": 90, "parent": 3.0, "worker": 5.0}]
    assert told(figures.of_sharding_memory, {"all": peaks}) == {
        "memory of the parent, 90 rows over 10": ([1.5], None),
        "memory of the worker, 90 rows over 10": ([1.0], None),
    }
    assert told(figures.of_attention_memory, {"all": {"exponent": {"ours": 0.9}}}) == {
        "exponent of memory by tokens, ours": ([0.9], None)
    }
    near = {"rows": 7, "seconds": 1.5, "bytes_a_row_peak": 300}
    assert told(figures.of_duplicates, {"all": near}) == {
        "near copies among 7 rows": ([1.5], None),
        "memory a row": ([300], None),
    }
