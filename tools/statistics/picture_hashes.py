"""Hashes of a few pictures of a clip, decoded from its bytes."""

from __future__ import annotations

from typing import Final

import numpy as np

from tools.corpus.faults import VIDEO_TROUBLE, fault_of
from tools.corpus.frame_hashes import SIDE, hash_pictures
from tools.corpus.held_media import HeldMedia
from tools.corpus.media_file import Limits
from tools.corpus.pictures import sample_frames, sample_pictures
from tools.corpus.probe import probe
from tools.corpus.timeline import Span
from tools.statistics.hashing import Hashes

PICTURES: Final = 12
"""Pictures of a clip that are hashed, evenly spaced."""

_MOST_BYTES: Final = 1 << 30


def picture_hashes(key: str, payload: bytes) -> Hashes | None:
    """Return the hashes of a clip's pictures, as shown; none of flat ones. None where they cannot be decoded.

    Args:
        key: What messages call the clip.
        payload: Its bytes.

    Raises:
        OSError: this machine has no room left.
    """
    bounds = Limits(max_bytes=_MOST_BYTES)
    try:
        with HeldMedia(payload, bounds) as media:
            found = probe(media, limits=bounds)
            numbers = sample_frames(Span(0, found.media.num_frames), PICTURES)
            turns = -found.media.rotation // 90
            for taken in sample_pictures(media, found, [numbers], SIDE, bounds):
                if not isinstance(taken.result, Exception):
                    return hash_pictures([np.rot90(one.picture, turns) for one in taken.result])
    except VIDEO_TROUBLE as error:
        fault_of(key, error)  # raises what is no fault of the clip's
    return None
