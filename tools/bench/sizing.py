"""The sizing rule: from GPUs and the shape of a clip to cores, decoder share, bandwidth, requests and cache."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Final

from pipelines.nearby import GAP_BYTES, MOST_BYTES
from shards.store import PART_BYTES

MEASURED_PIXELS: Final = 340 * 256
FRAME_PIXELS: Final = 224 * 224


@dataclass(frozen=True, slots=True)
class HostCosts:
    """CPU seconds of a host core (docs/performance.md, Sizing), beside those that go with a clip's bytes.

    ``clip`` for opening it and for what is done once a clip; ``picture`` for each that is decoded, ``source`` for each
    that is resized, of ``MEASURED_PIXELS``; ``frame`` for each that comes of it, of ``FRAME_PIXELS``.
    """

    clip: float
    picture: float
    source: float
    frame: float


STORED_FOR_TRAINING: Final = HostCosts(clip=1.6e-3, picture=0.081e-3, source=0.097e-3, frame=0.044e-3)
STORED_AS_IT_CAME: Final = HostCosts(clip=4.9e-3, picture=0.11e-3, source=0.104e-3, frame=0.0)
"""The costlier of two: pictures of ten real videos, most of them larger, took 0.024 ms for as many pixels.
Frames of half the edge cost the same, to within what was measured."""

EVERY_NEEDED: Final = 5
"""One of so many pictures of a clip stored for training is needed by others; the rest are decoded where wanted."""

STORE_SECONDS_PER_BYTE: Final = 0.45e-9
"""CPU time to bring a byte from an object store into the cache, on disk: 0.45 s a GB, without TLS."""

HASH_SECONDS_PER_BYTE: Final = 0.53e-9
"""CPU time of SHA-256, once as a shard arrives and once as its clip is read: 0.53 s a GB."""

TAR_BYTES: Final = 3400
"""Bytes of a shard's tar beside each clip: headers, padding, caption and record."""

TABLE_BYTES: Final = 250
"""Bytes of a shard's table of records for each clip."""

NVDEC_PIXELS: Final = 700 * 1920 * 1080.0
"""Pixels a second of one NVDEC: an assumption of the vendor's order of size for H.264, not measured here."""

CACHED_WINDOWS: Final = 3
"""Windows of a lane that are held at a time: the present, the next, and the last one until its batches are out."""

_TURN_WINDOWS: Final = 4
_MOST_MORE_WINDOWS: Final = 5

_OPTIONS: Final = {"clips": "clips_per_gpu_second", "pixels": "picture, in pixels,", "shard_bytes": "shard_size"}
"""What a field is called on the command line, where that is another name."""

BUSY: Final = 0.8
"""Part of the cores' time that decoding may take, so that bursts and the rest of the machine find room."""


@dataclass(frozen=True, slots=True)
class Need:
    """What a training run asks of its loader, and how its dataset is stored.

    ``clips`` are of one GPU and second; a clip is ``frames`` frames, ``stride`` apart, of ``size`` pixels square, from
    a video of ``pixels`` a picture and a key frame every ``gop``, which takes ``clip_bytes``. ``shards`` 0 are very
    many. ``lanes`` 0 takes the least multiple of the nodes that is 8 or more. ``clip_seconds`` is CPU time a clip where
    it was measured, else 0.

    Raises:
        ValueError: a number is not positive or has no end, or GPUs do not fill whole nodes; the message names the
            option.
    """

    gpus: int
    clips: float
    clip_bytes: float
    frames: int = 16
    stride: int = 4
    size: int = 224
    pixels: int = MEASURED_PIXELS
    gop: int = 16
    original: bool = False
    gpus_per_node: int = 8
    batch: int = 32
    shard_bytes: float = 256 << 20
    shards: int = 0
    lanes: int = 0
    window: int = 4
    whole_batches: bool = False
    decoders: int = 7
    decoder_pixels: float = NVDEC_PIXELS
    clip_seconds: float = 0.0

    def __post_init__(self) -> None:
        for each in fields(self):
            least = 0 if each.name in {"lanes", "shards", "clip_seconds"} else None
            value = getattr(self, each.name)
            if not isinstance(value, bool) and not (math.isfinite(value) and (value > 0 or value == least)):
                name = _OPTIONS.get(each.name, each.name)
                raise ValueError(f"{name} is {value}; take {'0 or more' if least == 0 else 'more than 0'}")
        if self.gpus % self.gpus_per_node and self.gpus > self.gpus_per_node:
            raise ValueError(f"{self.gpus} GPUs do not fill nodes of {self.gpus_per_node}; give gpus_per_node")

    @property
    def node_gpus(self) -> int:
        """Return how many GPUs a node has."""
        return min(self.gpus, self.gpus_per_node)

    @property
    def nodes(self) -> int:
        """Return how many nodes there are."""
        return self.gpus // self.node_gpus

    @property
    def walked(self) -> int:
        """Return the number of lanes."""
        return self.lanes or -(-8 // self.nodes) * self.nodes

    @property
    def stored_bytes(self) -> float:
        """Return the bytes of a shard; one holds a clip at least, however large."""
        return max(self.shard_bytes, self.clip_bytes + TAR_BYTES + TABLE_BYTES)

    @property
    def shard_clips(self) -> float:
        """Return how many clips a shard holds."""
        return self.stored_bytes / (self.clip_bytes + TAR_BYTES + TABLE_BYTES)

    @property
    def decoded(self) -> float:
        """Return how many pictures are decoded for a clip: from its first to its last, and half a GOP before."""
        return (self.frames - 1) * self.stride + 1 + (self.gop - 1) / 2

    @property
    def host_decoded(self) -> float:
        """Return how many of them a host decodes, which leaves out what nobody wants and no other picture needs."""
        if self.original:
            return self.decoded
        return self.decoded / EVERY_NEEDED + self.frames * (1 - 1 / EVERY_NEEDED)


@dataclass(frozen=True, slots=True)
class Traffic:
    """What a node asks of the store: bytes and requests a second, and over an epoch where its shards are known."""

    bytes_per_second: float
    requests_per_second: float
    bytes_per_clip: float
    requests_per_clip: float


@dataclass(frozen=True, slots=True)
class Sizing:
    """What each node needs; ``nvdec_share`` is part of the decoders of one GPU, 1 and more is too much for them."""

    nodes: int
    lanes: int
    clips_per_second: float
    cpu_seconds_per_clip: float
    cores: float
    nvdec_share: float
    cache_bytes: float
    with_cache: Traffic
    without_cache: Traffic


def size_up(need: Need) -> Sizing:
    """Work out what each node needs (docs/performance.md, Sizing)."""
    rate = need.clips * need.node_gpus
    seconds = need.clip_seconds or decode_seconds(need)
    seconds += (STORE_SECONDS_PER_BYTE + HASH_SECONDS_PER_BYTE) * need.clip_bytes
    return Sizing(
        nodes=need.nodes,
        lanes=need.walked,
        clips_per_second=rate,
        cpu_seconds_per_clip=seconds,
        cores=rate * seconds / BUSY + need.node_gpus,
        nvdec_share=need.clips * need.decoded * need.pixels / (need.decoders * need.decoder_pixels),
        cache_bytes=held_shards(need) * need.stored_bytes,
        with_cache=_traffic(rate, cached_bytes(need), cached_requests(need)),
        without_cache=_traffic(rate, ranged_bytes(need), ranged_requests(need)),
    )


def decode_seconds(need: Need) -> float:
    """Return the CPU seconds in which a host core checks a clip's bytes and makes a sample of them."""
    costs = STORED_AS_IT_CAME if need.original else STORED_FOR_TRAINING
    stored, made = need.pixels / MEASURED_PIXELS, need.size**2 / FRAME_PIXELS
    pictures = need.host_decoded * costs.picture * stored + need.frames * (costs.source * stored + costs.frame * made)
    return costs.clip + pictures + HASH_SECONDS_PER_BYTE * need.clip_bytes


def held_shards(need: Need) -> float:
    """Return how many shards the caches of a node hold at once, of each lane that it reads.

    Three windows of a lane, and those that the two batches before the newest, still under way, are ahead of one
    another, where a batch takes so much of a lane; and no more than there are.
    """
    moved = need.batch * need.gpus / need.walked / (need.window * need.shard_clips)
    windows = CACHED_WINDOWS + min(round(2 * moved), _MOST_MORE_WINDOWS)
    return min(windows * need.window * node_lanes(need), need.shards or math.inf)


def node_lanes(need: Need) -> float:
    """Return how many lanes a node reads: its own, or one that it shares with other nodes."""
    return max(1.0, need.walked / need.nodes)


def node_shards(need: Need) -> float:
    """Return how many shards a node fetches in an epoch with a cache, those that two of its lanes need counted twice.

    A lane is a run of the epoch's shards, which begins and ends inside one: P / L + 1 shards. A lane that nodes share
    brings to each the shards of which it draws a clip at least. A batch that is shared by two epochs has the last of
    all lanes and then the first of all lanes, so that nodes take clips of other lanes, and want two windows of each;
    one node alone has all lanes anyway. A cache that holds the whole dataset fetches nothing once it is full.
    """
    if need.shards and held_shards(need) >= need.shards:
        return 0.0
    lane = need.shards / need.walked + 1
    drawn = 1 - float((1 - min(1.0, need.walked / need.nodes)) ** need.shard_clips)
    turn = 0 if need.whole_batches or need.nodes == 1 else _TURN_WINDOWS * need.window
    return min(lane * drawn + turn, need.shards) * node_lanes(need)


def excess(need: Need) -> float:
    """Return how many times its share of the dataset a node fetches; 1 where the number of shards is not given."""
    return node_shards(need) * need.nodes / need.shards if need.shards else max(1.0, need.nodes / need.walked)


def tables_read(need: Need) -> float:
    """Return the same without a cache of shards: tables are read again in each epoch."""
    return max(1.0, need.nodes / need.walked, excess(need))


def cached_bytes(need: Need) -> float:
    """Return the bytes that a node with a cache fetches for each clip that it takes."""
    return (need.clip_bytes + TAR_BYTES + TABLE_BYTES) * excess(need)


def cached_requests(need: Need) -> float:
    """Return the requests for each clip with a cache: a shard's parts and its table, over the shard's clips."""
    return (-(-need.stored_bytes // PART_BYTES) + 1) / need.shard_clips * excess(need)


def link(need: Need) -> float:
    """Return how likely a clip's request brings the next one of the rank's batch in the shard, too.

    The clips that a rank takes of a lane for a batch lie at random among those of the window; the next is near where
    no more than ``GAP_BYTES`` of others lie between.
    """
    return 1 - (1 - _density(need)) ** (int(GAP_BYTES // _member(need)) + 1)


def clips_per_request(need: Need) -> float:
    """Return how many clips a ranged request brings, on average: a run of likely links, of ``MOST_BYTES`` at most."""
    longest = max(1, int(MOST_BYTES // _member(need)))
    chance = link(need)
    return longest if chance >= 1 else (1 - chance**longest) / (1 - chance)


def table_reads(need: Need) -> float:
    """Return how many ranks of a node read the table of each of its shards: those that share a lane there."""
    return max(1.0, need.node_gpus / node_lanes(need))


def ranged_requests(need: Need) -> float:
    """Return the requests for each clip without a cache: its part of a range, and of the tables of its shards."""
    return 1 / clips_per_request(need) + table_reads(need) * tables_read(need) / need.shard_clips


def ranged_bytes(need: Need) -> float:
    """Return the bytes for each clip without a cache: itself, what lies between neighbours, its part of tables."""
    most = int(GAP_BYTES // _member(need))
    density = _density(need)
    between = sum(gap * density * (1 - density) ** gap for gap in range(most + 1)) * _member(need) + TAR_BYTES
    tables = TABLE_BYTES * table_reads(need) * tables_read(need)
    return need.clip_bytes + (1 - 1 / clips_per_request(need)) * between + tables


def _density(need: Need) -> float:
    """Return which part of a window's clips a rank takes for one batch."""
    lanes = max(1.0, need.walked / need.gpus)
    return min(1.0, need.batch / lanes / (need.window * need.shard_clips))


def _member(need: Need) -> float:
    return need.clip_bytes + TAR_BYTES


def _traffic(rate: float, size: float, requests: float) -> Traffic:
    return Traffic(rate * size, rate * requests, size, requests)
