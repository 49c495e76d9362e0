"""The plan of a sharding run: what its request and its input lead to, beside what the output holds already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from shards.layout import is_numbered_tar
from shards.plan import BlockPlan, read_plan, require_same_plan, write_plan
from shards.store import Store
from tools.console import StoppedError
from tools.corpus.cut_settings import CutSettings
from tools.corpus.extending import digest_rows, extend
from tools.corpus.ingest import InputRow
from tools.corpus.inputs import Inputs
from tools.corpus.request import ShardRequest
from tools.corpus.sizing import estimate_sizes, rows_per_block, sample_rows
from tools.corpus.sources import Sources
from tools.corpus.worker import ask


@dataclass(frozen=True, slots=True)
class Decision:
    """The plan of a run, and the one that stood on disk when it was decided upon, if any."""

    plan: BlockPlan
    before: BlockPlan | None


def decide(request: ShardRequest, table: Inputs, out: Store) -> Decision:
    """Return the plan of a run: the one on disk where the dataset was begun already, perhaps extended, else a new one.

    Raises:
        ValueError: the table is unfit, the output holds a dataset of another input or other settings, or shards that no
            plan explains.
        OSError: input, videos or output are out of reach.
    """
    old = read_plan(out)
    if old is not None and request.extend:
        return Decision(extend(old, table, request.settings()), old)
    if old is not None:
        require_same_plan(old, replace(old, input_digest=table.digest, settings=request.settings()))
        return Decision(old, old)
    return Decision(_new_plan(request, table, out), None)


def adopt(out: Store, decision: Decision) -> bool:
    """Put the plan in its place, or find it there; tell whether it extends the one that was there.

    Raises:
        ValueError: another plan stands there meanwhile.
        StoppedError: the plan has gone meanwhile.
    """
    plan, before = decision.plan, decision.before
    begun = read_plan(out)
    if begun is None and before is not None:
        raise StoppedError(f"the plan in {out.url} has gone since this run began; run the same command again")
    if begun is None or (begun == before and begun != plan):
        write_plan(out, plan)
        return before is not None
    require_same_plan(begun, plan)  # it may be another run's, from between our first look and our lock
    return False


def _new_plan(request: ShardRequest, table: Inputs, out: Store) -> BlockPlan:
    strange = next((name for name in out.list(deep=False) if is_numbered_tar(name)), None)
    if strange is not None:
        raise ValueError(
            f"{out.url} holds shards ({strange}) but no plan of ours; give another output, so that none is overwritten"
        )
    info = table.scan(limit=request.limit)
    request.sift.check(info.extra)
    per_block = _rows_per_block(request, table, info.extra)
    return BlockPlan(
        input_digest=table.digest,
        input_name=table.name,
        rows=info.rows,
        rows_per_block=per_block,
        blocks=-(-info.rows // per_block),
        settings=request.settings(),
        extra=info.extra,
        rows_digest=digest_rows(table.rows(info.extra, limit=request.limit), info.rows).whole,
    )


def _rows_per_block(request: ShardRequest, table: Inputs, extra: Mapping[str, str]) -> int:
    first = sample_rows(table.rows(extra, limit=request.limit))
    # Headers are read in a process of their own: a file that kills its reader must not kill the run.
    sizes = ask(_try_sizes, first, request.sources, request.cut)
    if isinstance(sizes, OSError):
        raise sizes
    if sizes is None:
        sizes = estimate_sizes(first, request.sources, request.cut, headers=False)
    return rows_per_block(sizes, request.shard_bytes)


def _try_sizes(rows: Sequence[InputRow], sources: Sources, cut: CutSettings) -> list[int] | OSError:
    """Return the estimated sizes, or the error for the process that asked."""
    try:
        return estimate_sizes(rows, sources, cut)
    except OSError as error:
        return error
