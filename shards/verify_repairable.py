"""Which problems can be repaired, as the other files of the shard tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from shards.dataset import KINDS
from shards.manifest import ShardEntry
from shards.verify_problems import NOT_AS_WRITTEN, ShardFindings


def mark_repairable(findings: ShardFindings, entry: ShardEntry, *, adopted: bool = False) -> ShardFindings:
    """Return what was found of a shard, each problem marked whose file can be put right from what is sound.

    Args:
        findings: what was found.
        entry: the shard.
        adopted: whether its tar is another tool's that was adopted, all else being the dataset's own.
    """
    names = _names(entry)
    files = {names[kind] for kind in repairable_files(entry, findings, adopted=adopted)}
    problems = (replace(problem, repairable=problem.file in files) for problem in findings.problems)
    return replace(findings, problems=tuple(problems))


def repairable_files(entry: ShardEntry, findings: ShardFindings, *, adopted: bool = False) -> tuple[str, ...]:
    """Return the kinds of a shard's files that are not right and can be made again, in the order of their making."""
    right = _right(entry, findings)
    if adopted:
        return tuple(kind for kind in KINDS if not right[kind] and right["tar"])
    return tuple(kind for kind in KINDS if not right[kind] and _can_be_made(kind, entry, findings))


def wrong_files(entry: ShardEntry, findings: ShardFindings) -> frozenset[str]:
    """Return the kinds of a shard's files that are not the ones that were written."""
    return frozenset(kind for kind, right in _right(entry, findings).items() if not right)


def _names(entry: ShardEntry) -> dict[str, str]:
    return dict(zip(KINDS, entry.files(), strict=True)) | dict(entry.links)


def _right(entry: ShardEntry, findings: ShardFindings) -> Mapping[str, bool]:
    """Return of each kind of file whether it is the one that was written."""
    wrong = {problem.file for problem in findings.problems if problem.kind in NOT_AS_WRITTEN}
    return {kind: name not in wrong for kind, name in _names(entry).items()}


def _can_be_made(file: str, entry: ShardEntry, findings: ShardFindings) -> bool:
    """Tell whether a file can be made from those that are sound; one that is linked to is another dataset's."""
    if file in entry.links:
        return False
    right = _right(entry, findings)
    either = right["parquet"] or (right["tar"] and not entry.is_foreign)
    if file == "tar":
        return right["parquet"] and findings.unspoilt
    if file == "idx":
        return right["tar"] and right["parquet"] if entry.is_foreign else either
    if file == "parquet":
        return right["tar"] and not entry.is_foreign
    if file == "ledger":
        return dict(entry.status) in ({}, {"success": entry.clips}) and either
    return True
