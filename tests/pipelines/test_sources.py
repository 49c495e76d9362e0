"""Loaders of several datasets: clips by slot, counted passes, resuming, ranks, names in the drop log, evaluation."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pipelines import LabelConfig, LoaderConfig, SourceConfig, TokenConfig, build_loader, evaluation_loader, sources
from pipelines.batch import VideoTextBatch
from pipelines.meter import StageMeter
from pipelines.plan import Slot, shard_id
from pipelines.sources import ClipSources, open_sources
from pipelines.stream import ClipSource
from shards.layout import make_key
from shards.store import open_store
from tests.support.clip_datasets import build_clip_dataset
from tests.support.object_store import ObjectStore

COUNTS = {"clips": (4, 0, 3), "more": (2, 3), "last": (1,)}
BROKEN = (1, make_key(1, 0))
"""Dataset and key of a clip that cannot be decoded; the datasets' keys are alike."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three datasets, whose rows tell them apart; one clip of the second cannot be decoded."""
    folder = tmp_path_factory.mktemp("datasets")
    for number, (name, counts) in enumerate(COUNTS.items()):
        build_clip_dataset(
            open_store(folder / name),
            tmp_path_factory.mktemp("scratch"),
            counts=counts,
            broken={1} if number == BROKEN[0] else (),
            columns={"kind": "string"},
            values=lambda row, name=name: {"kind": f"{name} {row % 2}"},
        )
    return folder


def mixed(folder: Path, *parts: SourceConfig, **changes: Any) -> LoaderConfig:
    chosen = parts or (SourceConfig("clips", 2), SourceConfig("more", 1), SourceConfig("last", 0.5))
    sources = tuple(SourceConfig(str(folder / one.source), one.weight, one.epochs, one.name) for one in chosen)
    defaults: dict[str, Any] = {
        "batch_size": 4,
        "seed": 3,
        "lanes": 2,
        "frames": 2,
        "stride": 2,
        "size": 16,
        "workers": 1,
    }
    return LoaderConfig(sources, **{**defaults, **changes})


def named(slot: Slot) -> tuple[int, str]:
    """Return a slot's dataset and key."""
    return slot.source, make_key(slot.shard * max(list(COUNTS.values())[slot.source]) + slot.row, 0)


def names_of(batch: VideoTextBatch, *, whole: bool = False) -> list[tuple[int, str]]:
    """Return the dataset and key of each row, or of those that are valid."""
    assert batch.dataset is not None
    names = zip(batch.dataset.tolist(), batch.keys, strict=True)
    return [name for name, valid in zip(names, batch.valid.tolist(), strict=True) if valid or not whole]


def shown(batch: VideoTextBatch) -> tuple[Any, ...]:
    """Return what tells a batch, to the last bit."""
    assert batch.dataset is not None
    return batch.keys, batch.dataset.tolist(), batch.valid.tolist(), batch.video.numpy().tobytes()


@pytest.mark.parametrize("by", ["sample", "batch"])
def test_batches_hold_what_the_order_says_and_resume_anywhere(folder: Path, by: str):
    config = mixed(folder, mix_by=by)
    with build_loader(config) as loader:
        states, batches = [], []
        for k in range(5):
            states.append(json.loads(json.dumps(loader.state_dict())))
            batch = next(loader)
            slots = loader.order.batch(k)
            assert names_of(batch) == [named(slot) for slot in slots]
            assert names_of(batch, whole=True) == [named(slot) for slot in slots if named(slot) != BROKEN]
            batches.append(shown(batch))
        assert sum(loader.source_samples) == loader.samples == 20
        sizes = [sum(counts) for counts in COUNTS.values()]
        passes = [taken / size for taken, size in zip(loader.source_samples, sizes, strict=True)]
        assert loader.passes == dict(zip(COUNTS, passes, strict=True))
    for k in (1, 3):
        with build_loader(config, states[k]) as again:
            assert [shown(next(again)) for _ in range(k, 5)] == batches[k:]


def test_shares_of_two_ranks_are_the_batch(folder: Path):
    config = mixed(folder)
    shares = [build_loader(mixed(folder, rank=rank, world=2, workers=2 * rank)) for rank in range(2)]
    with build_loader(config) as loader, shares[0], shares[1]:
        for _ in range(4):
            whole, halves = next(loader), [next(share) for share in shares]
            assert whole.keys == [key for half in halves for key in half.keys]
            assert torch.equal(whole.video, torch.cat([half.video for half in halves]))


def test_counted_passes_end_the_loader(folder: Path):
    config = mixed(folder, SourceConfig("clips", epochs=1), SourceConfig("more", epochs=2))
    with build_loader(config) as loader:
        assert loader.batches == (7 + 10) // 4
        names = [name for batch in loader for name in names_of(batch)]
        state = loader.state_dict()
        with pytest.raises(StopIteration):
            next(loader)
    assert len(names) == 16
    assert {(number, names.count((number, key))) for number, key in names} <= {(0, 1), (1, 1), (1, 2)}
    assert len(set(names)) == 12
    with build_loader(config, state) as ended:
        assert list(ended) == []


def test_a_state_of_another_mix_is_refused_with_what_differs(folder: Path):
    with build_loader(mixed(folder, SourceConfig("clips", 2), SourceConfig("more", 1))) as loader:
        state = loader.state_dict()
    with pytest.raises(ValueError, match=r"mix\.sources\.1\.weight: 1\.0 in the state, 3\.0 in this run") as caught:
        build_loader(mixed(folder, SourceConfig("clips", 2), SourceConfig("more", 3)), state)
    assert "sources.0" not in str(caught.value)
    with pytest.raises(ValueError, match=r'mix\.by: "sample" in the state, "batch" in this run'):
        build_loader(mixed(folder, SourceConfig("clips", 2), SourceConfig("more", 1), mix_by="batch"), state)
    with pytest.raises(ValueError, match=r"clips: \[7, 5\] in the state, \[7\] in this run"):
        build_loader(mixed(folder, SourceConfig("clips", 2)), state)
    with build_loader(mixed(folder, SourceConfig("clips", 2.0, name="a"), SourceConfig("more", 1)), state):
        """Names are for people."""


def test_drops_are_named_with_their_dataset(folder: Path, tmp_path: Path):
    log = tmp_path / "drops.jsonl"
    config = mixed(
        folder, SourceConfig("clips", epochs=1), SourceConfig("more", epochs=1, name="second"), drop_log=str(log)
    )
    with build_loader(config) as loader:
        list(loader)
    drops = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(drop["shard"], drop["key"]) for drop in drops] == [("second/00000", BROKEN[1])]


def test_names_of_datasets_differ():
    same = (
        SourceConfig("s3://a/clips"),
        SourceConfig("s3://b/clips/"),
        SourceConfig("x", name="clips"),
        SourceConfig("y"),
    )
    assert LoaderConfig(same, 4).source_names == ("clips", "clips#2", "clips#3", "y")
    named = tuple(SourceConfig(name, name=name) for name in ("a#2", "a", "a"))
    assert LoaderConfig(named, 4).source_names == ("a#2", "a", "a#3")


def test_batches_of_datasets_with_shapes_of_their_own_say_which_they_are_of(folder: Path):
    sources = (SourceConfig(str(folder / "clips"), 1), SourceConfig(str(folder / "more"), 1, frames=3, size=8))
    with build_loader(replace(mixed(folder), source=sources, mix_by="batch")) as loader:
        batches = [next(loader) for _ in range(4)]
    shapes = {0: (2, 16), 1: (3, 8)}
    assert [set(batch.dataset.tolist()) for batch in batches] == [{0}, {1}, {0}, {1}]
    assert all((b.video.shape[2], b.video.shape[3]) == shapes[int(b.dataset[0])] for b in batches)


def test_classes_and_words_are_those_of_all_datasets(folder: Path, tmp_path: Path):
    config = mixed(
        folder, label=LabelConfig("kind"), tokens=TokenConfig(vocabulary=540, context=8), cache_dir=str(tmp_path)
    )
    with build_loader(config) as loader:
        assert loader.classes == ("clips 0", "clips 1", "last 0", "more 0", "more 1")
        batch = next(loader)
        expected = [f"{list(COUNTS)[number]} {int(key[:9]) % 2}" for number, key in names_of(batch, whole=True)]
        assert [loader.classes[label] for label in batch.label[batch.valid].tolist()] == expected
        assert batch.tokens is not None


@pytest.mark.parametrize("by", ["sample", "batch"])
def test_evaluation_passes_over_one_dataset_after_the_other(folder: Path, by: str):
    with evaluation_loader(mixed(folder, mix_by=by, last_batch="padded")) as loader:
        batches = list(loader)
    assert len(batches) == (4 if by == "sample" else 2 + 2 + 1)
    assert all(len(batch) == 4 for batch in batches)
    whole = [name for batch in batches for name in names_of(batch, whole=True)]
    expected = [
        named(Slot(0, 0, shard, row, 0, source))
        for source, counts in enumerate(COUNTS.values())
        for shard, count in enumerate(counts)
        for row in range(count)
    ]
    assert whole == [name for name in expected if name != BROKEN]
    assert loader.dropped == 1
    assert loader.samples == 13


def test_evaluation_can_drop_what_makes_no_batch(folder: Path):
    with evaluation_loader(mixed(folder, last_batch="dropped", workers=0)) as loader:
        keys = [key for batch in loader for key in batch.keys]
    assert len(keys) == loader.samples == 12
    assert loader.order.left_out == 1


def test_a_rank_without_samples_has_every_column_of_the_others(folder: Path):
    told = mixed(folder, SourceConfig("clips"), SourceConfig("last"), workers=0, world=3)
    lasts = []
    for rank in range(3):
        with evaluation_loader(replace(told, rank=rank, batch_size=6)) as loader:
            *_, last = loader
            lasts.append(last)
    assert [len(last) for last in lasts] == [2, 0, 0]
    assert [last.dataset.tolist() for last in lasts] == [[0, 1], [], []]


def test_datasets_on_disk_and_in_a_bucket_are_mixed(folder: Path, object_store: ObjectStore, tmp_path: Path):
    url = object_store.make_bucket("mixed") + "/more"
    here, there = open_store(folder / "more"), open_store(url)
    for name in here.list():
        there.put(name, here.read(name))
    config = mixed(folder, SourceConfig("clips", 1), SourceConfig("more", 1))
    moved = LoaderConfig(
        (config.sources[0], SourceConfig(url, 1)),
        4,
        **{n: getattr(config, n) for n in ("seed", "lanes", "frames", "stride", "size")},
        cache_dir=str(tmp_path),
    )
    with build_loader(config) as one, build_loader(moved, one.state_dict()) as other:
        for _ in range(3):
            assert shown(next(one)) == shown(next(other))


def test_shards_of_a_dataset_stay_expected_while_others_have_their_turn(folder: Path):
    sources = open_sources(mixed(folder))
    clips = ClipSources(sources, ("a", "b", "c"), None, StageMeter())
    told: list[tuple[int, list[int]]] = []
    for number, source in enumerate(clips._each):
        source.expect = lambda shards, number=number, **_: told.append((number, list(shards)))
    clips.expect([shard_id(1, 1), shard_id(0, 2), shard_id(0, 0)])
    assert told == [(0, [2, 0]), (1, [1])]
    told.clear()
    for _ in range(80):
        clips.expect([shard_id(0, 0)])
    assert (1, []) in told
    assert told[:64] == [(0, [0])] * 64


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"source": ()}, "lists 0 datasets"),
        ({"source": [SourceConfig("a")]}, "give a folder, a URL, or a tuple of SourceConfig"),
        ({"source": ("a", "b")}, "give a folder, a URL, or a tuple of SourceConfig"),
        ({"source": (SourceConfig("a", 1.0), SourceConfig("b"))}, "b has no weight and others have"),
        ({"source": (SourceConfig("a", frames=8), SourceConfig("b"))}, "2 shapes .* give mix_by='batch'"),
        (
            {"source": (SourceConfig("a"), SourceConfig("b")), "whole_batches": True},
            "whole_batches was given with 2 datasets.*leave it out",
        ),
        ({"mix_by": "clip"}, "mix_by is 'clip'"),
        ({"last_batch": "long"}, "last_batch is 'long'"),
    ],
)
def test_sources_that_cannot_be_are_refused(changes: dict[str, Any], said: str):
    with pytest.raises(ValueError, match=said):
        LoaderConfig(**{"source": "a", "batch_size": 4, **changes})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("source", " "),
        ("weight", 0.0),
        ("weight", float("inf")),
        ("epochs", 0),
        ("epochs", 1.5),
        ("epochs", True),
        ("name", ""),
        ("where", " "),
        ("size", 0),
    ],
)
def test_a_dataset_s_settings_are_checked(field: str, value: object):
    with pytest.raises(ValueError, match=field):
        SourceConfig(**{"source": "a", field: value})


def test_an_empty_dataset_of_a_mix_is_named(folder: Path, tmp_path: Path):
    build_clip_dataset(open_store(tmp_path / "empty"), tmp_path / "s", counts=(0,))
    config = mixed(folder, SourceConfig("clips"), SourceConfig(str(tmp_path / "empty")))
    with pytest.raises(ValueError, match="empty holds no sample"):
        build_loader(config)


def test_datasets_that_hang_are_waited_for_together(folder: Path, monkeypatch: pytest.MonkeyPatch):
    config, now, given = mixed(folder, SourceConfig("clips"), SourceConfig("more"), SourceConfig("last")), [0.0], []

    def hang(_: ClipSource, patience: float) -> bool:
        given.append(patience)
        now[0] += patience
        return False

    monkeypatch.setattr(sources.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(ClipSource, "close", hang)
    clips = ClipSources(open_sources(config), config.source_names, None, StageMeter())
    assert not clips.close(3.0)
    assert given == [3.0, 0.0, 0.0]
    assert all(one._remote.stopped.is_set() for one in clips._each), "each is told before the first is waited for"
