"""A window on a program: operators that lie together, as a program of their own that can be put back."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from math import fsum
from typing import Any, NamedTuple

from ...graph.operator import OPERATORS
from ...graph.tensor_graph import TensorGraph
from ...rules.analysis import ACTIVATION, facts_of
from ..grow import Program
from ..sequential import Price

Fingerprint = tuple[Any, ...]
_INDEX = OPERATORS["input"].field_index("index")


class Window(NamedTuple):
    """Part of a program that can be rewritten by itself.

    What it computes from constants and weights alone comes with it, so that its e-classes have the facts that they have
    in the whole program. Constants are inputs here, marked as weights, unless all their elements are the same: windows
    that are alike but for the weights have the same :attr:`fingerprint`.

    Attributes
    ----------
    program : Program
        The window as a program, with its cost; its outputs are what the rest of the program uses.
    nodes : frozenset of int
        The nodes of the whole program that it computes.
    inputs, outputs : tuple of int
        Nodes of the whole program: for each input by index, and for each output.
    fingerprint : tuple
        Equal for windows that are the same program.
    """

    program: Program
    nodes: frozenset[int]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    fingerprint: Fingerprint


class Outline:
    """A program with what windows need to know of it.

    Parameters
    ----------
    program : Program
        The program; its cost is calculated.
    price : callable
        Price of one operator.

    Attributes
    ----------
    program : Program
        The program, with its cost.
    live : list of int
        The nodes that it needs, operands first.
    order : list of int
        Those of them that are operators and depend on the program's inputs.
    info : dict of int to Info
        Facts of each live node.
    prices : dict of int to float
        Price of each live node.
    users : list of list of int
        Users of each node.
    """

    def __init__(self, program: Program, price: Price) -> None:
        graph = program.graph
        self.live = graph.live()
        self.info = facts_of(graph)
        self.order = [i for i in self.live if self.info[i].const == ACTIVATION and graph.nodes[i].op != "input"]
        self.users = graph.users(self.live)
        self.prices = {
            i: price(node.op, node.attrs, [self.info[k] for k in node.inputs], self.info[i])
            for i, node in ((i, graph.nodes[i]) for i in self.live)
        }
        self.program = program._replace(cost=fsum(self.prices.values()))

    def window(self, wanted: Collection[int]) -> Window:
        """The window of some nodes, and of those on the paths between them."""
        graph, reasons = self.program.graph, self.program.reasons
        inside = self._convex(wanted)
        part, place, inputs, known = TensorGraph(), dict[int, int](), list[int](), dict[int, str]()
        for i in self._with_weights(inside):
            node = graph.nodes[i]
            if self._enters(i, inside):
                weight = self.info[i].const > ACTIVATION
                given = OPERATORS["input"].make_attrs(index=len(inputs), type=node.type, weight=weight)
                place[i] = part.add("input", (), given)
                inputs.append(i)
            else:
                place[i] = part.add(node.op, [place[k] for k in node.inputs], node.attrs)
                if i in reasons:
                    known[place[i]] = reasons[i]
        visible = set(graph.outputs)
        outputs = [i for i in sorted(inside) if i in visible or any(user not in inside for user in self.users[i])]
        part.outputs = [place[i] for i in outputs]
        fingerprint = (tuple([n[:3] for n in part.nodes]), tuple(part.outputs), tuple(known.items()))
        cost = fsum(self.prices[i] for i in inside)
        return Window(Program(part, cost, known), frozenset(inside), tuple(inputs), tuple(outputs), fingerprint)

    def _convex(self, wanted: Collection[int]) -> set[int]:
        """With all nodes on paths between them: what is put back must not need what needs it."""
        nodes = self.program.graph.nodes
        below, above = set(wanted), set(wanted)
        for i in self.order:
            if any(k in below for k in nodes[i].inputs):
                below.add(i)
        for i in reversed(self.order):
            if i in above:
                above.update(nodes[i].inputs)
        return {i for i in self.order if i in below and i in above}

    def _with_weights(self, inside: Collection[int]) -> list[int]:
        """The nodes, their operands, and all that operands are computed from if these are weights."""
        nodes = self.program.graph.nodes
        found = set(inside)
        todo = list(inside)
        for i in todo:  # grows
            for k in nodes[i].inputs:
                if k not in found:
                    found.add(k)
                    if self.info[k].const > ACTIVATION:
                        todo.append(k)
        return sorted(found)

    def _enters(self, i: int, inside: Collection[int]) -> bool:
        node = self.program.graph.nodes[i]
        if node.op == "constant":
            return self.info[i].fill is None
        return node.op == "input" or (i not in inside and self.info[i].const == ACTIVATION)

    def replace(self, window: Window, program: Program) -> tuple[Program, dict[int, int]]:
        """Put a program in the place of a window.

        Parameters
        ----------
        window : Window
            A window of this program.
        program : Program
            It computes the same outputs from the same inputs.

        Returns
        -------
        program : Program
            The whole program with it; its cost isn't known yet.
        place : dict of int to int
            For each node that was kept its place there.
        """
        old, part = self.program.graph, program.graph
        whole, place, reasons = TensorGraph(), dict[int, int](), dict[int, str]()

        def keep(nodes: Sequence[int]) -> None:
            for i in nodes:
                node = old.nodes[i]
                place[i] = whole.add(node.op, [place[k] for k in node.inputs], node.attrs)
                if i in self.program.reasons:
                    reasons.setdefault(place[i], self.program.reasons[i])

        first = self._needed_by(window.inputs)
        keep(first)
        leaves = [i for i in part.live() if part.nodes[i].op == "input"]
        given = {i: place[window.inputs[part.nodes[i].attrs[_INDEX]]] for i in leaves}
        new = whole.include(part, given)
        for k, i in new.items():
            if k in program.reasons:
                reasons.setdefault(i, program.reasons[k])
        done = set(first) | window.nodes
        for i, k in zip(window.outputs, part.outputs, strict=True):
            place[i] = new[k]
        keep([i for i in self.live if i not in done])
        whole.outputs = [place[i] for i in old.outputs]
        whole.names = {place[i]: name for i, name in old.names.items() if i in place}
        return Program(whole, reasons=reasons), place

    def _needed_by(self, targets: Sequence[int]) -> list[int]:
        """The nodes that some need, with them, operands first."""
        found = set(targets)
        todo = list(found)
        for i in todo:  # grows
            for k in self.program.graph.nodes[i].inputs:
                if k not in found:
                    found.add(k)
                    todo.append(k)
        return sorted(found)
