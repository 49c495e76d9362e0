"""The state commands: what a saved loader state says, how two differ, and one that leaves batches out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

from pipelines.state_facts import StateFacts, state_differences, state_facts
from tools.console import DONE, FALLS_SHORT, printable
from tools.stored_state import read_stored_state, write_moved

_DIGEST = 12


@dataclass(frozen=True, slots=True)
class Skip:
    """How far a state is moved: over so many ``batches``, or ``to`` the batch of that number.

    Raises:
        ValueError: neither is given, or both, or it is no way forward.
    """

    batches: int | None = None
    to: int | None = None

    def __post_init__(self) -> None:
        if (self.batches is None) == (self.to is None):
            raise ValueError(
                "give --batches, how many to leave out, or --to, the number of the next batch; one of the two"
            )
        if self.batches is not None and self.batches < 1:
            raise ValueError(f"--batches is {self.batches}; it must be at least 1, as states are moved forward only")

    def target(self, facts: StateFacts) -> int:
        """Return the number of the batch that comes next after the move."""
        return facts.batches + self.batches if self.batches is not None else self.to or 0


def run_show(place: str, *, step: int | None = None, as_json: bool = False) -> int:
    """Say on standard output what the states at a place hold; return the exit status.

    Raises:
        ValueError, StoreError: There is no loader state there, or it cannot be read.
    """
    stored = read_stored_state(place, step)
    facts = {name: state_facts(state) for name, state in stored.states.items()}
    if as_json:
        told = {name or "loader": asdict(one) for name, one in facts.items()}
        print(json.dumps({"place": stored.place, "step": stored.step, "loaders": told}))
        return DONE
    print(printable(stored.place) + ("" if stored.step is None else f": checkpoint after step {stored.step}"))
    for name, one in facts.items():
        for line in _lines(one):
            print(f"{name}: {line}" if name else line)
    return DONE


def run_diff(first: str, second: str, *, feed: str | None = None, as_json: bool = False) -> int:
    """Say on standard output how two states differ; return 0 where one run can have had both, else 1.

    Raises:
        ValueError, StoreError: There is no loader state, or it cannot be read.
    """
    one, other = (read_stored_state(place).of(feed) for place in (first, second))
    found = state_differences(one, other)
    between = state_facts(other).samples - state_facts(one).samples
    batches = between / state_facts(one).batch_size
    if as_json:
        print(json.dumps({"fields": [asdict(each) for each in found], "samples_between": between}))
    else:
        for each in found:
            print(printable(f"{each.field}: {each.first} in the first, {each.second} in the second"))
        if not found:
            print("states of the same order")
        where = "further on" if between > 0 else "further back"
        same = "both are at the same sample"
        print(f"the second is {abs(between):,} samples ({abs(batches):g} batches) {where}" if between else same)
    return FALLS_SHORT if found else DONE


def run_skip(place: str, out: str, skip: Skip, *, step: int | None = None, feed: str | None = None) -> int:
    """Write the state of a place anew at ``out``, moved forward; return the exit status.

    Raises:
        ValueError: The state cannot be moved so, or ``out`` is taken.
        StoreError: It cannot be read or written.
    """
    stored = read_stored_state(place, step)
    before = state_facts(stored.of(feed))
    moved = write_moved(stored, skip.target(before), out, feed)
    after = state_facts(moved.of(feed))
    print(
        f"{printable(moved.place)}: goes on with batch {after.batches:,}, {after.batches - before.batches:,} batches"
        f" ({after.samples - before.samples:,} samples) after {printable(stored.place)}"
    )
    if moved.step is not None:
        print(f"python -m train with out={printable(out)} and the settings of the run goes on from there")
    return DONE


def _lines(facts: StateFacts) -> Iterator[str]:
    end = "" if facts.batches_in_all is None else f" of {facts.batches_in_all:,}"
    yield (
        f"{facts.batches:,} batches{end} of {facts.batch_size:,} samples taken: {facts.samples:,} samples,"
        f" in epoch {facts.epoch}, {facts.batches_per_epoch:,} batches each"
    )
    for number, source in enumerate(facts.sources):
        told = "".join(f", {name} {_spelt(value)}" for name, value in source.settings.items())
        yield (
            f"dataset {number} ({source.digest[:_DIGEST]}{printable(told)}): {source.samples:,} samples taken of"
            f" {source.clips:,} clips, {source.epochs:.4g} passes"
        )
    turns = f"mixed by {facts.by}, " if len(facts.sources) > 1 else ""
    yield f"{turns}seed {facts.seed}, {facts.bytes} bytes"


def _spelt(value: object) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, Mapping | list) else str(value)
