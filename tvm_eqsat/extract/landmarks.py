"""Landmarks: sets of nodes of which every program has one.

Extraction at DAG cost is planning without deletes: a class is a fact, a node an action that achieves it once its
children hold. So the bound with which planners prove optimality, LM-cut (M. Helmert and C. Domshlak, "Landmarks,
critical paths and abstractions: what's the difference anyway?", ICAPS 2009), works here. Unlike a linear relaxation it
isn't deceived by cycles: alone it proves optimal what took ILP solvers hours, or more, TENSAT's ResNet-50 and VGG.

A landmark is what leads into a set of classes around the goal from outside: the first of these classes to be built
needs none of the others. Its nodes share in paying for it; the next one is looked for at the prices that are left.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from heapq import heapify, heappop, heappush
from math import inf
from typing import NamedTuple

from .problem import Problem

_DUST = 1e-12  # of a price: what rounding leaves of one that was paid


class Ascent(NamedTuple):
    """What landmarks prove.

    Attributes
    ----------
    bound : float
        What every program costs at least.
    left : list of float
        What choosing a node costs beyond the bound, at least. Of nodes that no program has, ``inf``.
    landmarks : list of list of int
        The nodes of each.
    """

    bound: float
    left: list[float]
    landmarks: list[list[int]]


def ascend(problem: Problem, price: Sequence[float], most_work: float = inf, deadline: float = inf) -> Ascent:
    """Collect landmarks until the goal is free.

    Parameters
    ----------
    problem : Problem
        What is to be decided.
    price : sequence of float
        Of each node, not negative; ``inf`` for a node that is ruled out.
    most_work : float
        Visits of nodes after which to stop; a million takes a second or so. The bound is as valid then, but lower.
    deadline : float
        When to stop, on the clock of ``time.monotonic``.
    """
    nodes, kids, goal = problem.nodes, problem.kids, problem.goal
    heights = _Heights(problem, list(price))
    left, height, dearest = heights.price, heights.of_class, heights.dearest
    bound, work = 0.0, 0
    found = []
    enough = _DUST * height[goal]
    while enough < height[goal] < inf and work + heights.work < most_work and time.monotonic() < deadline:
        zone = {goal}
        todo = [goal]
        tails = []
        for c in todo:  # grows: from where the goal costs nothing more
            for i in nodes[c]:
                if left[i]:
                    tails.append(i)
                elif dearest[i] not in zone:
                    zone.add(dearest[i])
                    todo.append(dearest[i])
        work += sum(len(nodes[c]) for c in todo)
        tails = [i for i in tails if left[i] < inf and zone.isdisjoint(kids[i])]
        paid = min(map(left.__getitem__, tails))
        bound += paid
        found.append(tails)
        for i in tails:
            left[i] = left[i] - paid if left[i] - paid > _DUST * price[i] else 0.0
        heights.lower(tails)
    return Ascent(bound, left, found)


class _Heights:
    """What the dearest path in a program costs, for the program of each class where that is least (h-max).

    Attributes
    ----------
    price : list of float
        Of each node; nodes that need what has no program get ``inf``.
    of_class : list of float
        Height of each class.
    dearest : list of int
        The highest child of each node, -1 if it has none.
    """

    def __init__(self, problem: Problem, price: list[float]) -> None:
        self._problem = problem
        self.price = price
        self.work = len(price)
        self.of_class = height = [inf] * len(problem.nodes)
        self.dearest = [-1] * len(price)
        owner, users = problem.owner, problem.users
        need = list(map(len, problem.kids))
        heap = []
        for i, n in enumerate(need):
            if not n and price[i] < height[owner[i]]:
                height[owner[i]] = price[i]
                heap.append((price[i], owner[i]))
        heapify(heap)
        settled = [False] * len(height)
        while heap:
            reached, c = heappop(heap)
            if settled[c]:
                continue
            settled[c] = True
            for i in users[c]:
                need[i] -= 1
                if not need[i]:
                    self.dearest[i] = c
                    if reached + price[i] < height[owner[i]]:
                        height[owner[i]] = reached + price[i]
                        heappush(heap, (height[owner[i]], owner[i]))
        for i, n in enumerate(need):
            if n:
                price[i] = inf

    def lower(self, nodes: Sequence[int]) -> None:
        """Follow up lower prices of some nodes."""
        height, dearest, price = self.of_class, self.dearest, self.price
        kids, owner, users = self._problem.kids, self._problem.owner, self._problem.users
        heap: list[tuple[float, int]] = []
        for i in nodes:
            reached = price[i] + (height[dearest[i]] if dearest[i] >= 0 else 0.0)
            if reached < height[owner[i]]:
                height[owner[i]] = reached
                heap.append((reached, owner[i]))
        heapify(heap)
        while heap:
            reached, c = heappop(heap)
            if reached > height[c]:
                continue
            self.work += len(users[c])
            for i in users[c]:
                if dearest[i] != c:
                    continue
                highest = -1.0
                for kid in kids[i]:  # of equals the first: that leads to fewer, dearer landmarks
                    if height[kid] > highest:
                        highest = height[kid]
                        dearest[i] = kid
                d = owner[i]
                if highest + price[i] < height[d]:
                    height[d] = highest + price[i]
                    heappush(heap, (height[d], d))
