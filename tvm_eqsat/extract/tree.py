"""Tree cost: a node costs itself and its children, a shared one once for each of its users.

The cheapest tree of every class, by Knuth's generalisation of Dijkstra's algorithm (Information Processing Letters
6(1), 1977): classes are settled in order of their cost, so each node is looked at once, and no cycle can arise.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from heapq import heapify, heappop, heappush
from math import inf

from ..egraph.frozen import FrozenEGraph
from .base import Extraction, register, selected


def cheapest_trees(
    kids: Sequence[Sequence[int]],
    cost: Sequence[float],
    owner: Sequence[int],
    users: Sequence[Sequence[int]],
    paid: Sequence[int] = (),
) -> list[int]:
    """The node of each class that starts its cheapest tree.

    Parameters
    ----------
    kids, cost, owner, users
        As in :class:`~tvm_eqsat.extract.problem.Problem`.
    paid : sequence of int
        Classes that are there already: using them costs nothing, and nothing is chosen for them.

    Returns
    -------
    list of int
        By class; -1 for paid classes and for those without a tree.
    """
    choice = [-1] * len(users)
    best = [inf] * len(users)
    settled = [False] * len(users)
    total = list(cost)
    need = list(map(len, kids))
    heap = []
    for c in paid:
        best[c] = 0.0
        heap.append((0.0, c))
    for i, n in enumerate(need):
        if not n and total[i] < best[owner[i]]:
            best[owner[i]] = total[i]
            choice[owner[i]] = i
            heap.append((total[i], owner[i]))
    heapify(heap)
    while heap:
        price, c = heappop(heap)
        if settled[c]:
            continue
        settled[c] = True
        for i in users[c]:
            need[i] -= 1
            total[i] += price
            if not need[i]:
                # Sharing can double the cost at every level: a finite sum may overflow, but stays a choice.
                price_i = min(total[i], sys.float_info.max) if cost[i] < inf else inf
                if price_i < best[owner[i]]:
                    best[owner[i]] = price_i
                    choice[owner[i]] = i
                    heappush(heap, (price_i, owner[i]))
    return choice


@register("tree")
def tree(frozen: FrozenEGraph, /, *, seed: int = 0, time_limit: float | None = None) -> Extraction:
    """The program of least tree cost. Fast, and blind to sharing, except that a node pays a repeated child once."""
    kids = [tuple(set(children)) for children in frozen.node_children]
    users: list[list[int]] = [[] for _ in frozen.class_nodes]
    for i, children in enumerate(kids):
        for child in children:
            users[child].append(i)
    return selected(frozen, cheapest_trees(kids, frozen.costs, frozen.node_class, users))
