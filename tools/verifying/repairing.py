"""Files of a dataset put back that can be made again from what is sound; what is sound is not touched."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from shards import layout
from shards.dataset import KINDS, Dataset
from shards.store import NotFoundError, Store
from shards.verify import Verification
from shards.verify_manifest import rebuild_manifest
from shards.verify_rebuild import NotRebuiltError, Rebuilding, RecordColumns, find_columns
from shards.verify_repairable import repairable_files
from tools.corpus.executor import ExecutorChoice
from tools.verifying.index_repair import repair_indexes
from tools.verifying.misplacing import find_leftovers, put_in_place
from tools.verifying.outcomes import Repair, put_back
from tools.verifying.readopting import adopt_again

__all__ = ["Repair", "Repairer"]


class Repairer:
    """Puts files of one dataset back; the caller keeps other writers away.

    Args:
        store: the dataset.
        scratch: a local folder.
        tell: hears what became of each file, as soon as it is known.
        require_alone: raises where another run writes to the dataset now.
        choice: who reads adopted tars again.
    """

    def __init__(
        self,
        store: Store,
        scratch: Path,
        tell: Callable[[Repair], None],
        require_alone: Callable[[], None],
        choice: ExecutorChoice,
    ) -> None:
        self._store, self._scratch, self._tell, self._require_alone = store, scratch, tell, require_alone
        self._choice = choice

    def manifest(self, said: str) -> bool:
        """Make the manifest again, of which ``said`` says what is wrong; tell whether that went.

        Raises:
            StoreError: the store cannot be reached.
        """
        try:
            manifest = rebuild_manifest(self._store, self._scratch, self._put_by_ledger)
        except NotRebuiltError as error:
            self._tell(Repair(layout.MANIFEST_NAME, done=False, what=f"{error} ({said})"))
            return False
        self._require_alone()
        self._store.put(layout.MANIFEST_NAME, manifest.to_bytes())
        self._tell(Repair(layout.MANIFEST_NAME, done=True, what="made again from the plan and the shards' summaries"))
        return True

    def misplaced(self, verification: Verification) -> bool:
        """Put files where they belong that lie under other names; tell whether there were any.

        Raises:
            StoreError: the store cannot be reached.
        """
        for name in find_leftovers(verification):
            self._require_alone()
            self._store.delete(name)
            self._tell(Repair(name, done=True, what="removed: a copy that an earlier repair left of a sound file"))
        files = verification.misplaced()
        for repair in put_in_place(self._store, files, self._scratch, self._require_alone):
            self._tell(repair)
        return bool(files)

    def shards(self, verification: Verification) -> Iterator[int]:
        """Make files of shards again, and yield the place of each shard of which some were.

        Raises:
            StoreError: the store cannot be reached.
        """
        if verification.opened.is_adopted:
            yield from self._adopted(verification)
            return
        columns: RecordColumns | None = None
        for place, findings in verification.findings().items():
            task = verification.task(place)
            kinds = repairable_files(task.entry, findings)
            if not kinds:
                continue
            columns = columns or self._columns(task.store, verification)
            rebuilding = Rebuilding(task.store, task.entry, columns, self._scratch / task.entry.stem)
            made = [self._shard_file(rebuilding, kind) for kind in kinds]
            shutil.rmtree(self._scratch / task.entry.stem, ignore_errors=True)
            if any(made):
                yield place

    def indexes(self, dataset: Dataset) -> None:
        """Make the indexes for other readers again, where they are not what was written.

        Raises:
            StoreError: the store cannot be reached.
        """
        for repair in repair_indexes(dataset, self._require_alone):
            self._tell(repair)

    def _adopted(self, verification: Verification) -> Iterator[int]:
        """Read adopted tars again beside whom something is wrong, and put that back."""
        shards, found = verification.shards, verification.findings()
        wrong = {place: repairable_files(shards[place], each, adopted=True) for place, each in found.items()}
        places = [place for place, kinds in wrong.items() if kinds]
        dataset, plan = verification.opened.dataset, verification.opened.plan
        if not places or dataset is None or plan is None:
            return
        for made in adopt_again(dataset, plan, places, self._choice, self._scratch):
            place = next(place for place in places if shards[place].stem == made.entry.stem)
            entry = shards[place]
            for kind in wrong[place]:
                name = list(entry.files())[KINDS.index(kind)]
                target = entry.links.get(kind, name)
                if made.entry.files()[name] != entry.files()[name]:
                    what = "what the tar gives now is another file: other versions of libraries read it"
                    self._tell(Repair(target, done=False, what=what))
                    continue
                self._require_alone()
                self._store.put_file(target, made.store.local_path(name))
                self._put(target)
            yield place

    def _shard_file(self, rebuilding: Rebuilding, kind: str) -> bool:
        name = list(rebuilding.entry.files())[KINDS.index(kind)]
        try:
            path = rebuilding.make(kind)
        except (NotRebuiltError, NotFoundError) as error:
            self._tell(Repair(name, done=False, what=str(error)))
            return False
        self._require_alone()
        self._store.put_file(name, path, move=True)
        self._put(name)
        return True

    def _columns(self, store: Store, verification: Verification) -> RecordColumns:
        plan = verification.opened.plan
        good = (
            verification.shards[place].stem
            for place, findings in verification.findings().items()
            if "parquet" not in findings.bad
        )
        return find_columns(store, good, {} if plan is None else plan.extra)

    def _put_by_ledger(self, name: str) -> None:
        """Tell of a file whose length and hash stood nowhere any more."""
        self._tell(Repair(name, done=True, what="made again from the tar, whose samples are those of the ledger"))

    def _put(self, name: str) -> None:
        self._tell(put_back(name))
