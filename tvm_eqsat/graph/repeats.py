"""Repeated blocks: cut a program where a block stands several times in a row, so that each is optimised only once.

Deep networks repeat a block (a transformer layer, a residual bottleneck) with other weights. Such a run is cut into its
blocks, what lies before, between and after runs into stretches of their own. Blocks that are the same program up to the
weights' values become one :class:`Part` with several places.

A run is cut only where a single tensor passes from block to block. All users of that tensor are then in one block, so
that what shares it can still be merged there. What is lost is rewriting across the cut.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .fold import fold_constants
from .operator import OPERATORS
from .tensor_graph import Constant, Node, TensorGraph
from .types import TensorType

_LEAVES = frozenset({"input", "constant"})
_LEAST_OPERATORS = 8  # of a block: cutting shorter ones would stop rewrites that reach over a few operators
_LEAST_COPIES = 3
_SMALL = 1024  # bytes up to which a constant is computed to see whether it is filled with one value


class Place(NamedTuple):
    """Where a part stands in the whole program.

    Attributes
    ----------
    inputs : tuple of int
        Node of the whole program for each input of the part, by ``index``.
    outputs : tuple of int
        Node of the whole program that each of the part's outputs computes.
    """

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass
class Part:
    """A program that stands in one or more places of a larger one.

    Attributes
    ----------
    graph : TensorGraph
        The program. Its inputs are what comes from elsewhere; weights are inputs too, marked as such.
    places : list of Place
        Where it stands, in program order.
    """

    graph: TensorGraph
    places: list[Place]


class Split:
    """A program as parts.

    Parameters
    ----------
    graph : TensorGraph
        The program.
    reuse : bool
        Look for repeated blocks; otherwise the program is one part.

    Attributes
    ----------
    whole : TensorGraph
        The program.
    parts : list of Part
        Distinct parts, in the order of their first places. A single one is the program itself.
    """

    def __init__(self, graph: TensorGraph, *, reuse: bool = True) -> None:
        self.whole = graph
        self._order: list[tuple[int, int]] = []  # part and place, in program order
        self.parts: list[Part] = []
        if reuse:
            self.parts, self._order = _Cutter(graph).parts()
        passing = {i for part in self.parts for place in part.places for i in place.inputs}
        if len(self.parts) == len(self._order) or not all(_is_static(graph.nodes[i]) for i in passing):
            self.parts = [Part(graph, [])]  # nothing repeats, or something else than tensors of known shape passes

    def join(self, graphs: Sequence[TensorGraph]) -> TensorGraph:
        """The program with another one for each part.

        Parameters
        ----------
        graphs : sequence of TensorGraph
            For each of ``parts`` a graph with the same inputs and outputs.
        """
        if len(self.parts) == 1 and not self.parts[0].places:
            return graphs[0]
        joined = TensorGraph()
        place_of: dict[int, int] = {}  # node of the whole program: node of the new one
        for number, which in self._order:
            place = self.parts[number].places[which]
            for i in place.inputs:
                self._copy(i, joined, place_of)
            found = _append(joined, graphs[number], [place_of[i] for i in place.inputs])
            for old, new in zip(place.outputs, found, strict=True):
                place_of[old] = new
        for i in self.whole.outputs:
            self._copy(i, joined, place_of)
        joined.outputs = [place_of[i] for i in self.whole.outputs]
        for old, name in self.whole.names.items():
            if old in place_of:
                joined.names.setdefault(place_of[old], name)
        return joined

    def _copy(self, i: int, joined: TensorGraph, place_of: dict[int, int]) -> None:
        """Copy a node that belongs to no part (a leaf, or computed from weights alone) with all that it needs."""
        todo = [i]
        while todo:
            node = self.whole.nodes[todo[-1]]
            missing = [k for k in node.inputs if k not in place_of]
            if todo[-1] in place_of or not missing:
                k = todo.pop()
                if k not in place_of:
                    place_of[k] = joined.add(node.op, [place_of[child] for child in node.inputs], node.attrs)
            todo += missing


def _is_static(node: Node) -> bool:
    return isinstance(node.type, TensorType) and node.type.static


def _append(joined: TensorGraph, graph: TensorGraph, inputs: Sequence[int]) -> list[int]:
    """Add a part's program for the given inputs; returns its outputs."""
    leaves: list[tuple[int, Any]] = [(i, node.attrs) for i, node in enumerate(graph.nodes) if node.op == "input"]
    found = joined.include(graph, {i: inputs[attrs.index] for i, attrs in leaves})
    for i, new in found.items():
        if i in graph.names and graph.nodes[i].op != "input":
            joined.names.setdefault(new, graph.names[i])
    return [found[i] for i in graph.outputs]


class _Run(NamedTuple):
    """A block that stands ``copies`` times in a row: positions in the order of operators."""

    start: int
    period: int
    copies: int

    @property
    def end(self) -> int:
        return self.start + self.period * self.copies


class _Cutter:
    def __init__(self, graph: TensorGraph) -> None:
        self.graph = graph
        self.live = graph.live()
        self.fixed = self._known_before_the_first_run()
        self.order = [i for i in self.live if i not in self.fixed and graph.nodes[i].op != "input"]
        self.position = {i: at for at, i in enumerate(self.order)}
        self.users = graph.users(self.live)
        kept = set(graph.outputs)
        end = len(self.order)
        # Where each value is used last, as a position in the order; the program's outputs are used at its end.
        self.last = [
            end if i in kept else max((self.position[u] for u in self.users[i] if u in self.position), default=at)
            for at, i in enumerate(self.order)
        ]

    def _known_before_the_first_run(self) -> set[int]:
        nodes, fixed = self.graph.nodes, set[int]()
        for i in self.live:
            node = nodes[i]
            attrs: Any = node.attrs
            if node.op == "input":
                known = bool(attrs.weight)
            else:
                known = node.op != "opaque" and all(k in fixed for k in node.inputs)
            if known:
                fixed.add(i)
        return fixed

    # ** finding runs

    def runs(self) -> list[_Run]:
        """Runs that don't overlap, those that spare most first; in program order."""
        codes: dict[Any, int] = {}
        line = np.array([codes.setdefault(self._kind(i), len(codes)) for i in self.order], dtype=np.int32)
        found = list(self._candidates(line))
        found.sort(key=lambda run: (-(run.copies - 1) * run.period, run.period, run.start))
        taken = np.zeros(len(line), dtype=bool)
        chosen = []
        for run in found:
            if not taken[run.start : run.end].any():
                taken[run.start : run.end] = True
                chosen.append(run)
        return sorted(chosen)

    def _kind(self, i: int) -> Any:
        """What an operator has in common with those in its place in other copies of its block."""
        node = self.graph.nodes[i]
        if node.op == "opaque":
            return i
        operands = [(self.graph.nodes[k].type, k in self.fixed) for k in node.inputs]
        return node.op, node.attrs, *operands

    def _candidates(self, line: np.ndarray) -> Iterator[_Run]:
        known: list[_Run] = []
        for period in range(_LEAST_OPERATORS, len(line) // _LEAST_COPIES + 1):
            same = np.concatenate(([False], line[period:] == line[:-period], [False]))
            edges = np.flatnonzero(same[1:] != same[:-1])
            for start, stop in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
                if stop - start < (_LEAST_COPIES - 1) * period:
                    continue
                if any(period % run.period == 0 and start <= run.start and run.end <= stop + period for run in known):
                    continue  # several of its blocks taken as one
                run = self._cut(start, stop + period, period)
                if run:
                    known.append(run)
                    yield run

    def _cut(self, start: int, end: int, period: int) -> _Run | None:
        """The best way to cut a stretch with that period: None if more than one tensor always passes."""
        best: tuple[tuple[int, int], _Run] | None = None
        for first in range(start, start + period):
            copies = (end - first) // period
            if copies < _LEAST_COPIES:
                break
            run = _Run(first, period, copies)
            passing = [self._passing(run, first + k * period) for k in range(1, copies)]
            if any(len(values) != 1 for values in passing):
                continue
            # A tensor with many users is seldom rewritten together with what made it.
            users = min(len(self.users[self.order[values[0]]]) for values in passing)
            if best is None or (copies, users) > best[0]:
                best = (copies, users), run
        return best[1] if best else None

    def _passing(self, run: _Run, at: int) -> list[int]:
        """Positions of the run's values that are made before ``at`` and used from there on, two at most."""
        found = []
        for k in range(at - 1, run.start - 1, -1):
            if self.last[k] >= at:
                found.append(k)
                if len(found) == 2:
                    break
        return found

    # ** cutting

    def parts(self) -> tuple[list[Part], list[tuple[int, int]]]:
        """The distinct parts, and (part, place) in program order; none if no block repeats."""
        runs = self.runs()
        if not runs:
            return [], []
        small = fold_constants(self.graph, _SMALL)
        stretches = []
        at = 0
        for run in [*runs, _Run(len(self.order), 0, 0)]:
            if at < run.start:
                stretches.append((at, run.start))
            stretches += [(run.start + k * run.period, run.start + (k + 1) * run.period) for k in range(run.copies)]
            at = run.end
        known: dict[Any, int] = {}
        parts: list[Part] = []
        order = []
        for start, stop in stretches:
            graph, place = self._part(start, stop, small)
            identity = tuple(node[:3] for node in graph.nodes), tuple(graph.outputs)
            number = known.setdefault(identity, len(parts))
            if number == len(parts):
                parts.append(Part(graph, []))
            order.append((number, len(parts[number].places)))
            parts[number].places.append(place)
        return parts, order

    def _part(self, start: int, stop: int, small: dict[int, Constant]) -> tuple[TensorGraph, Place]:
        nodes, part = self.graph.nodes, TensorGraph()
        found: dict[int, int] = {}
        inputs: list[int] = []
        for i in self.order[start:stop]:
            for k in nodes[i].inputs:
                if k not in found:
                    found[k] = self._leaf(part, k, nodes[k], small, inputs)
            found[i] = part.add(nodes[i].op, [found[k] for k in nodes[i].inputs], nodes[i].attrs)
            if i in self.graph.names:
                part.names[found[i]] = self.graph.names[i]
        outputs = [self.order[at] for at in range(start, stop) if self.last[at] >= stop]
        part.outputs = [found[i] for i in outputs]
        return part, Place(tuple(inputs), tuple(outputs))

    def _leaf(self, part: TensorGraph, i: int, node: Node, small: dict[int, Constant], inputs: list[int]) -> int:
        """What stands in a part for something made elsewhere."""
        attrs: Any = node.attrs
        constant = small.get(i) or (attrs.value if node.op == "constant" else None)
        if constant is not None and constant.fill is not None:  # rules may look at the value
            return part.add("constant", (), OPERATORS["constant"].make_attrs(value=constant))
        inputs.append(i)
        given = OPERATORS["input"].make_attrs(index=len(inputs) - 1, type=node.type, weight=i in self.fixed)
        return part.add("input", (), given)
