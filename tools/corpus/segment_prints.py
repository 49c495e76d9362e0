"""The fingerprint of a segment: digests of its video and captions, hashes of its pictures, a MinHash of its words."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np

from tools.corpus.cut_options import CutOptions
from tools.corpus.fingerprint_table import DIGEST_BYTES, PERMUTATIONS, Fingerprint
from tools.corpus.frame_hashes import SIDE, hash_pictures
from tools.corpus.ingest import InputRow
from tools.corpus.media_file import Source
from tools.corpus.outcome import Video, Wanted
from tools.corpus.pictures import sample_frames, sample_pictures
from tools.corpus.timeline import Span

PICTURES_A_SECOND: Final = 2.0
LEAST_PICTURES: Final = 6
MOST_PICTURES: Final = 48

_SEED: Final = 1
_SCHEME: Final = "affine32"
_PIECE: Final = 1 << 20
_TOKEN: Final = re.compile(r"\w+")


def segment_prints(wanted: Sequence[Wanted], video: Video, options: CutOptions) -> list[Fingerprint]:
    """Return the fingerprints of segments of an opened video; where pictures cannot be decoded, without any."""
    dedup = options.dedup
    assert dedup is not None, "a run without duplicates has these settings"
    if not wanted:
        return []
    source = b"" if dedup.by == "caption" else digest_source(video.media.source)
    spans = list(dict.fromkeys(one.span for one in wanted))
    pictures = _pictures(spans, video, options) if dedup.needs_pictures else {}
    words = caption_words([_captions(one.row) for one in wanted]) if dedup.needs_words else [None] * len(wanted)
    return [
        Fingerprint(
            row=one.row.row,
            part=one.row.part,
            source=source or bytes(DIGEST_BYTES),
            first=one.span.first,
            stop=one.span.stop,
            seconds=_seconds(one.span, video),
            caption=hashlib.sha256(json.dumps(_captions(one.row)).encode()).digest()[:DIGEST_BYTES],
            pictures=pictures.get(one.span, b""),
            words=mine,
        )
        for one, mine in zip(wanted, words, strict=True)
    ]


def digest_source(source: Source) -> bytes:
    """Return the first bytes of the SHA-256 of all bytes of a source, which are read piece by piece."""
    digest = hashlib.sha256()
    if isinstance(source, bytes):
        digest.update(source)
    elif isinstance(source, Path | str):
        with Path(source).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256")
    else:
        source.seek(0)
        while piece := source.read(_PIECE):
            digest.update(piece)
    return digest.digest()[:DIGEST_BYTES]


def _pictures(spans: Sequence[Span], video: Video, options: CutOptions) -> Mapping[Span, bytes]:
    """Return the hashes of the pictures of each span that can be decoded: two a second, evenly spaced."""
    numbers = [sample_frames(span, _count(_seconds(span, video))) for span in spans]
    found: dict[Span, bytes] = {}
    for taken in sample_pictures(video.media, video.found, numbers, SIDE, options.cut.limits):
        if not isinstance(taken.result, Exception):
            turns = -video.found.media.rotation // 90  # as shown: a copy may have been turned for good
            hashes = hash_pictures([np.rot90(sampled.picture, turns) for sampled in taken.result])
            found[spans[taken.index]] = hashes.astype("<u8").tobytes()
    return found


def _count(seconds: float) -> int:
    return min(MOST_PICTURES, max(LEAST_PICTURES, round(seconds * PICTURES_A_SECOND)))


def _seconds(span: Span, video: Video) -> float:
    line = video.found.timeline
    return float(line.at(span.stop) - line.at(span.first))


def _captions(row: InputRow) -> tuple[str, ...]:
    return row.captions or (row.caption,)


def caption_words(captions: Sequence[Sequence[str]]) -> list[bytes | None]:
    """Return the MinHash of each row's captions, 16 bits of each value; None where there are no words.

    What is hashed are the words and the pairs of neighbouring words, in small letters and without signs.
    """
    from datasketch import MinHash  # noqa: PLC0415 - only those who compare captions pay for it

    some = [_shingles(texts) for texts in captions]
    made = MinHash.bulk(some, num_perm=PERMUTATIONS, seed=_SEED, scheme=_SCHEME)
    return [
        (one.hashvalues & 0xFFFF).astype("<u2").tobytes() if shingles else None
        for one, shingles in zip(made, some, strict=True)
    ]


def _shingles(texts: Sequence[str]) -> list[bytes]:
    found: set[str] = set()
    for text in texts:
        words = _TOKEN.findall(text.casefold())
        found.update(words)
        found.update(f"{one} {other}" for one, other in pairwise(words))
    return [shingle.encode(errors="surrogatepass") for shingle in sorted(found)]
