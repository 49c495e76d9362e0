"""Each operation of RandAugment in the DALI graph against what Pillow makes of the same picture."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps

from pipelines.augment import Region, sample_rng
from pipelines.dali import DaliAugmenter, EncodedInput, FrameInput, Take
from pipelines.decode import decode_frames
from pipelines.randaugment import FILL, IDENTITY, KINDS, NAMES, Operation, draw_operations, operation, parse_randaugment
from tests.support.numbered_videos import Coding, encode_numbered

T, S = 2, 64
VP8 = Coding("libvpx", "webm", options={"g": "6", "deadline": "realtime", "cpu-used": "8"})
SHORT = parse_randaugment("rand-m7-n2-inc1-p1")
POLICY = parse_randaugment("rand-m7-n4-mstd0.5-inc1-p1")


def clip(number: int = 0) -> np.ndarray:
    """Return pictures of slopes and blocks in a limited range: contrast, equalisation, sharpness have work to do."""
    rows, columns = np.mgrid[0:S, 0:S]
    blocks = 16 * ((rows // 7 + columns // 9) % 2)
    pictures = [
        np.stack([40 + 2 * rows + n, 30 + columns + rows, 20 + 3 * columns // (number + 1)], axis=-1)
        + blocks[..., None]
        for n in range(T)
    ]
    return np.stack(pictures).astype(np.uint8)


def levels(video: torch.Tensor) -> np.ndarray:
    """Return the pictures of rows that were neither resized nor normalised: [rows, T, S, S, 3]."""
    return (video * 255).permute(0, 2, 3, 4, 1).round().numpy()


def augmenter(layers: int, most: int = 1) -> DaliAugmenter:
    return DaliAugmenter(most, T, S, layers=layers, mean=(0.0,) * 3, std=(1.0,) * 3)


def run(clips: list[np.ndarray], drawn: list[tuple[Operation, ...]], maker: DaliAugmenter | None = None) -> np.ndarray:
    maker = maker or augmenter(len(drawn[0]), len(clips))
    takes = [(Take(Region(0, 0, S, S), operations=each),) for each in drawn]
    return levels(maker.run([FrameInput(*both) for both in zip(clips, takes, strict=True)]))


def warped(image: Image.Image, matrix: tuple[float, ...]) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR, fillcolor=(FILL,) * 3)


def equalized(image: Image.Image) -> Image.Image:
    """Give each colour an even spread, its darkest level 0 and its brightest 255, as OpenCV does.

    Pillow's spread ends below 255 where the pixels do not divide by it: by 5 levels on average in so small a picture,
    within 1 in one of 340 x 256 pixels.
    """
    tables = []
    for counts in np.array(image.histogram()).reshape(3, 256):
        below = counts.cumsum()
        darkest = counts[np.flatnonzero(counts)[0]]
        tables.append(np.round(255 * (below - darkest).clip(0) / (below[-1] - darkest)).astype(int))
    return image.point(np.concatenate(tables).tolist())


def solarize_add(image: Image.Image, value: int) -> Image.Image:
    return image.point([min(255, i + value) if i < 128 else i for i in range(256)] * 3)


PART = 0.7
BY_PILLOW: dict[str, Callable[[Image.Image, int], Image.Image]] = {
    "auto_contrast": lambda image, sign: ImageOps.autocontrast(image),
    "equalize": lambda image, sign: equalized(image),
    "invert": lambda image, sign: ImageOps.invert(image),
    "rotate": lambda image, sign: image.rotate(sign * 30 * PART, Image.Resampling.BILINEAR, fillcolor=(FILL,) * 3),
    "posterize": lambda image, sign: ImageOps.posterize(image, 4 - int(4 * PART)),
    "solarize": lambda image, sign: ImageOps.solarize(image, 256 - int(256 * PART)),
    "solarize_add": lambda image, sign: solarize_add(image, int(110 * PART)),
    "colour": lambda image, sign: ImageEnhance.Color(image).enhance(1 + sign * 0.9 * PART),
    "contrast": lambda image, sign: ImageEnhance.Contrast(image).enhance(1 + sign * 0.9 * PART),
    "brightness": lambda image, sign: ImageEnhance.Brightness(image).enhance(1 + sign * 0.9 * PART),
    "sharpness": lambda image, sign: ImageEnhance.Sharpness(image).enhance(1 + sign * 0.9 * PART),
    "shear_x": lambda image, sign: warped(image, (1, sign * 0.3 * PART, 0, 0, 1, 0)),
    "shear_y": lambda image, sign: warped(image, (1, 0, 0, sign * 0.3 * PART, 1, 0)),
    "translate_x": lambda image, sign: warped(image, (1, 0, sign * 0.45 * PART * S, 0, 1, 0)),
    "translate_y": lambda image, sign: warped(image, (1, 0, 0, 0, 1, sign * 0.45 * PART * S)),
}
MEAN_DIFFERENCE = {
    "equalize": 3.0,
    "rotate": 1.5,
    "shear_x": 1.5,
    "shear_y": 1.5,
    "translate_x": 1.5,
    "translate_y": 1.5,
}
"""Levels of 255 by which we may be off on average, where it is more than half a level: at the edge of what a warp
brings in, which Pillow does not mix with the fill."""


def test_every_operation_does_what_pillow_does():
    """All in one run: each clip of a batch goes its own way."""
    assert set(BY_PILLOW) == set(NAMES)
    cases = [(name, sign) for name in NAMES for sign in (1, -1)]
    made = run([clip()] * len(cases), [(operation(n, 10 * PART, s, (S, S), increasing=True),) for n, s in cases])
    for (name, sign), pictures in zip(cases, made, strict=True):
        for picture, before in zip(pictures, clip(), strict=True):
            wanted = np.asarray(BY_PILLOW[name](Image.fromarray(before), sign)).astype(float)
            difference = np.abs(picture - wanted)
            if name == "sharpness":
                difference = difference[1:-1, 1:-1]  # Pillow leaves the border as it is
            assert difference.mean() < MEAN_DIFFERENCE.get(name, 0.55), (name, sign)
            if name not in MEAN_DIFFERENCE:
                assert difference.max() <= 1, (name, sign)
            assert np.abs(picture - before).mean() > 0.2, (name, sign)


def test_a_flat_picture_stays_whatever_its_contrast():
    flat = np.full((T, S, S, 3), (0, 90, 255), dtype=np.uint8)
    assert np.array_equal(run([flat], [(Operation("auto_contrast"),)])[0], flat)


def test_layers_come_one_after_the_other():
    invert, add, nothing, maker = Operation("invert"), Operation("solarize_add", 50.0), Operation(), augmenter(2)
    both = run([clip()], [(invert, add)], maker)[0]
    first = run([clip()], [(invert, nothing)], maker)[0].astype(np.uint8)
    assert np.array_equal(both, run([first], [(add, nothing)], maker)[0])
    assert not np.array_equal(both, run([clip()], [(add, invert)], maker)[0])


def test_a_clip_does_not_depend_on_what_its_neighbours_draw():
    drawn = [draw_operations(POLICY, S, S, sample_rng(0, 0, n)) for n in range(6)]
    clips = [clip(n) for n in range(6)]
    maker = augmenter(4, 6)
    together = run(clips, drawn, maker)
    for n in range(6):
        assert np.array_equal(run([clips[n]], [drawn[n]], maker)[0], together[n])


def test_rows_of_an_encoded_clip_have_operations_of_their_own():
    payload, ids = encode_numbered(VP8, 12), np.array([1, 5])
    takes = tuple(
        Take(Region(5, 0, 64, 64), n == 1, draw_operations(SHORT, 128, 96, sample_rng(0, 0, n))) for n in range(3)
    )
    options = {"rows": 3, "layers": 2, "mean": (0.0,) * 3, "std": (1.0,) * 3}
    by_dali = DaliAugmenter(1, T, S, source="encoded", **options).run([EncodedInput(payload, ids, takes)])
    by_host = DaliAugmenter(1, T, S, **options).run([FrameInput(decode_frames(payload, ids).frames, takes)])
    assert np.abs(levels(by_dali) - levels(by_host)).mean() < 4
    assert np.abs(levels(by_host)[0] - levels(by_host)[2]).mean() > 8


def test_operations_that_do_not_fit_are_named():
    take = Take(Region(0, 0, S, S), operations=(Operation(),))
    with pytest.raises(ValueError, match="a row has 1 operations, the augmenter makes 2"):
        DaliAugmenter(1, T, S, layers=2).run([FrameInput(clip(), (take,))])


@pytest.mark.gpu
def test_operations_on_the_gpu_are_those_on_the_cpu():
    drawn = [(Operation(kind, 130.0 if kind.startswith(("pos", "sol")) else 1.5, IDENTITY),) for kind in KINDS]
    inputs = [FrameInput(clip(), (Take(Region(0, 0, S, S), operations=each),)) for each in drawn]
    on_gpu = DaliAugmenter(len(drawn), T, S, layers=1, device="cuda").run(inputs).cpu()
    on_cpu = DaliAugmenter(len(drawn), T, S, layers=1).run(inputs)
    assert (on_gpu - on_cpu).abs().mean(dim=(1, 2, 3, 4)).max() < 0.02
