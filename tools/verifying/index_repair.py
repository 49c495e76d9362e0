"""Indexes for other readers made again where they are not what was written; those that people edited stay."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from shards.dataset import Dataset
from shards.indexes import read_indexes, write_indexes
from shards.verify_indexes import index_problems
from shards.verify_problems import Kind
from tools.verifying.outcomes import Repair, put_back


def repair_indexes(dataset: Dataset, require_alone: Callable[[], None]) -> Iterator[Repair]:
    """Make the indexes of a dataset again where some are wrong, and yield what became of each that is.

    Args:
        dataset: the dataset.
        require_alone: raises where another run writes to the dataset now.

    Raises:
        StoreError: the store cannot be reached.
    """
    store = dataset.store
    wrong = list(index_problems(store, dataset.manifest))
    mendable = [problem.file for problem in wrong if problem.repairable]
    if not mendable:
        return
    kept = [problem.file for problem in wrong if problem.kind == Kind.HASH and not problem.repairable]
    edited = {name: store.read(name) for name in kept}
    try:
        found = read_indexes(store)
        require_alone()
        write_indexes(store, () if found is None else tuple(found.kinds))
    except ValueError as error:
        yield from (Repair(file, done=False, what=str(error)) for file in mendable)
        return
    for name, data in edited.items():
        store.put(name, data)
    yield from map(put_back, mendable)
