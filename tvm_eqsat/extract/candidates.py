"""Several good programs, for when node costs are only an estimate of what programs cost."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from math import exp, inf

from ..egraph.frozen import FrozenEGraph
from ..errors import OptionError
from .base import Extraction, check, check_costs
from .greedy_dag import greedy
from .local import Search, greedy_start, usual_effort
from .reduce import reduce

_ROUNDS = 3  # searches for each candidate asked for
_NOISE = (0.2, 1.0)  # standard deviation of the logarithm of a factor, in the first round and the last


def extract_candidates(
    frozen: FrozenEGraph, k: int, seed: int = 0, *, time_limit: float | None = None, effort: float | None = None
) -> list[Extraction]:
    """Different programs, the cheapest first.

    The cheapest that local search finds, the greedy one (nothing merged), and what is cheapest if costs are off, each
    kind of node (an operator at about one cost) by a factor of its own: a wrong estimate is wrong wherever the model
    repeats a layer, so these programs differ by decisions that are taken alike all over the model.

    Parameters
    ----------
    frozen : FrozenEGraph
        The e-graph.
    k : int
        How many programs; fewer are returned if no more are found.
    seed : int
        Of the noise.
    time_limit : float, optional
        Seconds. Without it the result is the same in every run.
    effort : float, optional
        Of the first search, as in :func:`~tvm_eqsat.extract.local.local`; the others get a quarter each.

    Raises
    ------
    OptionError
        ``k`` isn't positive.
    ExtractionError
        A root has no program of finite cost, or a cost is out of range.
    """
    if k < 1:
        raise OptionError(f"k must be 1 or more, not {k}")
    deadline = inf if time_limit is None else time.monotonic() + time_limit
    check_costs(frozen)
    problem = reduce(frozen)
    effort = usual_effort(problem) if effort is None else effort
    rng = random.Random(seed)

    def search(limit: float) -> Search:
        return Search(problem, start, lambda work: work >= limit or time.monotonic() >= deadline)

    start: Sequence[int] = greedy_start(problem)
    first = search(effort)
    first.descend()
    first.perturb(rng)
    start = first.best()
    found: dict[frozenset[int], Extraction] = {}
    for choice in (start, greedy(problem)):
        extraction = problem.extraction(choice)
        found.setdefault(frozenset(extraction.choice.values()), extraction)
    true = problem.cost
    ops = [*frozen.node_op, "goal"]
    kinds = [(ops[i], f"{cost:.2g}") for i, cost in zip(problem.origin, true, strict=True)]
    rounds = _ROUNDS * k
    for number in range(rounds):
        if len(found) >= k or time.monotonic() >= deadline:
            break
        deviation = _NOISE[0] + (_NOISE[1] - _NOISE[0]) * number / rounds
        factor = {kind: exp(rng.gauss(0.0, deviation)) for kind in dict.fromkeys(kinds)}
        problem.cost = [cost * factor[kind] for cost, kind in zip(true, kinds, strict=True)]
        other = search(effort / 4)
        other.descend()
        problem.cost = true
        extraction = problem.extraction(other.selection.choice)
        found.setdefault(frozenset(extraction.choice.values()), extraction)
    best = sorted(found.values(), key=lambda extraction: extraction.cost)[:k]
    for extraction in best:
        check(frozen, extraction)
    return best
