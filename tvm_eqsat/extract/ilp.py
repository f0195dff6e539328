"""The cheapest program there is, by landmarks and integer programs.

Nothing here is heuristic but the program to start from: a node is ruled out only by proof, cycles are forbidden where
they turn up, and the lower bound is one of the e-graph itself.
"""

from __future__ import annotations

import random
import time
from math import inf

from ..egraph.frozen import FrozenEGraph
from .base import Extraction, register
from .bracket import Bracket
from .local import Search, greedy_start, usual_effort
from .prove import Limits, solve, tighten
from .reduce import reduce

_START = 0.4  # of the time limit, at most, for local search


@register("ilp")
def ilp(frozen: FrozenEGraph, /, *, seed: int = 0, time_limit: float | None = None) -> Extraction:
    """The cheapest program, with the proof: its lower bound is its cost, unless time runs out.

    Parameters
    ----------
    frozen : FrozenEGraph
        The e-graph.
    seed : int
        Of the local search from which it starts.
    time_limit : float, optional
        Seconds; reading off the program may take a little more. If there is one and OR-tools is installed, CP-SAT works
        beside HiGHS on what is hard.
    """
    limits = Limits() if time_limit is None else Limits(time.monotonic() + time_limit)
    bracket = searched(frozen, seed, inf if time_limit is None else time.monotonic() + _START * time_limit)
    solve(bracket, tighten(bracket, limits), limits)
    return bracket.extraction()


def searched(frozen: FrozenEGraph, seed: int, deadline: float) -> Bracket:
    """What local search finds, as something to improve on.

    Raises
    ------
    ExtractionError
        A root has no program of finite cost.
    """
    problem = reduce(frozen)
    effort = usual_effort(problem)
    search = Search(problem, greedy_start(problem), lambda work: work >= effort or time.monotonic() >= deadline)
    search.descend()
    search.perturb(random.Random(seed))
    return Bracket(problem, search.best())
