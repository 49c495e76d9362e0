"""The verify command: every byte of a dataset against its manifest, and which file is wrong in what."""

from __future__ import annotations

import json
from dataclasses import asdict

from rich.console import Console

from shards.layout import MANIFEST_NAME
from shards.manifest import open_manifest
from shards.store import open_store
from shards.verify import VerifyReport, verify_dataset
from tools.console import DONE, FALLS_SHORT, printable, spell_size


def run_verify(dataset: str, *, as_json: bool = False) -> int:
    """Verify a dataset and say on standard output what is wrong with it; return the exit status.

    Raises:
        NotFoundError: there is no finished dataset.
        StoreError: the store cannot be reached.
    """
    store = open_store(dataset)
    if not store.exists(MANIFEST_NAME):
        open_manifest(store)  # raises, and says what is there instead
    console = Console(stderr=True)
    with console.status("verifying") as status:
        report = verify_dataset(store, on_shard=lambda entry: status.update(f"verifying, shard {entry.stem} is done"))
    print(json.dumps(asdict(report)) if as_json else "\n".join(_lines(store.url, report)))
    return FALLS_SHORT if report.problems else DONE


def _lines(url: str, report: VerifyReport) -> list[str]:
    lines = [f"{printable(problem.file)}: {printable(problem.what)}" for problem in report.problems]
    read = f"{report.shards} shards, {report.files} files, {spell_size(report.bytes)} read"
    if lines:
        return [*lines, f"{url}: {len(lines)} problems; {read}"]
    return [f"{url} is whole: {read}"]
