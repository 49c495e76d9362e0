"""Problems of shards that have very many of them, kept on disk until they are told."""

from __future__ import annotations

import json
import os
import tempfile
import weakref
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import IO

from shards.layout import MANIFEST_NAME
from shards.verify_problems import NOT_AS_WRITTEN, Kind, Problem, ShardFindings


class ProblemSpool:
    """What was found of shards, by number; of a shard with many problems, most of them lie in a temporary file.

    A clip that cannot be decoded is a problem, and of a hundred million clips none may be decodable here.

    Args:
        most: how many problems of a shard are held in memory.
    """

    def __init__(self, most: int = 100) -> None:
        self._most = most
        self._file: IO[bytes] | None = None
        self._places: dict[int, range] = {}
        self.findings: dict[int, ShardFindings] = {}

    def put(self, number: int, findings: ShardFindings) -> None:
        """Take in what was found of a shard, in place of what was known of it before.

        In ``findings`` stay, of many problems, those that say which files are not the ones that were written.
        """
        self._places.pop(number, None)
        if len(findings.problems) > self._most:
            self._places[number] = self._write(b"".join(map(_spell, findings.problems)))
            held = (each for each in findings.problems if each.kind in NOT_AS_WRITTEN or each.file == MANIFEST_NAME)
            findings = replace(findings, problems=tuple(held))
        self.findings[number] = findings

    def problems(self, number: int) -> Iterator[Problem]:
        """Yield all problems of a shard."""
        place = self._places.get(number)
        if place is None or self._file is None:
            yield from self.findings[number].problems
            return
        self._file.seek(place.start)
        for line in self._file.read(len(place)).splitlines():
            values = json.loads(line)
            yield Problem(**{**values, "kind": Kind(values["kind"])})

    def _write(self, data: bytes) -> range:
        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as this does
            weakref.finalize(self, self._file.close)
        start = self._file.seek(0, os.SEEK_END)
        self._file.write(data)
        return range(start, start + len(data))


def _spell(problem: Problem) -> bytes:
    return json.dumps(asdict(problem)).encode() + b"\n"
