"""A worker on a node of a cluster: it looks whether the node can do the work, then does it in a process of its own."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from shards.store import open_store
from tools.console import StoppedError
from tools.corpus.block import Block, BlockSettings
from tools.corpus.pool import Pool
from tools.corpus.tally import Activity, Progress
from tools.corpus.versions import library_versions
from tools.corpus.worker import Work
from tools.corpus.workspace import temporary_workspace

STEP_SECONDS: Final = 1.0
"""How long a worker gathers what it does before it tells of it."""

_LANDMARKS: Final = 16


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a node must see as the machine does that gives it work.

    ``token`` is a file in the run's scratch folder, which all nodes see where they share a folder as the dataset's;
    ``names`` are files that the dataset has. ``root`` is the folder of the videos, None where it is remote;
    ``landmarks`` are names in it.
    """

    versions: Mapping[str, str]
    token: Path
    names: tuple[str, ...]
    root: Path | None
    landmarks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NodeReport:
    """What a worker did since its last report; ``results`` holds the work's result once the block is done.

    ``stopped`` says why the work cannot go on.
    """

    progress: Progress = field(default_factory=Progress)
    activity: Activity | None = None
    results: tuple[Any, ...] = ()
    stopped: str | None = None


def surroundings(settings: BlockSettings, names: tuple[str, ...]) -> Surroundings:
    """Say what this machine sees, and leave the token for others to see.

    Raises:
        OSError: the scratch folder cannot be written.
    """
    root = settings.options.sources.root
    folder = Path(root.url) if root.is_local else None
    token = settings.scratch / f"seen-from-{platform.node()}-{os.getpid()}"
    token.touch()
    return Surroundings(library_versions(), token, names, folder, () if folder is None else _landmarks(folder))


class NodeWorker:
    """Does its work on one block after another, as a pool of one process with a scratch folder of its own.

    A video that kills or holds up that process costs what it costs in a local pool; this worker lives on.

    Args:
        settings: what all blocks share; its scratch folder is used where this node sees it.
        row_seconds: as for ``Pool``.
        memory: as for ``Pool``.
    """

    def __init__(self, settings: BlockSettings, *, row_seconds: float, memory: int) -> None:
        self._settings = settings
        self._bounds: dict[str, Any] = {"row_seconds": row_seconds, "memory": memory}
        self._waiting: deque[Block] = deque()
        self._shared = False
        self._stack = contextlib.ExitStack()
        self._events: Iterator[Any] | None = None

    def unfit(self, expected: Surroundings) -> str | None:
        """Return why this node cannot do the work, in a sentence, or None where it can."""
        node = f"node {platform.node()}"
        versions = library_versions()
        others = [
            f"{name} {versions.get(name)} in place of {version}"
            for name, version in expected.versions.items()
            if versions.get(name) != version
        ]
        if others:
            return f"{node} has {', '.join(others)}, which may write other bytes; install the same on every node"
        self._shared = expected.token.exists()
        if expected.names and not self._shared and open_store(self._settings.out).is_local:
            return f"{node} does not see {self._settings.out} as this machine does; give a bucket or a shared folder"
        if expected.root is not None:
            missing = [name for name in expected.landmarks if not Path(expected.root, name).exists()]
            if missing or not expected.root.is_dir():
                what = f"{missing[0]} in " if missing else ""
                return f"{node} does not see {what}the videos' folder {expected.root}; share it, or give a bucket"
        return self._out_of_reach(node, expected.names)

    def _out_of_reach(self, node: str, names: tuple[str, ...]) -> str | None:
        try:
            out = open_store(self._settings.out)
            missing = [name for name in names if not out.exists(name)]
        except (OSError, ValueError) as error:
            return f"{node} cannot use {self._settings.out}: {error}; credentials must be there on every node"
        return f"{node} does not see {missing[0]} in {self._settings.out}" if missing else None

    def step(self, block: Block | None, work: Work[Any]) -> NodeReport:
        """Begin a block, or go on with the last one; return what was done after a short time, or when it is done."""
        if block is not None:
            self._waiting.append(block)
        if self._events is None:
            self._events = self._pool().run(iter(self._waiting.popleft, None), work)  # endless
        progress, activity, until = Progress(), None, time.monotonic() + STEP_SECONDS
        try:
            for event in self._events:
                if isinstance(event, Progress):
                    progress += event
                elif isinstance(event, Activity):
                    activity = event
                else:
                    return NodeReport(progress, None, (event,))
                if time.monotonic() >= until:
                    break
        except StoppedError as error:
            return NodeReport(progress, stopped=str(error))
        return NodeReport(progress, activity)

    def close(self) -> None:
        """End the process and remove the scratch folder."""
        self._stack.close()

    def _pool(self) -> Pool:
        settings = self._settings
        if self._shared:
            scratch = settings.scratch / f"{platform.node()}-{os.getpid()}"
            scratch.mkdir(exist_ok=True)
            self._stack.callback(shutil.rmtree, scratch, ignore_errors=True)
        else:
            scratch = self._stack.enter_context(temporary_workspace())
        pool = Pool(replace(settings, scratch=scratch, threads=1), 1, **self._bounds)
        self._stack.callback(pool.close)
        return pool


def _landmarks(folder: Path) -> tuple[str, ...]:
    """Return a few names in a folder, without reading all of a large one."""
    with os.scandir(folder) as entries:
        return tuple(sorted(entry.name for entry, _ in zip(entries, range(_LANDMARKS), strict=False)))
