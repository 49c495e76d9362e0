"""The batch refuses parts that do not fit and takes itself apart without copying."""

from __future__ import annotations

import pytest
import torch

from model.objectives import VideoLanguage, VideoLanguageConfig
from pipelines.batch import VideoTextBatch
from tests.support.video_text import END, START, TINY, build, texts


def dummy_batch(size: int = 3, **changes) -> VideoTextBatch:
    parts = {
        "video": torch.arange(size * 3 * 2 * 4 * 4, dtype=torch.float32).reshape(size, 3, 2, 4, 4),
        "valid": torch.ones(size, dtype=torch.bool),
        "frame_times": torch.zeros(size, 2),
        "keys": [f"key{n}" for n in range(size)],
        "captions": [f"caption {n}" for n in range(size)],
        "sources": [f"{n}.mp4" for n in range(size)],
        "mask": torch.zeros(size, 8, dtype=torch.bool),
    }
    return VideoTextBatch(**parts | changes)


def test_optional_parts_may_be_absent():
    batch = dummy_batch(mask=None)
    assert batch.tokens is None
    assert batch.label is None
    assert len(batch) == 3


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("video", torch.zeros(3, 3, 4, 4)),
        ("video", torch.zeros(3, 3, 2, 4, 4, dtype=torch.float64)),
        ("valid", torch.ones(3)),
        ("valid", torch.ones(2, dtype=torch.bool)),
        ("frame_times", torch.zeros(3, 5)),
        ("mask", torch.zeros(3, dtype=torch.bool)),
        ("tokens", torch.zeros(3, 7, dtype=torch.int32)),
        ("view", torch.zeros(3, dtype=torch.int32)),
        ("label", torch.zeros(4, dtype=torch.int64)),
        ("keys", ["a"]),
        ("captions", []),
        ("sources", ["a", "b"]),
        ("valid", torch.ones(3, dtype=torch.bool, device="meta")),
        ("mask", torch.ones(3, 8, dtype=torch.bool, device="meta")),
        ("decoder_mask", torch.ones(3, 7, dtype=torch.bool)),
        ("decoder_mask", torch.ones(3, 8)),
    ],
)
def test_a_part_that_does_not_fit_is_named(name, value):
    with pytest.raises(ValueError, match=name):
        dummy_batch(**{name: value})


def test_a_slice_is_a_view_with_its_texts():
    batch = dummy_batch()
    part = batch.select(slice(1, 3))
    assert part.keys == ["key1", "key2"]
    assert part.video.data_ptr() == batch.video[1].data_ptr()
    assert part.mask.shape == (2, 8)


@pytest.mark.parametrize("parts", [1, 2, 3, 5])
def test_chunks_are_the_batch_in_order(parts):
    batch = dummy_batch(5, label=torch.arange(5))
    chunks = batch.chunk(parts)
    assert torch.equal(torch.cat([chunk.video for chunk in chunks]), batch.video)
    assert [key for chunk in chunks for key in chunk.keys] == batch.keys
    sizes = [len(chunk) for chunk in chunks]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("parts", [0, 4])
def test_more_chunks_than_samples_are_refused(parts):
    with pytest.raises(ValueError, match="3 samples"):
        dummy_batch().chunk(parts)


def test_moving_takes_every_tensor_along_but_masks_and_tokens():
    batch = dummy_batch(tokens=torch.zeros(3, 4, dtype=torch.int64), label=torch.zeros(3, dtype=torch.int64))
    moved = batch.to("meta")
    assert {moved.video.device, moved.valid.device, moved.label.device} == {torch.device("meta")}
    assert moved.mask is batch.mask
    assert moved.tokens is batch.tokens
    assert [len(part.mask) for part in moved.chunk(2)] == [1, 2]
    assert moved.captions == batch.captions
    assert batch.to("cpu").video is batch.video


def test_the_text_shows_shapes_not_pixels():
    text = repr(dummy_batch(valid=torch.tensor([True, False, True])))
    assert "video [3, 3, 2, 4, 4]" in text
    assert "2 of 3 valid" in text
    assert "tensor(" not in text


def test_a_decoder_mask_goes_with_its_mask():
    batch = dummy_batch(decoder_mask=torch.ones(3, 8, dtype=torch.bool))
    assert batch.chunk(3)[1].decoder_mask.shape == (1, 8)
    assert batch.to("meta").decoder_mask is batch.decoder_mask
    with pytest.raises(ValueError, match="decoder_mask is given without mask"):
        dummy_batch(mask=None, decoder_mask=torch.ones(3, 8, dtype=torch.bool))


def test_a_trimmed_batch_has_the_same_losses():
    """Also of texts that spell out the end token, and whatever a sample holds that counts for nothing."""
    ids = texts(5)[1:]
    ids[1, 1:4] = torch.tensor([END, 7, END])
    ids[1, 4:] = 0
    valid = torch.tensor([True, True, True, False])
    ids[3, 7] = END
    video = torch.randn(4, 3, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    batch = dummy_batch(4, video=video, frame_times=torch.zeros(4, 3), valid=valid, mask=None, tokens=ids)
    short = batch.trimmed()
    assert short.tokens.shape == (4, 7)
    assert short.video is batch.video
    stage = build(VideoLanguage, VideoLanguageConfig(TINY))
    whole, cut = (stage(one.video, one.tokens, one.valid) for one in (batch, short))
    assert set(whole.losses) == {"contrastive", "captioning"}
    for name, loss in whole.losses.items():
        assert cut.counts[name] == whole.counts[name] > 0
        torch.testing.assert_close(cut.losses[name], loss, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("multiple", "length"), [(1, 3), (2, 4), (4, 4), (5, 5), (16, 8)])
def test_a_length_is_a_multiple_where_there_is_room(multiple, length):
    ids = torch.tensor([[START, 5, END, *[0] * 5], [START, END, *[0] * 6], [0] * 8])
    assert dummy_batch(tokens=ids, valid=torch.tensor([True, True, False])).trimmed(multiple).tokens.shape == (
        3,
        length,
    )


def test_what_has_no_text_is_trimmed_to_itself():
    assert dummy_batch().trimmed().tokens is None
    nothing = dummy_batch(tokens=torch.zeros(3, 8, dtype=torch.int64), valid=torch.zeros(3, dtype=torch.bool))
    assert nothing.trimmed().tokens.shape == (3, 2)
    empty = dummy_batch(tokens=torch.zeros(3, 8, dtype=torch.int64)).select(slice(0, 0))
    assert empty.trimmed().tokens.shape == (0, 8)
    with pytest.raises(ValueError, match="multiple is 0"):
        nothing.trimmed(0)
