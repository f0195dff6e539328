"""States of the search: e-graphs of one window, saved copy-on-write, and the moves between them."""

from __future__ import annotations

import random
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import NamedTuple

from ...egraph.egraph import EGraph
from ...egraph.tables import ENode, Snapshot
from ...rules.rule import RuleSet
from ..grow import Grown, Program
from ..program import load
from ..saturate import Limits, saturate
from .evict import evict
from .judge import Judge
from .tree import Statistics

_SLACK = 0.05  # programs so much dearer than the best keep their e-nodes when room is made
_ROUNDS = 3  # of what tells e-graphs apart: how far below a class it looks


class Move(NamedTuple):
    """Rules that are applied together, and what they are called."""

    name: str
    rules: RuleSet


@dataclass
class State(Statistics):
    """An e-graph that some moves made of a window.

    Attributes
    ----------
    egraph : EGraph
        In whatever state of it was worked on last; shared with other states.
    snapshot : Snapshot
        This state of it.
    roots : list of int
        Classes of the window's outputs.
    depth : int
        Moves since the window was opened.
    full : bool
        Whether the node limit ended the last move.
    untried : list of Move
        Moves from here that weren't made, the most promising last.
    listed : bool
        Whether ``untried`` was filled.
    children : dict of str to State
        Where moves led, by name.
    """

    egraph: EGraph = field(kw_only=True)
    snapshot: Snapshot = field(kw_only=True)
    roots: list[int] = field(kw_only=True)
    depth: int = 0
    full: bool = False
    untried: list[Move] = field(default_factory=list)
    listed: bool = False
    children: dict[str, State] = field(default_factory=dict)

    def open(self) -> EGraph:
        """Its e-graph, in this state."""
        self.egraph.restore(self.snapshot)
        return self.egraph


def opened(program: Program) -> State:
    """The state in which a program is nothing but itself."""
    egraph, class_of = load(program.graph, program.reasons)
    return State(egraph=egraph, snapshot=egraph.snapshot(), roots=[class_of[i] for i in program.graph.outputs])


def applied(state: State, move: Move, limits: Limits, rng: random.Random) -> State:
    """The state that a move leads to: its rules are applied again and again until nothing changes or a limit binds."""
    egraph = state.open()
    run = saturate(egraph, move.rules, limits, shuffle=rng)
    full = run.stop_reason == "node limit"
    return State(egraph=egraph, snapshot=egraph.snapshot(), roots=state.roots, depth=state.depth + 1, full=full)


def make_room(state: State, judge: Judge, kept: list[ENode]) -> None:
    """Relieve a full state of the e-nodes that no good program needs, so that moves can go on from it."""
    egraph, place = evict(state.open(), state.roots, judge.price, kept, _SLACK)
    state.roots = [place[state.egraph.find(root)] for root in state.roots]
    state.egraph, state.snapshot, state.full = egraph, egraph.snapshot(), False


def grown_from(program: Program, egraph: EGraph, roots: list[int]) -> Grown:
    """What extraction takes: the e-graph of a window's program."""
    class_of = [-1] * len(program.graph.nodes)
    for i, root in zip(program.graph.outputs, roots, strict=True):
        class_of[i] = root
    return Grown(egraph, program, class_of)


def fingerprint(egraph: EGraph) -> Hashable:
    """Equal for equal states of e-graphs that share their symbols, whichever moves in whichever order led there.

    Colour refinement: a class is known by its nodes' operators and by what is known of their operands. States that
    differ may collide, which costs the search one of them and nothing else.
    """
    classes = egraph.classes()
    colour = {c: egraph.datum(c) for c in classes}
    for _ in range(_ROUNDS):
        colour = {
            c: hash((colour[c], *sorted([hash((n[0], *[colour[k] for k in n[1:]])) for n in egraph.nodes(c)])))
            for c in classes
        }
    return tuple(sorted(colour.values()))
