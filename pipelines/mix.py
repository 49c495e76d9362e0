"""The mix of several sources as arithmetic: whose turn it is at a place, and how many turns each has had before."""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import lcm

# A turn is one sample, or one batch of a source; the mixture does not care.


@dataclass(frozen=True, slots=True)
class Turn:
    """The ``index``-th turn of a source, from 0."""

    source: int
    index: int


@dataclass(frozen=True, slots=True, eq=False)
class _Node:
    """A source, or two groups of sources that share their turns; ``weight`` is that of all of them."""

    weight: int
    first: int
    groups: tuple[_Node, _Node] | None = None

    def left(self, turns: int) -> int:
        """Return how many of the first ``turns`` turns the left group has: its part of them, a half rounded up."""
        assert self.groups is not None, "a source alone has all turns"
        return (2 * turns * self.groups[0].weight + self.weight) // (2 * self.weight)


@dataclass(frozen=True, slots=True, eq=False)
class _Phase:
    """What holds from a place on until the next source leaves: who is there, and the turns each had before."""

    start: int
    before: tuple[int, ...]
    root: _Node


class Mixture:
    """The endless or finite sequence of turns of several sources, exact at every place without a walk.

    The sources are leaves of a Huffman tree of their weights (Huffman, 1952). Of n turns of a node its left group has
    ``floor(n * part + 1/2)`` and its right group the rest; both only grow, by one at a time, so every place has one
    source and every source its turns without a gap. While all sources are there, the number of turns that a source had
    differs from its exact share by less than 1.68, whatever the weights and however many sources: a group's rounding
    moves a source in it by at most half a turn times the source's part of the group, and the weights above a leaf of a
    Huffman tree grow as the Fibonacci numbers, whose reciprocals sum to 3.36.

    A source with a limit leaves after its last turn; the others go on from that place, as a mixture of their own with
    their weights. When all have left, the sequence is at its end.

    Args:
        weights: each source's part, against the others'; they need not sum to 1.
        limits: the turns after which a source leaves; None never.

    Raises:
        ValueError: there is no source, a weight is not positive, or a limit is below 1.
    """

    def __init__(self, weights: Sequence[Fraction | int], limits: Sequence[int | None]) -> None:
        if not weights or any(weight <= 0 for weight in weights):
            raise ValueError(f"a mixture takes one weight above 0 or more, not {list(map(str, weights))}")
        if any(limit is not None and limit < 1 for limit in limits):
            raise ValueError(f"the limits of a mixture are 1 turn at least, not {list(limits)}")
        self._limits = dict(enumerate(limits))
        scale = lcm(*(Fraction(weight).denominator for weight in weights))
        leaves = {n: _Node(int(weight * scale), n) for n, weight in enumerate(weights)}
        self._phases: list[_Phase] = []
        self.total: int | None = None
        """How many turns there are; None without end."""
        self._lay_out(leaves, [0] * len(weights))
        self._starts = [phase.start for phase in self._phases]

    def turn(self, n: int) -> Turn:
        """Return whose turn is number ``n``.

        Raises:
            IndexError: the sequence is shorter.
        """
        if n < 0 or (self.total is not None and n >= self.total):
            raise IndexError(f"turn {n} of a mixture of {self.total}")
        phase = self._phase(n)
        found = _descend(phase.root, n - phase.start)
        return Turn(found.source, phase.before[found.source] + found.index)

    def counts(self, n: int) -> tuple[int, ...]:
        """Return how many of the first ``n`` turns each source had; of a finite mixture, at most what it has."""
        n = n if self.total is None else min(n, self.total)
        phase = self._phase(n)
        here = _shares(phase.root, n - phase.start)
        return tuple(before + here.get(source, 0) for source, before in enumerate(phase.before))

    def _phase(self, n: int) -> _Phase:
        return self._phases[bisect_right(self._starts, n) - 1]

    def _lay_out(self, leaves: dict[int, _Node], had: list[int]) -> None:
        """Work out from which place on which sources are there."""
        start = 0
        while leaves:
            root = _tree(leaves)
            self._phases.append(_Phase(start, tuple(had), root))
            ends = {n: _place_after(root, n, left) for n, left in self._turns_left(leaves, had).items()}
            if not ends:
                return
            last = min(ends, key=lambda source: ends[source])
            for source, count in _shares(root, ends[last]).items():
                had[source] += count
            start += ends[last]
            del leaves[last]
        self.total = start

    def _turns_left(self, sources: Mapping[int, _Node], had: Sequence[int]) -> dict[int, int]:
        limits = {n: self._limits[n] for n in sources}
        return {n: limit - had[n] for n, limit in limits.items() if limit is not None}


def _tree(leaves: Mapping[int, _Node]) -> _Node:
    """Join the two lightest until one is left; the heavier one goes left, of equal ones that of the lower number."""
    heap = [(leaf.weight, leaf.first, leaf) for leaf in leaves.values()]
    heapq.heapify(heap)
    while len(heap) > 1:
        lighter, heavier = heapq.heappop(heap)[2], heapq.heappop(heap)[2]
        pair = (lighter, heavier) if lighter.weight == heavier.weight else (heavier, lighter)
        joined = _Node(lighter.weight + heavier.weight, min(lighter.first, heavier.first), pair)
        heapq.heappush(heap, (joined.weight, joined.first, joined))
    return heap[0][2]


def _descend(node: _Node, turn: int) -> Turn:
    while node.groups is not None:
        (one, other), left = node.groups, node.left(turn)
        node, turn = (one, left) if node.left(turn + 1) > left else (other, turn - left)
    return Turn(node.first, turn)


def _shares(node: _Node, turns: int) -> dict[int, int]:
    """Return how many of the first ``turns`` turns of a node each of its sources has."""
    if node.groups is None:
        return {node.first: turns}
    left = node.left(turns)
    return _shares(node.groups[0], left) | _shares(node.groups[1], turns - left)


def _place_after(node: _Node, source: int, count: int) -> int:
    """Return the fewest turns of a node of which ``source`` has ``count``."""
    if node.groups is None:
        return count
    heavy, light = node.groups
    in_left = _holds(heavy, source)
    inside = _place_after(heavy if in_left else light, source, count)
    rounded_at, twice = node.weight * (2 * inside - 1), 2 * (heavy if in_left else light).weight
    return -(-rounded_at // twice) if in_left else rounded_at // twice + 1


def _holds(node: _Node, source: int) -> bool:
    return node.first == source if node.groups is None else any(_holds(group, source) for group in node.groups)
