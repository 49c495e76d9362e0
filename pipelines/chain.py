"""The chain of nodes from slots to batches, its threads, and how it is ended."""

from __future__ import annotations

import threading
import time
from typing import Any, Final

from torchdata.nodes import Batcher, Mapper, Prefetcher

from pipelines.assemble import BatchMaker, Delivery
from pipelines.labels import Labels
from pipelines.meter import DEVICE, HOST, READS, StageMeter
from pipelines.ordered_map import OrderedMap
from pipelines.plan import Order, Slot
from pipelines.samples import Sample, SampleMaker
from pipelines.settings import LoaderConfig
from pipelines.slot_source import RankView, SlotSource
from pipelines.sources import ClipStream
from pipelines.tokenizer import TextTokenizer

FETCH_THREADS: Final = 8
"""Requests to a remote store that are under way at a time: its latency, not its speed, bounds a small read."""


class Chain:
    """``slots -> fetch -> decode -> batch -> DALI -> prefetch``, from some batch to the end of the order.

    Fetching and decoding run in threads, whose results keep the slots' order; DALI runs in one more thread, which also
    keeps finished batches ready. In memory are at most ``prefetch_batches`` finished batches and the frames of about
    two batches more.

    Args:
        config: the loader's settings.
        order: the order of samples.
        source: where clips come from; it outlives the chain.
        meter: gets the time of each stage.
        first_batch: number of the first batch.
        tokenizer: makes token ids of the captions; None makes none.
        labels: gives clips their classes; None gives none.
    """

    def __init__(
        self,
        config: LoaderConfig,
        order: Order,
        source: ClipStream,
        meter: StageMeter,
        first_batch: int,
        *,
        tokenizer: TextTokenizer | None = None,
        labels: Labels | None = None,
    ) -> None:
        self._meter, self._source = meter, source
        self._closing = threading.Event()
        source.resume()
        share = order.rank_slice(config.rank, config.world)
        size = share.stop - share.start
        maker = SampleMaker(config, source, meter, self._closing, labels)
        ahead = size + config.workers
        unfetched = size + FETCH_THREADS if source.is_remote else ahead
        under_way = -(-unfetched // size) + 1  # shares that these slots come from; the newest may have just begun

        def announce(slots: list[Slot]) -> None:
            source.expect(order.shards_ahead(slots), under_way=under_way, slots=slots)

        view = RankView(config.rank, config.world)
        slots = SlotSource(order, view, first_batch, announce, self._closing)
        self._maps: list[OrderedMap[Any, Any]]
        samples: OrderedMap[Any, Sample]
        if source.is_remote:
            fetched = OrderedMap(slots, maker.fetch, threads=FETCH_THREADS, ahead=unfetched)
            samples = OrderedMap(fetched, maker.prepare, threads=config.workers, ahead=ahead)
            self._maps = [fetched, samples]
            meter.watch({"fetched": fetched.depth, "decoded": samples.depth})
        else:
            samples = OrderedMap(slots, maker.fetch_and_prepare, threads=config.workers, ahead=ahead)
            self._maps = [samples]
            meter.watch({"decoded": samples.depth})
        meter.employ(READS, FETCH_THREADS if source.is_remote else config.workers)
        meter.employ(HOST, config.workers)
        meter.employ(DEVICE, 1)
        batches = Mapper(
            Batcher(samples, size, drop_last=not order.is_finite),
            BatchMaker(config, maker, meter, size, tokenizer).make,
        )
        self._out: Prefetcher[Delivery] = Prefetcher(batches, config.prefetch_batches, snapshot_frequency=0)

    def next(self) -> Delivery:
        """Return the next delivery; waits for it.

        Raises:
            StopIteration: the chain was stopped, or the order is at its end.
        """
        delivery: Delivery = next(self._out)
        return delivery

    def stop(self, patience: float) -> bool:
        """End all threads, dropping what is under way; return whether they ended within ``patience`` seconds.

        A thread that does not end hangs in a read or a decode; it is a daemon and dies with the process.
        """
        self._closing.set()
        self._source.interrupt()
        self._meter.watch({})
        deadline = time.monotonic() + patience
        ended = [one.stop(max(0.0, deadline - time.monotonic())) for one in self._maps]
        if not all(ended):
            return False
        for _ in self._out:
            self._meter.change_ready(-1)
        return True
