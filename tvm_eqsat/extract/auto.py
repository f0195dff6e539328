"""As good a program as the size of the e-graph and the time allow: local search, proof, and neighbourhoods."""

from __future__ import annotations

import random
import time
from math import inf

from ..egraph.frozen import FrozenEGraph
from .base import Extraction, register
from .ilp import searched
from .lns import improve
from .prove import MODERATE, Limits, solve, tighten

_ROUNDS = 8
_PASSES = 2  # a cheaper program rules out more nodes
_SEARCH, _NEIGHBOURHOODS = 0.4, 0.2  # of what is left of the time limit then


@register("auto")
def auto(frozen: FrozenEGraph, /, *, seed: int = 0, time_limit: float | None = None) -> Extraction:
    """The cheapest program found in reasonable time, and a lower bound.

    Local search first; then landmarks and the linear relaxation, which often prove that it is optimal; then integer
    programs, if few nodes are left in question, or else large-neighbourhood search.

    Parameters
    ----------
    frozen : FrozenEGraph
        The e-graph.
    seed : int
        Of what is drawn at random.
    time_limit : float, optional
        Seconds, all of which are used unless the program is proven to be optimal. Without it, every step has a limit of
        its own: a few seconds in all for 50,000 nodes, and the result is the same in every run.
    """
    rng = random.Random(seed)
    if time_limit is None:
        bracket = searched(frozen, seed, inf)
        for _ in range(_PASSES):
            before = bracket.cost
            solve(bracket, tighten(bracket, MODERATE), MODERATE)
            improve(bracket, rng, lambda done: done >= _ROUNDS)
            if bracket.cost == before:
                break
        return bracket.extraction()
    deadline = time.monotonic() + time_limit

    def share(part: float) -> float:
        return time.monotonic() + part * (deadline - time.monotonic())

    bracket = searched(frozen, seed, share(_SEARCH))
    tighten(bracket, Limits(deadline))
    until = share(_NEIGHBOURHOODS)
    improve(bracket, rng, lambda done: time.monotonic() >= until, until)
    limits = Limits(deadline)
    solve(bracket, tighten(bracket, limits), limits)
    improve(bracket, rng, lambda done: time.monotonic() >= deadline, deadline)
    return bracket.extraction()
