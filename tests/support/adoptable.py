"""Tars as other tools write them: any names, any header format, real small videos; and one that kills its reader."""

from __future__ import annotations

import io
import json
import os
import signal
import tarfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from shards.manifest import ShardEntry
from tests.support.clip_datasets import video_bytes
from tools.corpus import foreign_clip
from tools.corpus.block import BlockSettings, Task, Watch
from tools.corpus.foreign_shard import adopt_tar
from tools.corpus.probe import Probe

KILLS = b"what reads this dies"


@cache
def small_video(number: int) -> bytes:
    """Return a video of 8 frames that its number decides."""
    return video_bytes(number, 8)


def write_tar(path: Path, members: Mapping[str, bytes], *, form: int = tarfile.PAX_FORMAT) -> Path:
    """Write a tar of members with times that are no whole numbers, which need extended headers in the pax format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=form) as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), 1.5 if form == tarfile.PAX_FORMAT else 1
            tar.addfile(info, io.BytesIO(data))
    return path


def sample(key: str, number: int, caption: str | None = None, **fields: Any) -> dict[str, bytes]:
    """Return the members of a sample as video2dataset writes them."""
    made = {f"{key}.mp4": small_video(number)}
    if caption is not None:
        made[f"{key}.txt"] = caption.encode()
    if fields:
        made[f"{key}.json"] = json.dumps(fields).encode()
    return made


def deadly_adopt(task: Task, settings: BlockSettings, watch: Watch) -> ShardEntry:
    """Adopt a tar, or die of the sample whose clip ends in ``KILLS``."""
    probe = foreign_clip.probe

    def deadly(payload: bytes, **options: Any) -> Probe:
        if payload.endswith(KILLS):
            os.kill(os.getpid(), signal.SIGKILL)
        return probe(payload, **options)

    foreign_clip.probe = deadly
    try:
        return adopt_tar(task, settings, watch)
    finally:
        foreign_clip.probe = probe
