"""Saturation beyond the node limit: start again from the best program found so far.

Where the limit ends saturation, most of the e-graph is about programs that nobody wants. A new e-graph that holds
nothing but the best one has room for what lies beyond. (Pulses, after S. Kourta, A. Namani, F. Benbouzid-Si Tayeb,
K. Hazelwood, C. Cummins, H. Leather and R. Baghdadi, "Caviar: an e-graph based TRS for automatic code optimization",
CC 2022, section 4.)
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple

from ..egraph.egraph import EGraph
from ..graph.tensor_graph import TensorGraph
from ..rules.rule import RuleSet
from .program import load
from .saturate import Limits, Saturation, saturate

_GAIN = 1e-9  # relative; less is rounding
_PATIENCE = 8  # e-graphs in a row that make nothing cheaper


class Program(NamedTuple):
    """A program that was extracted.

    Attributes
    ----------
    graph : TensorGraph
        The program.
    cost : float
        What it costs.
    reasons : mapping of int to str
        For nodes that a rule made, its name.
    """

    graph: TensorGraph
    cost: float = inf
    reasons: Mapping[int, str] = {}


@dataclass
class Grown:
    """An e-graph, and how it came to be.

    Attributes
    ----------
    egraph : EGraph
        The last e-graph: it holds ``start``, and what the rules made of it.
    start : Program
        The program that it was started from: the best that the e-graphs before it had, or the original.
    class_of : list of int
        For each node of ``start.graph``, its e-class (-1 for dead nodes).
    runs : list of Saturation
        What happened in each e-graph.
    """

    egraph: EGraph
    start: Program
    class_of: list[int]
    runs: list[Saturation] = field(default_factory=list)

    @property
    def roots(self) -> list[int]:
        """E-classes of the program's outputs."""
        return [self.class_of[i] for i in self.start.graph.outputs]


def grow(
    graph: TensorGraph,
    rules: RuleSet,
    limits: Limits,
    best: Callable[[Grown], Program],
    *,
    restarts: int = 0,
    seed: int = 0,
) -> Grown:
    """Saturate a program, with new starts while the node limit binds and programs get cheaper.

    Rules and their sites have their turns in another order in each e-graph, so that the limit leaves out others.

    Parameters
    ----------
    graph : TensorGraph
        The program.
    rules : RuleSet
        The rules.
    limits : Limits
        Of each e-graph.
    best : callable
        Extracts a program from an e-graph.
    restarts : int
        The most new starts.
    seed : int
        Of the order.
    """
    program = Program(graph)
    runs: list[Saturation] = []
    idle = 0
    while True:
        egraph, class_of = load(program.graph, program.reasons)
        grown = Grown(egraph, program, class_of, runs)
        runs.append(saturate(egraph, rules, limits, shuffle=random.Random(seed + len(runs)) if runs else None))
        if runs[-1].stop_reason != "node limit" or len(runs) > restarts:
            return grown
        better = best(grown)
        if better.cost < program.cost * (1 - _GAIN):
            program, idle = better, 0
        else:
            idle += 1
        if idle == _PATIENCE:
            return grown
