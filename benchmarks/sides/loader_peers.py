"""A process of another environment that delivers batches with a peer's loader and PyAV, or writes a peer's own format.

It imports nothing of ours but the protocol. All peers decode by the same function, the quickest plain one that we know
of: decode in order, scale the wanted frames alone while they are converted, crop, normalise in place. They get clips
as bytes, do all in one process (a worker process would add the cost of handing batches over), and shuffle.
"""

from __future__ import annotations

import importlib
import importlib.util
import io
import json
import os
import sys
import tarfile
import types
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import av
import numpy as np
import torch

from benchmarks.sides.loader_serving import Batch, Feed, Stream, Work, read_work, serve

T = TypeVar("T")

SHUFFLED = 16
"""Clips that webdataset and Energon hold to shuffle them; the others shuffle numbers."""


class Collate:
    """Makes a batch of keys and clips as bytes."""

    def __init__(self, work: Work) -> None:
        self._work = work
        levels = 255 * torch.tensor(work.deviation)
        self._scale, self._shift = levels.reciprocal(), -torch.tensor(work.mean) / torch.tensor(work.deviation)

    def __call__(self, samples: Sequence[tuple[str, bytes]]) -> Batch:
        """Decode, resize, crop and normalise."""
        pictures = np.stack([self._decode(clip) for _, clip in samples])
        video = torch.from_numpy(pictures).float().mul_(self._scale).add_(self._shift)
        return Batch([key for key, _ in samples], video.permute(0, 4, 1, 2, 3).contiguous())

    def _decode(self, clip: bytes) -> np.ndarray[Any, np.dtype[np.uint8]]:
        side, found = self._work.size, {}
        with av.open(io.BytesIO(clip), "r") as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            wanted = np.linspace(0, stream.frames - 1, self._work.frames).astype(int)
            shrink = side / min(stream.width, stream.height)
            width, height = round(stream.width * shrink), round(stream.height * shrink)
            left, top = (width - side) // 2, (height - side) // 2
            for number, frame in enumerate(container.decode(stream)):
                if number in wanted:
                    small = frame.reformat(width, height, "rgb24", interpolation="BILINEAR").to_ndarray()
                    found[number] = small[top : top + side, left : left + side]
                if number == wanted[-1]:
                    break
        return np.stack([found[number] for number in wanted])


def endless(once: Iterable[T]) -> Iterator[T]:
    """Pass over it again and again."""
    while True:
        yield from once


class Webdataset:
    """webdataset over the same tars; from the store through its ``pipe:curl``. It keeps no state."""

    def __init__(self, work: Work) -> None:
        self._work, self._collate = work, Collate(work)
        self._library = importlib.import_module("webdataset")

    def open(self, copies: Path, state: object = None) -> Stream:
        """Build the pipeline that webdataset's documentation shows."""
        del copies, state
        urls = self._urls()
        dataset = self._library.WebDataset(urls, shardshuffle=len(urls)).shuffle(SHUFFLED).to_tuple("__key__", "mp4")
        batches = dataset.batched(self._work.batch, collation_fn=self._collate)
        return Stream(endless(batches), None, lambda: None)

    def _urls(self) -> list[str]:
        if not self._work.is_remote:
            return self._work.shards
        client = importlib.import_module("boto3").client("s3", endpoint_url=self._work.endpoint)
        bucket, _, prefix = self._work.data.removeprefix("s3://").partition("/")
        names = [f"{prefix}/ours/{Path(shard).name}" for shard in self._work.shards]
        asked = [{"Bucket": bucket, "Key": name} for name in names]
        signed = [client.generate_presigned_url("get_object", Params=each) for each in asked]
        return [f"pipe:curl -s -f '{url}'" for url in signed]


class Mosaic:
    """MosaicML's StreamingDataset and StreamingDataLoader over MDS shards."""

    def __init__(self, work: Work) -> None:
        self._work, self._collate = work, Collate(work)
        self._library = mosaic()
        os.environ["S3_ENDPOINT_URL"] = work.endpoint

    def open(self, copies: Path, state: object = None) -> Stream:
        """Build data set and loader."""
        work, place = self._work, f"{self._work.data}/mds"
        remote = {"remote": place, "local": str(copies)} if work.is_remote else {"local": place}
        dataset = self._library.StreamingDataset(**remote, batch_size=work.batch, shuffle=True)
        loader = self._library.StreamingDataLoader(dataset, batch_size=work.batch, collate_fn=self._collated)
        if state is not None:
            loader.load_state_dict(state)
        return Stream((Batch(*found) for found in endless(loader)), loader.state_dict, lambda: None)

    def _collated(self, samples: list[dict[str, Any]]) -> tuple[list[str], torch.Tensor]:
        batch = self._collate([(sample["key"], sample["clip"]) for sample in samples])
        return batch.keys, batch.video


def mosaic() -> Any:  # noqa: ANN401 - a peer's module
    """Return the package ``streaming.base``: its parent imports torchvision, of which its readers need nothing."""
    spec = importlib.util.find_spec("streaming")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("mosaicml-streaming is not installed")
    bare = types.ModuleType("streaming")
    bare.__path__, bare.__spec__ = list(spec.submodule_search_locations), spec
    sys.modules["streaming"] = bare
    return importlib.import_module("streaming.base")


class Energon:
    """Megatron Energon over the same tars, with the index that ``--index energon`` makes; it streams without copies."""

    def __init__(self, work: Work) -> None:
        self._work = work
        profile = Path(work.scratch) / f"msc-{os.getpid()}.json"
        bucket = work.data.removeprefix("s3://").partition("/")[0]
        options = {"base_path": bucket, "endpoint_url": work.endpoint, "region_name": os.environ.get("AWS_REGION", "")}
        provider = {"storage_provider": {"type": "s3", "options": options}}
        profile.write_text(json.dumps({"profiles": {"bench": provider}}), encoding="utf-8")
        os.environ["MSC_CONFIG"] = str(profile)
        self._library = importlib.import_module("megatron.energon")
        self._encoder = self._encoder_class()

    def _encoder_class(self) -> Any:  # noqa: ANN401 - a class made of a peer's
        library, collate = self._library, Collate(self._work)

        class Raw(library.TextSample):  # type: ignore[misc, name-defined]  # a class of the peer's
            """A clip as bytes."""

        def cook(sample: dict[str, Any]) -> Any:  # noqa: ANN401 - a peer's sample
            return Raw(**library.basic_sample_keys(sample), text=sample["mp4"])

        class Encoder(library.DefaultTaskEncoder):  # type: ignore[misc, name-defined]  # a class of the peer's
            """Takes clips as they lie in the tars, and decodes a batch at a time as all peers do."""

            decoder = None
            cookers = (library.Cooker(library.stateless(cook)),)

            def batch(self, samples: list[Any]) -> Batch:
                """Make a batch."""
                return collate([(each.__key__.rpartition("/")[2], each.text) for each in samples])

        return Encoder

    def open(self, copies: Path, state: object = None) -> Stream:
        """Build data set and loader, without worker processes."""
        del copies
        library, work = self._library, self._work
        place = f"{work.data}/ours"
        dataset = library.get_train_dataset(
            place.replace("s3://bench", "msc://bench"),
            worker_config=library.WorkerConfig(rank=0, world_size=1, num_workers=0),
            batch_size=work.batch,
            shuffle_buffer_size=SHUFFLED,
            max_samples_per_sequence=None,
            task_encoder=self._encoder(),
        )
        loader = library.get_savable_loader(dataset)
        if state is not None:
            loader.restore_state_rank(state)
        return Stream(iter(loader), loader.save_state_rank, lambda: None)


class LitData:
    """litData's StreamingDataset and StreamingDataLoader over its own chunks."""

    def __init__(self, work: Work) -> None:
        self._work, self._collate = work, Collate(work)
        self._library = importlib.import_module("litdata")
        # Its client takes https alone and has no setting for that; the store on this machine speaks http.
        importlib.import_module("litdata.streaming.downloader")._OBSTORE_CLIENT_OPTIONS["allow_http"] = True  # noqa: SLF001 - see above

    def open(self, copies: Path, state: object = None) -> Stream:
        """Build data set and loader."""
        work, remote = self._work, dict[str, Any]()
        if work.is_remote:
            remote = {"cache_dir": str(copies), "storage_options": {"endpoint_url": work.endpoint}}
            remote |= {"force_override_state_dict": True}  # its states name the folder of copies
        dataset = self._library.StreamingDataset(f"{work.data}/litdata", shuffle=True, **remote)
        loader = self._library.StreamingDataLoader(dataset, batch_size=work.batch, collate_fn=self._collated)
        if state is not None:
            loader.load_state_dict(state)
        return Stream((Batch(*found) for found in endless(loader)), loader.state_dict, lambda: None)

    def _collated(self, samples: list[dict[str, Any]]) -> tuple[list[str], torch.Tensor]:
        batch = self._collate([(sample["key"], sample["clip"]) for sample in samples])
        return batch.keys, batch.video


PEERS: dict[str, Any] = {"webdataset": Webdataset, "mosaicml": Mosaic, "energon": Energon, "litdata": LitData}


def read_member(place: tuple[str, str]) -> dict[str, Any]:
    """Return the clip of a shard's member."""
    shard, name = place
    with tarfile.open(shard) as tar:
        member = tar.extractfile(name)
        assert member is not None
        return {"key": name.partition(".")[0], "clip": member.read()}


def write(format_name: str, path: Path) -> None:
    """Write the clips of all shards as MDS or litData's chunks, in as many files as there are shards."""
    work = read_work(path)
    places = []
    for shard in work.shards:
        with tarfile.open(shard) as tar:
            places += [(shard, name) for name in tar.getnames() if name.endswith(".mp4")]
    size = max(Path(shard).stat().st_size for shard in work.shards)
    target = f"{work.data}/{format_name}"
    if format_name == "mds":
        columns = {"key": "str", "clip": "bytes"}
        with mosaic().MDSWriter(out=target, columns=columns, size_limit=size) as writer:
            for place in places:
                writer.write(read_member(place))
    else:
        for name in ("CACHE", "DATA_CACHE"):
            os.environ[f"DATA_OPTIMIZER_{name}_FOLDER"] = str(Path(work.scratch) / "litdata" / name.lower())
        library = importlib.import_module("litdata")
        library.optimize(read_member, places, target, chunk_bytes=size, num_workers=1, verbose=False)


def main(name: str, path: Path) -> None:
    """Write a format, or serve one side until the input ends."""
    if name in {"mds", "litdata-chunks"}:
        write(name.partition("-")[0], path)
        return
    work = read_work(path)
    feed: Feed = PEERS[name](work)
    serve(feed, work)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
