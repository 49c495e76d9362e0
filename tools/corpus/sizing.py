"""How many rows go into a block: estimated from the first rows' videos, so that shards come near the size asked for."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from statistics import fmean, median
from typing import Final

import av

from shards.errors import StoreError, concerns_all_files
from shards.web_errors import WebError
from shards.web_ranges import WholeFilesError
from tools.corpus.cut import CutSettings
from tools.corpus.image import HEAD, begins_as_picture
from tools.corpus.ingest import InputRow
from tools.corpus.media_file import Limits, MediaError, open_media, source_head, video_stream
from tools.corpus.places import Place
from tools.corpus.sources import SourceError, Sources

SAMPLE_ROWS: Final = 64
"""How many rows at the table's beginning are looked at."""

_SAMPLE_PARTS: Final = 1024
_MOST_ROWS: Final = 10_000
_DEFAULT_BYTES: Final = 1024 * 1024
_ENCODED_BYTES: Final = {"train": 104_000, "intra": 115_000, "vp9": 102_000, "mjpeg": 187_000}
"""Bytes a second at a short side of 256 pixels, measured on clips of people and nature."""

_KEYS_ONLY: Final = frozenset({"intra", "mjpeg"})
"""Presets whose bytes go with the number of frames; the others' shrink less, for what changes between frames grows."""
_USUAL_FPS: Final = 25.0
_SOUND_BYTES: Final = 16_000
_SHORT_SIDE: Final = 256
_MOST_GROWTH: Final = 4
_THREADS: Final = 8


@dataclass(frozen=True, slots=True)
class _Header:
    """What a video's header claims; None where it says nothing."""

    seconds: float | None
    short_side: int | None


def rows_per_block(sizes: Sequence[int], shard_bytes: int) -> int:
    """Return how many rows of these estimated sizes (bytes) fill a shard: 1 at least, 10,000 at most."""
    mean = fmean(sizes) if sizes else _DEFAULT_BYTES
    return max(1, min(_MOST_ROWS, round(shard_bytes / max(1.0, mean))))


def sample_rows(rows: Iterable[InputRow]) -> list[InputRow]:
    """Return the first of an input's rows, each with all of its segments; fewer of those that have many."""
    taken: list[InputRow] = []
    for row in rows:
        if row.row >= SAMPLE_ROWS or (len(taken) >= _SAMPLE_PARTS and row.part == 0):
            break
        taken.append(row)
    return taken


def estimate_sizes(rows: Iterable[InputRow], sources: Sources, cut: CutSettings, *, headers: bool = True) -> list[int]:
    """Return the estimated bytes of each row's clips together, without the rows whose videos cannot be had.

    With ``headers`` off, no video is opened: a segment then counts as its whole file. Rows on web servers count alike,
    each as their median rounded to a power of 4, and those that cannot be had as well: which servers fail at this very
    moment shall not decide on the shards.

    Raises:
        StoreError: the videos' store is out of reach.
    """

    def look(video: str) -> tuple[int, _Header] | None:
        try:
            place = sources.find(video)
            return place.size, _look(place) if headers else _Header(None, None)
        except (SourceError, MediaError, WebError):
            return None
        except StoreError as error:
            if concerns_all_files(error):
                raise
            return None

    asked = [row for row in rows if row.problem is None]
    videos = list(dict.fromkeys(row.video for row in asked))
    with ThreadPoolExecutor(_THREADS) as pool:
        found = dict(zip(videos, pool.map(look, videos), strict=True))
    sizes = [None if (told := found[row.video]) is None else _estimate(row, *told, cut) for row in asked]
    on_web = [sources.is_web(row.video) for row in asked]
    steady = _steady([size for size, web in zip(sizes, on_web, strict=True) if web and size is not None])
    sums: dict[int, int] = {}
    for row, size, web in zip(asked, sizes, on_web, strict=True):
        if web or size is not None:
            sums[row.row] = sums.get(row.row, 0) + (steady if web else size or 0)
    return list(sums.values())


def _steady(sizes: Sequence[int]) -> int:
    """Return the power of 4 that is nearest to the median in proportion; few sizes more or less do not move it."""
    middle = max(1.0, median(sizes)) if sizes else _DEFAULT_BYTES
    return int(4 ** round(math.log(middle, 4)))


def _look(place: Place) -> _Header:
    """Return what a video's header claims; nothing where a web server sends whole files only."""
    try:
        return _read_header(place)
    except (MediaError, WebError) as error:
        if isinstance(error, WholeFilesError) or isinstance(error.__cause__, WholeFilesError):
            return _Header(None, None)
        raise


def _read_header(place: Place) -> _Header:
    with place.open() as file:
        if begins_as_picture(source_head(file, HEAD)):
            return _Header(None, None)
        with open_media(file, Limits()) as container:
            video = video_stream(container, Limits())
            seconds = None if container.duration is None else container.duration / av.time_base
            return _Header(seconds, min(video.width, video.height))


def _estimate(row: InputRow, size: int, header: _Header, cut: CutSettings) -> int:
    seconds = header.seconds or 0.0
    share = 1.0
    if seconds > 0:
        end = seconds if row.end is None else min(row.end, seconds)
        share = max(0.0, end - (row.start or 0.0)) / seconds
    return clip_bytes(cut, seconds * share, header.short_side or _SHORT_SIDE, size * share)


def clip_bytes(cut: CutSettings, seconds: float, short_side: int, source_bytes: float) -> int:
    """Return about how many bytes a clip has of so many seconds of a source, of which the source spends so many bytes.

    ``short_side`` is the source's, in pixels; without a length, or where the source is copied, its bytes count.
    """
    rate = _ENCODED_BYTES.get(cut.preset)
    if rate is None or seconds <= 0:
        return round(source_bytes)
    side = min(cut.short_side or _SHORT_SIDE, short_side)
    fewer = min(1.0, (cut.fps or _USUAL_FPS) / _USUAL_FPS)
    pictures = rate * (side / _SHORT_SIDE) ** 2 * seconds * (fewer if cut.preset in _KEYS_ONLY else fewer**0.5)
    return round(min(pictures, _MOST_GROWTH * source_bytes) + _SOUND_BYTES * seconds * cut.audio)
