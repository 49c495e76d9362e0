"""What a run works on, and whether it is still alone there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from shards.lease import Lease
from shards.plan import BlockPlan, read_plan
from shards.store import Store
from tools.console import StoppedError
from tools.corpus.dedup import Duplicates
from tools.corpus.inputs import Inputs
from tools.corpus.request import ShardRequest


@dataclass(frozen=True, slots=True)
class Run:
    """What a run works on: its request and plan, the dataset, the input, and a local folder of its own.

    ``lease`` keeps other runs away where the dataset is in a bucket; ``duplicates`` are rows that are left out.
    """

    request: ShardRequest
    plan: BlockPlan
    out: Store
    table: Inputs
    scratch: Path
    lease: Lease | None = None
    duplicates: Duplicates | None = None

    def require_alone(self) -> None:
        """Check that no other run has put its plan over ours or taken our lease.

        Raises:
            StoppedError: one has.
            LeaseLostError: one has, or may have.
        """
        if self.lease is not None:
            self.lease.require()
        found = read_plan(self.out)
        if found is None or found.digest != self.plan.digest:
            raise StoppedError(
                f"the plan in {self.out.url} is not this run's any more: another run is writing there, and shards of "
                "both may lie there now; let neither go on, and give each an empty place of its own"
            )
