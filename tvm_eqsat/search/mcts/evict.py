"""Node eviction: make room in a full e-graph by dropping what no good program needs.

A node is kept if the cheapest program through it costs at most a few per cent more than the best. That is estimated by
tree costs: the *regret* of a class is what has to be paid above the cheapest trees to need it at all. Trees ignore
sharing, so a node that pays only together with others may look worse than it is; the nodes of the best program are
kept in any case.
"""

from __future__ import annotations

from collections.abc import Collection
from heapq import heappop, heappush
from math import inf

from ...egraph.egraph import EGraph
from ...egraph.tables import ENode
from ...rules.analysis import TensorAnalysis
from ..sequential import Price


def evict(
    egraph: EGraph, roots: Collection[int], price: Price, kept: Collection[ENode], slack: float
) -> tuple[EGraph, dict[int, int]]:
    """Build the e-graph anew without the nodes that no good program needs.

    Parameters
    ----------
    egraph : EGraph
        Rebuilt.
    roots : collection of int
        Classes of the program's outputs.
    price : callable
        Price of one operator.
    kept : collection of tuple
        Canonical e-nodes to keep in any case, with all that they need.
    slack : float
        How much dearer than the cheapest tree of the roots a program may be, as a share of it.

    Returns
    -------
    egraph : EGraph
        The smaller e-graph.
    place : dict of int to int
        For each class of the old one that is left, its class there.
    """
    nodes = _prices(egraph, roots, price)
    tree, order = _trees(nodes)
    finite = {c: [(n, w) for n, w in mine if all(k in tree for k in n[1:])] for c, mine in nodes.items()}
    roots = [egraph.find(root) for root in roots]
    regrets = _regrets(finite, tree, roots)
    bound = slack * sum(tree[root] for root in set(roots))
    needed = set(kept)
    left: list[tuple[int, ENode]] = []
    for c in order:  # operands before users, along cheapest trees
        for node, weight in finite[c]:
            through = weight + sum(tree[k] for k in set(node[1:])) - tree[c]
            if node in needed or regrets.get(c, inf) + through <= bound:
                left.append((c, node))
    made, place = EGraph(TensorAnalysis()), dict[int, int]()
    count = len(left) + 1
    while len(left) < count:  # what isn't on a cheapest tree may need classes that come later in the order
        count, waiting = len(left), left
        left = []
        for c, node in waiting:
            if all(k in place for k in node[1:]):
                new = _add(egraph, made, node, place)
                made.union(place.setdefault(c, new), new)
            else:
                left.append((c, node))
    made.rebuild()
    return made, {c: made.find(new) for c, new in place.items()}


def _add(old: EGraph, new: EGraph, node: ENode, place: dict[int, int]) -> int:
    sym = new.sym(old.ops[node[0]], old.attrs[node[0]])
    reason = old.reason(node)
    return new.add(sym, [place[k] for k in node[1:]], new.reason_id(reason) if reason else 0)


def _prices(egraph: EGraph, roots: Collection[int], price: Price) -> dict[int, list[tuple[ENode, float]]]:
    """Nodes of each class that the roots reach, with their prices."""
    found: dict[int, list[tuple[ENode, float]]] = {}
    todo = [egraph.find(root) for root in roots]
    ops, attrs, data = egraph.ops, egraph.attrs, egraph.data
    while todo:
        c = todo.pop()
        if c not in found:
            mine = egraph.nodes(c)
            found[c] = [(n, price(ops[n[0]], attrs[n[0]], [data(k) for k in n[1:]], data(c))) for n in mine]
            todo += [k for n in mine for k in n[1:]]
    return found


def _trees(nodes: dict[int, list[tuple[ENode, float]]]) -> tuple[dict[int, float], list[int]]:
    """Cost of the cheapest tree of each class, and the classes in an order that has operands first."""
    users: dict[int, list[tuple[int, int]]] = {}
    heap: list[tuple[float, int]] = []
    need: dict[tuple[int, int], int] = {}
    total: dict[tuple[int, int], float] = {}
    for c, mine in nodes.items():
        for position, (node, weight) in enumerate(mine):
            kids = set(node[1:])
            need[c, position], total[c, position] = len(kids), weight
            for k in kids:
                users.setdefault(k, []).append((c, position))
            if not kids:
                heappush(heap, (weight, c))
    tree: dict[int, float] = {}
    while heap:
        cost, c = heappop(heap)
        if c in tree:
            continue
        tree[c] = cost
        for user in users.get(c, ()):
            need[user] -= 1
            total[user] += cost
            if not need[user]:
                heappush(heap, (total[user], user[0]))
    return tree, list(tree)


def _regrets(
    nodes: dict[int, list[tuple[ENode, float]]], tree: dict[int, float], roots: Collection[int]
) -> dict[int, float]:
    """What needing a class costs above the cheapest trees of the roots; by Dijkstra's algorithm from the roots down."""
    found: dict[int, float] = {}
    heap = [(0.0, root) for root in roots]
    while heap:
        regret, c = heappop(heap)
        if c in found:
            continue
        found[c] = regret
        for node, weight in nodes[c]:
            kids = set(node[1:])
            extra = max(0.0, weight + sum(tree[k] for k in kids) - tree[c])
            for k in kids:
                if k not in found:
                    heappush(heap, (regret + extra, k))
    return found
