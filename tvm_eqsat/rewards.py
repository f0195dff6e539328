"""Rewards of Monte Carlo tree search: quick estimates of what the cheapest program of an e-graph costs."""

from __future__ import annotations

from collections.abc import Callable

from .cost.node_cost import NodeCost, priced
from .egraph.frozen import FrozenEGraph
from .extract import extract
from .search.grow import Grown, Program
from .search.mcts.judge import Judge
from .search.mcts.sharing import sharing_aware_cost

_EFFORT = 20_000  # of local search: flips and merges from the greedy program, and little noise


def bundle_cost(frozen: FrozenEGraph) -> float:
    """Cost of the greedy program after flips of single classes and of all classes that one operator can serve."""
    return extract(frozen, "local", effort=_EFFORT).cost


#: By the name of the option ``reward``.
REWARDS: dict[str, Callable[[FrozenEGraph], float]] = {"bundles": bundle_cost, "sharing": sharing_aware_cost}


def judge_for(price: NodeCost, best: Callable[[Grown], Program], reward: str = "bundles") -> Judge:
    """What tells Monte Carlo tree search which e-graphs are good.

    Parameters
    ----------
    price : NodeCost
        Prices of e-nodes.
    best : callable
        Extracts a program from an e-graph.
    reward : str
        A name in ``REWARDS``.
    """
    estimate = REWARDS[reward]

    def value(grown: Grown) -> float:
        return estimate(priced(grown.egraph, grown.egraph.freeze(grown.roots), price))

    return Judge(price, best, value)
