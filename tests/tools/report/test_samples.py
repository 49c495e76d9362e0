"""Sample clips: chosen over all datasets, drawn, told, and as many as there is room for."""

from __future__ import annotations

import pytest

from shards.expression import parse
from shards.store import open_store
from tests.support.clip_datasets import build_clip_dataset
from tests.support.datasets import build_dataset
from tests.support.invented_tiles import LONG, hostile_tiles, invented_poster, invented_tile
from tools.preview.sampling import Located
from tools.preview.tiles import Tile
from tools.report.samples import draw_samples, fit_figures


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    store = open_store(tmp_path_factory.mktemp("samples") / "videos")
    build_clip_dataset(store, tmp_path_factory.mktemp("scratch"), counts=(3, 2), broken=[1])
    return store


def test_clips_are_drawn_and_one_that_cannot_be_says_why(videos):
    tiles = draw_samples([videos], 100)
    assert [tile.key for tile in tiles] == sorted(tile.key for tile in tiles)
    assert len(tiles) == 5
    figures = fit_figures(tiles, 1_000_000).figures
    assert [bool(figure.picture) for figure in figures] == [True, False, True, True, True]
    assert figures[1].fault
    assert figures[0].picture.startswith("data:image/webp;base64,")
    assert "48\N{NO-BREAK SPACE}\N{MULTIPLICATION SIGN}\N{NO-BREAK SPACE}48" in figures[0].detail


def test_several_datasets_share_the_samples(videos, tmp_path):
    other = open_store(tmp_path / "other")
    build_dataset(other, tmp_path, counts=(4, 4))
    tiles = draw_samples([videos, other], 5)
    assert [tile.poster is None for tile in tiles[2:]] == [True] * 3  # the other's payloads are no videos
    assert len(tiles) == 5
    assert draw_samples([videos, other], 0) == []


def test_a_condition_and_a_seed_choose(videos):
    assert len(draw_samples([videos], 100, where=parse("row < 2"))) == 2
    chosen = {tuple(tile.key for tile in draw_samples([videos], 2, seed=seed)) for seed in range(8)}
    assert len(chosen) > 1


def test_as_many_are_shown_as_there_is_room_for():
    tiles = [invented_tile(row, poster=invented_poster(row, data=b"x" * 30_000)) for row in range(10)]
    found = fit_figures(tiles, 3 * 43_000)
    assert len(found.figures) == 3
    assert "3 of 10 are shown" in found.lead
    assert "no room" not in fit_figures(tiles, 10**6).lead
    assert sum(figure.size for figure in found.figures) <= 3 * 43_000


def test_a_long_caption_is_cut_and_its_length_told():
    (figure,) = fit_figures([invented_tile(0, LONG)], 10**6).figures
    assert len(figure.caption) < 2_100
    assert figure.caption.endswith("… (10,000 characters)")
    assert figure.is_long


def test_frames_keep_their_shape():
    wide, tall = fit_figures([invented_tile(0), hostile_tiles()[6]], 10**6).figures
    assert (wide.is_tall, tall.is_tall) == (False, True)
    assert (tall.shape, tall.frames, tall.cover) == ("0.5625", 4, 2)


def test_a_clip_whose_record_is_lost_is_named_by_its_place():
    (figure,) = fit_figures([Tile(Located(3, "00003", 7), None, None, "it is gone")], 10**6).figures
    assert (figure.key, figure.caption, figure.detail, figure.fault) == ("00003, row 7", "", "", "it is gone")
