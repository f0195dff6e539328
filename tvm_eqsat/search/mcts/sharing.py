"""The PACT 2024 paper's cost function, which knows of sharing, as it was published.

J. Hartmann, G. He and E. Yoneki, "Optimizing tensor computation graphs with equality saturation and Monte Carlo tree
search" (PACT 2024), and its artifact (``tensat/src/optimize.rs``, ``new_greedy``). Each class remembers what the
classes below its best node contributed to its cost, its *history*. Where operands of a node share classes, the largest
contribution is counted once. It is greedy, and an estimate: a node that pays only where several classes choose it
together is not seen.
"""

from __future__ import annotations

from math import inf

from ...egraph.frozen import FrozenEGraph

_PASSES = 100  # over all classes; costs rarely need more than ten to settle


def sharing_aware_cost(frozen: FrozenEGraph) -> float:
    """Estimated cost of the cheapest program; ``inf`` if there is none.

    Parameters
    ----------
    frozen : FrozenEGraph
        The e-graph, with the cost of each node.
    """
    cost = [inf] * frozen.n_classes
    history: list[dict[int, float]] = [{} for _ in range(frozen.n_classes)]
    for _ in range(_PASSES):
        changed = False
        for c, nodes in enumerate(frozen.class_nodes):
            best, best_history = inf, history[c]
            for i in nodes:
                total, mine = _node_cost(frozen.costs[i], frozen.node_children[i], cost, history)
                if total < best:
                    best, best_history = total, mine
            if best < cost[c]:
                cost[c], history[c], changed = best, best_history, True
        if not changed:
            break
    return _node_cost(0.0, tuple(dict.fromkeys(frozen.roots)), cost, history)[0]


def _node_cost(
    own: float, children: tuple[int, ...], cost: list[float], history: list[dict[int, float]]
) -> tuple[float, dict[int, float]]:
    """Cost of a node and the contributions to it."""
    mine: dict[int, float] = {}
    total = own
    for k in children:
        if cost[k] == inf:
            return inf, mine
        share = cost[k]
        if not mine:
            mine = history[k].copy()
        elif k in mine:
            share = 0.0
        else:
            shared = 0.0
            for a, contribution in history[k].items():
                if a in mine:
                    shared = max(shared, contribution)
                else:
                    mine[a] = contribution
            share = max(share - shared, 0.0)
        if share > 0:
            mine[k] = share
        total += share
    return total, mine
