"""Manifest and plan as a verification opens them, what is wrong with them, and files that they do not know."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from string import digits
from typing import Final

from shards import layout
from shards.dataset import Dataset, open_dataset
from shards.manifest import Manifest, ShardEntry
from shards.plan import BlockPlan, read_plan
from shards.store import NotFoundError, Store
from shards.verify_problems import Kind, Problem

_SHARD_SUFFIXES: Final = (layout.TAR_SUFFIX, layout.IDX_SUFFIX, layout.PARQUET_SUFFIX, layout.STATS_SUFFIX)


@dataclass(frozen=True, slots=True)
class Opened:
    """A dataset as far as it can be opened: None for what cannot be read, and what is wrong."""

    dataset: Dataset | None
    plan: BlockPlan | None
    problems: tuple[Problem, ...]

    @property
    def shards(self) -> Sequence[ShardEntry]:
        """The dataset's shards; none where its manifest cannot be read."""
        return () if self.dataset is None else self.dataset.manifest.shards

    @property
    def is_of_one_table(self) -> bool:
        """Whether the shards are blocks of consecutive rows of one input, so that keys rise from shard to shard."""
        return self.plan is None or self.plan.rows_per_block > 0

    @property
    def is_adopted(self) -> bool:
        """Whether the tars are another tool's, and all else was written beside them when they were adopted."""
        return self.plan is not None and self.plan.settings.get("made_by") == "index"

    def rows_of(self, number: int) -> range | None:
        """Return the input rows of a shard's block; None where blocks are not made of consecutive rows of a table."""
        plan = self.plan
        if plan is None or not plan.rows_per_block or number >= plan.blocks:
            return None
        return plan.block_rows(number)

    def prints(self) -> frozenset[str]:
        """Return the stems of shards whose rows' fingerprints are there.

        Raises:
            StoreError: the store cannot be reached.
        """
        if self.dataset is None:
            return frozenset()
        there = set(self.dataset.store.list(f"{layout.FINGERPRINT_DIR}/"))
        return frozenset(entry.stem for entry in self.shards if layout.fingerprint_name(entry.stem) in there)

    def strangers(self) -> list[str]:
        """Return the names of files that lie where shards do and that the manifest does not know.

        Raises:
            StoreError: the store cannot be reached.
        """
        if self.dataset is None:
            return []
        known = {name for entry in self.shards for name in (*entry.files(), *entry.links.values())}
        # Beside tars of another tool lie tables and summaries of that tool's.
        suffixes = (layout.TAR_SUFFIX,) if any(entry.links for entry in self.shards) else _SHARD_SUFFIXES
        return [name for name in self.dataset.store.list() if name not in known and _is_a_shards(name, suffixes)]


def open_whole(store: Store) -> Opened:
    """Open a dataset's manifest and plan, and compare them.

    Raises:
        StoreError: the store cannot be reached.
    """
    try:
        dataset = open_dataset(store)
    except NotFoundError as error:
        return Opened(None, None, (Problem(layout.MANIFEST_NAME, str(error), Kind.MISSING),))
    except ValueError as error:
        return Opened(None, None, (Problem(layout.MANIFEST_NAME, str(error), Kind.DAMAGED),))
    try:
        plan = read_plan(dataset.store)
    except ValueError as error:
        return Opened(dataset, None, (Problem(layout.PLAN_NAME, str(error), Kind.DAMAGED),))
    return Opened(dataset, plan, (*_plan_problems(plan, dataset.manifest), *_number_problems(dataset.manifest)))


def _plan_problems(plan: BlockPlan | None, manifest: Manifest) -> Iterator[Problem]:
    if plan is None:
        yield Problem(layout.PLAN_NAME, "it does not exist", Kind.MISSING)
    elif plan.digest != manifest.plan_digest and plan.sections and plan.blocks > len(manifest.shards):
        what = (
            f"an extension to {plan.blocks} shards was begun and is not finished, the manifest has "
            f"{len(manifest.shards)}; run the same 'vidloom shard --extend' command again"
        )
        yield Problem(layout.PLAN_NAME, what, Kind.PLAN)
    elif plan.digest != manifest.plan_digest:
        what = f"its digest is {plan.digest}, the manifest says {manifest.plan_digest}"
        yield Problem(layout.PLAN_NAME, what, Kind.PLAN)
    elif plan.blocks != len(manifest.shards):
        what = f"it has {plan.blocks} blocks, the manifest {len(manifest.shards)} shards"
        yield Problem(layout.PLAN_NAME, what, Kind.PLAN)
    elif plan.settings != manifest.settings:
        yield Problem(layout.MANIFEST_NAME, "its settings are not those of the plan that it names", Kind.PLAN)


def _number_problems(manifest: Manifest) -> Iterator[Problem]:
    stems = [entry.stem for entry in manifest.shards]
    if stems != [layout.shard_stem(number) for number in range(len(stems))]:
        what = f"its shards are not numbered from 0 to {len(stems) - 1}"
        yield Problem(layout.MANIFEST_NAME, what, Kind.COUNT)


def _is_a_shards(name: str, suffixes: tuple[str, ...]) -> bool:
    """Tell whether a name is one that a shard's file may have."""
    if name.startswith(f"{layout.LEDGER_DIR}/"):
        return True
    return (
        "/" not in name and name.endswith(suffixes) and name[0] in digits and not name.endswith(layout.TAR_IDX_SUFFIX)
    )
