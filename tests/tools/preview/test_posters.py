"""Pictures of clips: the right frames, small, and a reason in place of what cannot be had."""

from __future__ import annotations

import base64
import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from pipelines.decode import BrokenClipError, decode_frames
from shards.dataset import open_dataset
from shards.layout import tar_name
from shards.reader import EncodedClip
from shards.store import open_store
from tests.support.clip_datasets import build_clip_dataset, video_clip
from tools.corpus.frame_number import read_frame_number
from tools.preview import posters
from tools.preview.posters import PosterLook, cover_of, pack, poster, poster_frames
from tools.preview.sampling import Located, sample_rows
from tools.preview.tiles import draw_tiles


def _encoded(row=0, **changes):
    clip = video_clip(row, **changes)
    return EncodedClip(clip.record, clip.payload, clip.ext, clip.record.caption)


def _media(frames, keyframes):
    return replace(_encoded().record.media, num_frames=frames, keyframes=tuple(keyframes))


def test_frames_stand_side_by_side_in_order():
    made = poster(_encoded(2), PosterLook(frames=4))  # 11 frames of 48x48, key frames 0, 5, 10
    strip = np.asarray(Image.open(io.BytesIO(base64.b64decode(made.data_uri.partition(",")[2]))))
    assert strip.shape == (48, 4 * 48, 3)
    assert (made.width, made.height, made.frames) == (48, 48, 4)
    numbers = [read_frame_number(strip[:, 48 * n : 48 * (n + 1)]) for n in range(4)]
    assert numbers == [0, 5, 6, 10]
    assert made.times == pytest.approx([number / 25 for number in numbers])


def test_large_frames_are_decoded_a_few_at_a_time(monkeypatch):
    whole = poster(_encoded(2))
    monkeypatch.setattr(posters, "_DECODED_BYTES", 2 * 48 * 48 * 3)
    few = []
    monkeypatch.setattr(
        posters, "decode_frames", lambda *given, **more: few.append(given[1]) or decode_frames(*given, **more)
    )
    assert poster(_encoded(2)) == whole
    assert [len(ids) for ids in few] == [2, 2, 2]


def test_key_frames_go_first_and_the_work_is_bounded():
    assert poster_frames(_media(100, range(0, 100, 10)), 5) == [10, 30, 50, 70, 90]
    assert poster_frames(_media(100, [0]), 5) == [10, 30, 50, 70, 90]
    assert poster_frames(_media(10_000, [0, 9_000]), 5) == [0, 9_000]
    assert poster_frames(_media(2, [0]), 6) == [0, 1]
    assert poster_frames(_media(3, []), 1) == [0]


def test_a_picture_is_as_small_as_it_was_asked_for():
    clip = _encoded(1, size=(160, 96))
    made = poster(clip, PosterLook(width=40, height=40, frames=2))
    assert (made.width, made.height) == (40, 24)
    noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    data = pack([Image.fromarray(noise)] * 6, 9_000)
    assert len(data) <= 9_000
    width, height = Image.open(io.BytesIO(data)).size
    assert width / height == pytest.approx(9, rel=0.05)
    with pytest.raises(ValueError, match="0 frames of 240x180"):
        PosterLook(frames=0)
    with pytest.raises(ValueError, match="16383 pixels side by side"):
        PosterLook(width=2000, frames=9)


def test_the_cover_is_not_black():
    black, bright = Image.new("L", (8, 8), 0), Image.linear_gradient("L")
    assert cover_of([black, bright, black, black]) == 1
    assert cover_of([bright] * 5) == 2
    assert cover_of([black]) == 0


def test_what_cannot_be_decoded_raises_its_reason():
    with pytest.raises(BrokenClipError, match="frame"):
        poster(_encoded(broken=True))
    with pytest.raises(BrokenClipError, match="no video"):
        poster(replace(_encoded(), payload=b"nothing at all"))


@pytest.fixture
def dataset(tmp_path):
    build_clip_dataset(open_store(tmp_path / "set"), tmp_path / "scratch", counts=(3, 0, 2), broken={1})
    return open_dataset(tmp_path / "set")


def test_tiles_come_in_order_with_faults_in_place(dataset, tmp_path):
    store, manifest = dataset
    tiles = list(draw_tiles(store, manifest, sample_rows(store, manifest, 9).places))
    assert [tile.key for tile in tiles] == [f"{row:09d}_00000" for row in (0, 1, 2, 6, 7)]
    assert [tile.caption for tile in tiles][3] == "video 6"
    assert [tile.poster is None for tile in tiles] == [False, True, False, False, False]
    assert "decode" in tiles[1].fault


def test_files_that_are_gone_or_changed_are_faults(dataset, tmp_path):
    store, manifest = dataset
    place = tmp_path / "set" / tar_name("00000")
    data = bytearray(place.read_bytes())
    (whole,) = draw_tiles(store, manifest, [Located(0, "00000", 0)])
    data[next(member.offset for member in whole.record.members if member.ext == "mp4") + 50] ^= 1
    place.write_bytes(data)
    (tmp_path / "set" / "00002.parquet").unlink()
    tiles = list(draw_tiles(store, manifest, [Located(0, "00000", 0), Located(2, "00002", 1)]))
    assert "have another hash" in tiles[0].fault
    assert tiles[1].record is None
    assert (tiles[1].key, tiles[1].caption) == ("00002, row 1", "")
    assert "00002.parquet: it does not exist" in tiles[1].fault
    place.write_bytes(data[:600])
    (cut,) = draw_tiles(store, manifest, [Located(0, "00000", 1)])
    assert "beyond the tar's 600 bytes" in cut.fault
