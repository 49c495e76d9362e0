"""A process that delivers batches with our loader, or only decodes the same frames with FFmpeg, when it is told to."""

from __future__ import annotations

import io
import sys
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
import torch

from benchmarks.sides.loader_serving import Batch, Feed, Stream, Work, read_work, serve
from pipelines import LoaderConfig, build_loader


class Vidloom:
    """Our loader as it is used for training, without chance in what it makes of a clip."""

    def __init__(self, work: Work) -> None:
        self._work = work

    def open(self, copies: Path, state: object = None) -> Stream:
        """Build a loader; its threads begin with the first batch."""
        work = self._work
        config = LoaderConfig(
            f"{work.data}/ours",
            batch_size=work.batch,
            frames=work.frames,
            size=work.size,
            sampling="even",
            crop="center",
            decoder="host",
            workers=work.workers,
            cache_dir=str(copies),
        )
        loader = build_loader(config, cast("Mapping[str, Any] | None", state))
        batches = (Batch(batch.keys, batch.video) for batch in loader if batch.valid.all())
        return Stream(batches, loader.state_dict, loader.close)


class Limit:
    """FFmpeg through PyAV, decoding up to the last wanted frame of clips in memory; it makes nothing of frames.

    The first and the last frame are wanted, so that there is nothing to seek. A clip that ends before its last frame
    ends the side: there would be less work than that of the others.
    """

    def __init__(self, work: Work) -> None:
        self._work, self._clips = work, []
        for shard in work.shards:
            with tarfile.open(shard) as tar:
                members = [member for member in tar if member.name.endswith(".mp4")]
                self._clips += [cast("io.BufferedReader", tar.extractfile(member)).read() for member in members]

    def open(self, copies: Path, state: object = None) -> Stream:
        """Begin with the first clip."""
        del copies, state
        return Stream(self._batches(), None, lambda: None)

    def _batches(self) -> Iterator[Batch]:
        nothing = torch.zeros(1)
        while True:
            for clip in self._clips:
                self._decode(clip)
                yield Batch([""], nothing)

    def _decode(self, clip: bytes) -> None:
        with av.open(io.BytesIO(clip), "r") as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            last = int(np.linspace(0, stream.frames - 1, self._work.frames)[-1])
            for number, _ in enumerate(container.decode(stream)):
                if number == last:
                    return
        raise ValueError(f"a clip of {len(clip)} bytes ends before its frame {last}, the last one that is wanted")


SIDES: dict[str, type[Vidloom | Limit]] = {"vidloom": Vidloom, "ffmpeg": Limit}


def main(name: str, path: Path) -> None:
    """Serve one side until the input ends."""
    work = read_work(path)
    feed: Feed = SIDES[name](work)
    serve(feed, work)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
