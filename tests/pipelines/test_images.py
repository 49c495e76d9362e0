"""Images: members that are pictures are clips of one frame; damaged ones are dropped by name."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipelines import LoaderConfig, build_loader, evaluation_loader
from pipelines.decode import BrokenClipError, decode_frames
from pipelines.settings import COLOURS
from shards.store import open_store
from shards.writer import Clip
from tests.support.clip_datasets import build_clip_dataset, video_clip

KINDS: Mapping[str, tuple[str, str]] = {
    "jpg": ("JPEG", "mjpeg"),
    "png": ("PNG", "png"),
    "webp": ("WEBP", "webp"),
    "jpeg": ("JPEG", "mjpeg"),
}
WIDTH, HEIGHT = 60, 40


def drawing(row: int) -> Image.Image:
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    return Image.fromarray(np.stack([rows * 4, columns * 4, rows + columns + 30 * row], axis=-1).astype(np.uint8))


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def image_clip(row: int) -> Clip:
    """Return a picture of one of four kinds; row 5 is cut short, row 6 is a video."""
    if row == 6:
        return video_clip(row)
    ext = tuple(KINDS)[row % 4]
    kind, codec = KINDS[ext]
    record = video_clip(row).record
    media = replace(
        record.media, duration=0.0, num_frames=1, fps=0.0, width=WIDTH, height=HEIGHT, codec=codec, keyframes=(0,),
        decodable=replace(record.media.decodable, nvdec=codec == "mjpeg", dali_cpu=codec == "mjpeg"),
    )  # fmt: skip
    payload = encoded(drawing(row), kind)
    return Clip(replace(record, media=media), payload[: len(payload) // 2] if row == 5 else payload, ext)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("images")
    build_clip_dataset(open_store(folder), tmp_path_factory.mktemp("s"), counts=(7, 0), make=image_clip)
    return str(folder)


@pytest.mark.parametrize("decoder", ["host", "dali"])
@pytest.mark.parametrize("frames", [1, 2])
def test_pictures_and_videos_are_clips(dataset: str, decoder: str, frames: int):
    scale = COLOURS["half"]
    config = LoaderConfig(
        dataset, batch_size=7, frames=frames, size=40, sampling="segment", colours="half", decoder=decoder
    )
    with evaluation_loader(config) as loader:
        (batch,) = loader
    assert batch.video.shape == (7, 3, frames, 40, 40)
    assert batch.valid.tolist() == [row != 5 for row in range(7)]
    assert not batch.frame_times[:5].any()
    for row in range(5):
        pixels = (batch.video[row] * scale.std[0] + scale.mean[0]) * 255
        wanted = torch.from_numpy(np.array(drawing(row))[:, 10:50]).permute(2, 0, 1).float()
        assert (pixels - wanted[:, None]).abs().mean() < (1 if row % 4 == 1 else 6)


@pytest.mark.parametrize("sampling", ["dense", "span", "center", "segment", "bin", "bin_center", "even"])
def test_one_frame_of_a_video_is_an_image(dataset: str, sampling: str):
    with build_loader(LoaderConfig(dataset, batch_size=7, frames=1, size=16, sampling=sampling)) as loader:
        batch = next(loader)
    assert batch.video.shape == (7, 3, 1, 16, 16)
    assert int(batch.valid.sum()) == 6


@pytest.mark.parametrize(
    ("kind", "mode"),
    [("JPEG", "L"), ("JPEG", "CMYK"), ("PNG", "L"), ("PNG", "P"), ("PNG", "RGBA"), ("WEBP", "RGBA")],
)
def test_pictures_of_any_mode_are_read(kind: str, mode: str):
    image = drawing(1).convert(mode)
    found = decode_frames(encoded(image, kind), [0]).frames[0].astype(int)
    assert np.abs(found - np.asarray(image.convert("RGB"))).mean() < 6


def test_a_picture_stands_upright():
    about = Image.Exif()
    about[0x112] = 6
    turned = decode_frames(encoded(drawing(0), "PNG"), [0]).frames[0]
    stored = decode_frames(encoded(Image.fromarray(np.rot90(turned).copy()), "JPEG", exif=about), [0]).frames[0]
    assert np.abs(stored.astype(int) - turned).mean() < 6


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_picture_that_was_cut_short_is_broken(kind: str):
    payload = encoded(drawing(2), kind)
    with pytest.raises(BrokenClipError, match="cannot be decoded"):
        decode_frames(payload[: len(payload) * 2 // 3], [0])


def test_drops_name_the_picture(dataset: str, tmp_path: Path):
    log = tmp_path / "drops"
    with evaluation_loader(LoaderConfig(dataset, batch_size=7, frames=1, size=16, drop_log=str(log))) as loader:
        list(loader)
    assert '"key": "000000005_00000"' in log.read_text()
