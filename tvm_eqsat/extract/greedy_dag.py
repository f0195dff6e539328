"""Greedy DAG cost: a class takes the node whose program is cheapest, everything in that program counted once.

Like extraction-gym's ``faster-greedy-dag`` it assumes for each class the one program found for it, so it sees sharing
inside a program but never chooses a dearer node for what it would share. Classes are settled in order of their cost, as
in :mod:`~tvm_eqsat.extract.tree`: no pass is repeated, a node is looked at once, and usually its last child alone shows
that it is too dear.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from math import inf

import numpy as np

from ..egraph.frozen import FrozenEGraph
from .base import Extraction, register
from .problem import Problem
from .reduce import reduce


def greedy(problem: Problem) -> list[int]:
    """The node of each class that starts its program."""
    nodes, kids, cost, owner, users = problem.nodes, problem.kids, problem.cost, problem.owner, problem.users
    width = (len(nodes) + 7) // 8
    prices = np.zeros(width * 8)  # of settled classes, in the order of settling
    program = [0] * len(nodes)  # of a settled class: a set of such positions, as bits
    needed_by = list(map(len, users))  # nodes of classes that aren't settled
    n_settled = 0
    choice = [-1] * len(nodes)
    best = [inf] * len(nodes)
    settled = [False] * len(nodes)
    need = list(map(len, kids))
    heap = []
    for i, n in enumerate(need):
        if not n and cost[i] < best[owner[i]]:
            best[owner[i]] = cost[i]
            choice[owner[i]] = i
            heap.append((cost[i], owner[i]))
    heapify(heap)
    while heap:
        price, c = heappop(heap)
        if settled[c]:
            continue
        settled[c] = True
        prices[n_settled] = cost[choice[c]]
        parts = 1 << n_settled
        n_settled += 1
        for kid in kids[choice[c]]:
            parts |= program[kid]
        program[c] = parts
        for i in nodes[c]:
            for kid in kids[i]:
                needed_by[kid] -= 1
                if not needed_by[kid]:
                    program[kid] = 0  # half a gigabyte otherwise, with a hundred thousand classes
        for i in users[c]:
            need[i] -= 1
            user = owner[i]
            # The children settled before cost no more than this one, the last.
            if need[i] or settled[user] or price + cost[i] >= best[user]:
                continue
            others = 0
            for kid in kids[i]:
                others |= program[kid]
            others &= ~parts
            total = price + cost[i]
            if others:
                bits = np.frombuffer(others.to_bytes(width, "little"), dtype=np.uint8)
                total += float(prices[np.unpackbits(bits, bitorder="little").view(bool)].sum())
            if total < best[user]:
                best[user] = total
                choice[user] = i
                heappush(heap, (total, user))
    return choice


@register("greedy_dag")
def greedy_dag(frozen: FrozenEGraph, /, *, seed: int = 0, time_limit: float | None = None) -> Extraction:
    """The greedy program. Fast; it never chooses a merged operator, which pays only if all its users take part."""
    problem = reduce(frozen)
    return problem.extraction(greedy(problem))
