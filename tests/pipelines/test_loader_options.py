"""All options together: the same batches for any ranks, threads, restarts and neighbours; rows of a clip differ."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import pytest
import torch

from pipelines import LabelConfig, LoaderConfig, MaskConfig, TokenConfig, build_loader
from pipelines.batch import VideoTextBatch
from shards.store import open_store
from tests.support.clip_datasets import build_clip_dataset

ROWS = 3
OPTIONS = {
    "sampling": "segment",
    "crop": "random_resized",
    "flip": 0.5,
    "colours": "clip",
    "erasing": 0.4,
    "repeats": ROWS,
    "mask": MaskConfig(0.75, 2, 8, decoder_ratio=0.5),
    "tokens": TokenConfig(vocabulary=600, context=9),
    "label": LabelConfig("kind"),
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> str:
    """10 clips in three shards, half of them such that DALI decodes them on the CPU; one of either kind is broken."""
    folder = tmp_path_factory.mktemp("dataset")
    build_clip_dataset(
        open_store(folder),
        tmp_path_factory.mktemp("s"),
        counts=(4, 4, 2),
        mjpeg=range(0, 10, 2),
        broken={3, 6},
        size=(80, 60),
        columns={"kind": "string"},
        values=lambda row: {"kind": f"kind {row % 4}"},
    )
    return str(folder)


def settings(source: str, **changes) -> LoaderConfig:
    defaults = {"batch_size": 4, "seed": 3, "lanes": 2, "window": 2, "frames": 4, "size": 32, "decoder": "dali"}
    return LoaderConfig(source, **{**defaults, **OPTIONS, **changes})


def batches(config: LoaderConfig, count: int, state: dict | None = None) -> list[VideoTextBatch]:
    with build_loader(config, state) as loader:
        return [next(loader) for _ in range(count)]


def joined(shares: list[VideoTextBatch]) -> VideoTextBatch:
    def put_together(name: str):
        values = [getattr(share, name) for share in shares]
        if isinstance(values[0], torch.Tensor):
            return torch.cat(values)
        return None if values[0] is None else [text for value in values for text in value]

    return VideoTextBatch(**{field.name: put_together(field.name) for field in fields(VideoTextBatch)})


def assert_same(got: list[VideoTextBatch], expected: list[VideoTextBatch]) -> None:
    """Compare every field to the last bit."""
    for one, other in zip(got, expected, strict=True):
        for field in fields(VideoTextBatch):
            value, wanted = getattr(one, field.name), getattr(other, field.name)
            same = torch.equal(value, wanted) if isinstance(wanted, torch.Tensor) else value == wanted
            assert same, field.name


@pytest.fixture(scope="module")
def reference(dataset: str) -> list[VideoTextBatch]:
    return batches(settings(dataset, workers=1, prefetch_batches=1), 6)


@pytest.mark.parametrize("world", [1, 2, 4])
def test_ranks_threads_and_restarts_change_nothing(dataset: str, reference: list[VideoTextBatch], world: int):
    step = 4 - world
    with build_loader(settings(dataset)) as loader:
        for _ in range(step):
            next(loader)
        state = json.loads(json.dumps(loader.state_dict()))
    assert state["samples"] == 4 * step
    shares = [batches(settings(dataset, rank=r, world=world, workers=2 * r), 6 - step, state) for r in range(world)]
    assert_same([joined(list(parts)) for parts in zip(*shares, strict=True)], reference[step:])


def distinct(rows: torch.Tensor) -> int:
    return len({row.numpy().tobytes() for row in rows})


def test_rows_of_a_clip_share_frames_and_nothing_else(reference: list[VideoTextBatch]):
    for batch in reference:
        assert len(batch) == 4 * ROWS
        for place in range(0, len(batch), ROWS):
            rows = slice(place, place + ROWS)
            for name in ("keys", "captions", "sources"):
                assert len(set(getattr(batch, name)[rows])) == 1
            for name in ("valid", "label", "tokens", "frame_times"):
                value = getattr(batch, name)[rows]
                assert (value == value[:1]).all(), name
            for name in ("mask", "decoder_mask"):
                assert distinct(getattr(batch, name)[rows]) == ROWS, name
        seen = batch.video[batch.valid]
        assert distinct(seen) > 0.8 * len(seen), "a part without anything in it may come twice"


def test_the_first_row_is_what_it_is_without_repeats(dataset: str, reference: list[VideoTextBatch]):
    alone = batches(settings(dataset, repeats=1), 6)
    for one, many in zip(alone, reference, strict=True):
        assert one.keys == many.keys[::ROWS]
        assert torch.equal(one.video, many.video[::ROWS])
        assert torch.equal(one.mask, many.mask[::ROWS])


def test_broken_clips_count_once(dataset: str, reference: list[VideoTextBatch]):
    with build_loader(settings(dataset)) as loader:
        seen = [next(loader) for _ in range(6)]
        broken = sum(int((~batch.valid).sum()) for batch in seen)
        assert loader.dropped * ROWS == broken > 0
    assert {key for b in seen for key, ok in zip(b.keys, b.valid, strict=True) if not ok} <= {
        f"{row:09d}_00000" for row in (3, 6)
    }


def test_the_host_draws_what_dali_draws(dataset: str, reference: list[VideoTextBatch]):
    hosted = batches(settings(dataset, decoder="host"), 6)
    for one, other in zip(hosted, reference, strict=True):
        for name in ("valid", "mask", "decoder_mask", "label", "tokens", "frame_times"):
            assert torch.equal(getattr(one, name), getattr(other, name)), name
        assert (one.video - other.video).abs().mean() < 0.15


def test_operations_are_the_same_for_any_ranks_restarts_and_decoder(dataset: str, reference: list[VideoTextBatch]):
    options = {"randaugment": "rand-m7-n1-mstd0.5-inc1-p0.8", "repeats": 2}
    whole = batches(settings(dataset, **options), 3)
    with build_loader(settings(dataset, **options)) as loader:
        state = replace_samples(loader.state_dict(), 4)
    shares = [batches(settings(dataset, **options, rank=rank, world=2), 2, state) for rank in range(2)]
    assert_same([joined(list(parts)) for parts in zip(*shares, strict=True)], whole[1:])
    rows = torch.cat([batch.video for batch in whole])
    differences = (torch.cat([b.video for b in batches(settings(dataset, **options, decoder="host"), 3)]) - rows).abs()
    assert differences.mean(dim=(1, 2, 3, 4)).median() < 0.15
    changed = [(one.video != other.video[rows_of(2)]).any() for one, other in zip(whole, reference, strict=False)]
    assert all(changed)


def rows_of(repeats: int) -> list[int]:
    """Return which rows of a batch with all repeats are those of a batch with fewer."""
    return [place * ROWS + row for place in range(4) for row in range(repeats)]


def replace_samples(state: dict, samples: int) -> dict:
    return {**state, "samples": samples}


def test_erased_parts_are_noise_in_their_rows_only(dataset: str, reference: list[VideoTextBatch]):
    plain = batches(settings(dataset, erasing=0.0), 6)
    shares = []
    for one, other in zip(reference, plain, strict=True):
        for row, before, valid in zip(one.video, other.video, one.valid.tolist(), strict=True):
            changed = (row != before).any(dim=0)
            assert (changed == changed[:1]).all(), "the same place in all frames"
            where = changed[0].nonzero()
            if len(where):
                assert valid
                low, high = where.amin(0), where.amax(0) + 1
                assert changed[0, low[0] : high[0], low[1] : high[1]].all()
                assert 0.8 < float(row[:, changed].std()) < 1.2
            shares.append(len(where) / changed[0].numel())
    assert 0.2 < sum(share > 0 for share in shares) / len(shares) < 0.55


def test_a_state_goes_on_with_the_same_options_only(dataset: str):
    with build_loader(settings(dataset)) as loader:
        state = loader.state_dict()
    changed = replace(settings(dataset), repeats=2, crop_scale=(0.5, 1.0), colours="half", label=None, erasing=0.0)
    with pytest.raises(ValueError, match="other settings") as caught:
        build_loader(changed, state)
    for name in ("repeats", "crop_scale", "colours", "label", "erasing"):
        assert f"settings.{name}: " in str(caught.value)
