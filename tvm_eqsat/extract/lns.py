"""Large-neighbourhood search: choose anew, and best, in one region at a time, with the rest as it is.

Local search tries a merge at a time; an integer program weighs all choices of a few dozen classes against each other.
Regions grow along the graph from classes that have a choice. (P. Shaw, "Using constraint programming and local search
methods to solve vehicle routing problems", CP 1998.)
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import replace
from math import inf

from ..egraph.frozen import FrozenEGraph
from .base import Extraction, register
from .bracket import Bracket
from .ilp import searched
from .model import Model
from .prove import MODERATE, tighten

_ROUNDS = 40
_REGION = (50, 100, 200)  # nodes: of the smallest region, the first, the largest
_GROWTH = 1.3
_TREE = 20  # nodes of the branch and bound tree: what takes more is solved in smaller regions
_SOLVES = 5  # of a region, each with the cycles of the one before forbidden
_SHARE = 0.3  # of the time limit, for local search


@register("lns")
def lns(
    frozen: FrozenEGraph, /, *, seed: int = 0, time_limit: float | None = None, rounds: int | None = None
) -> Extraction:
    """The cheapest program that large-neighbourhood search finds, from where local search ends.

    Parameters
    ----------
    frozen : FrozenEGraph
        The e-graph.
    seed : int
        Of the regions and of the local search.
    time_limit : float, optional
        Seconds.
    rounds : int, optional
        Most regions, by default 40, and without a limit if there is a time limit.
    """
    start = time.monotonic()
    deadline = inf if time_limit is None else start + time_limit
    most = (_ROUNDS if time_limit is None else inf) if rounds is None else rounds
    bracket = searched(frozen, seed, inf if time_limit is None else start + _SHARE * time_limit)
    # Most nodes are ruled out in a moment, and regions then reach further.
    tighten(bracket, MODERATE if time_limit is None else replace(MODERATE, deadline=start + 2 * _SHARE * time_limit))
    improve(bracket, random.Random(seed), lambda done: done >= most or time.monotonic() >= deadline, deadline)
    return bracket.extraction()


def improve(bracket: Bracket, rng: random.Random, stop: Callable[[int], bool], deadline: float = inf) -> None:
    """Improve a program region by region.

    Parameters
    ----------
    bracket : Bracket
        What is known. Nodes that are ruled out aren't considered.
    rng : random.Random
        Draws the regions.
    stop : callable(rounds) -> bool
        Whether to stop, after so many regions.
    deadline : float
        On the clock of ``time.monotonic``.
    """
    problem = bracket.problem
    smallest, size, largest = _REGION
    done = 0
    while not bracket.closed and not stop(done):
        done += 1
        centres = _centres(bracket)
        if not centres:
            break
        region = _region(bracket, centres[int(rng.random() * len(centres))], size, rng)
        alive = [
            alive and (c in region or bracket.choice[c] == i)
            for i, (alive, c) in enumerate(zip(bracket.alive, problem.owner, strict=True))
        ]
        model = Model(problem, alive, bracket.cost, cuts=bracket.cuts)
        for _ in range(_SOLVES):
            found = model.solve(_TREE, deadline - time.monotonic())
            cuts = bracket.take(found)
            if not cuts:
                if found.finished and alive == bracket.alive:
                    bracket.prove(bracket.cost)  # it was the whole
                break
            bracket.cuts += cuts
            for cut in cuts:
                model.add(cut)
        size = min(int(size * _GROWTH), largest) if found.finished else max(int(size / _GROWTH**2), smallest)


def _centres(bracket: Bracket) -> list[int]:
    """Classes of the program that have a choice."""
    problem, alive = bracket.problem, bracket.alive
    return [c for c in problem.needs(bracket.choice) if sum(map(alive.__getitem__, problem.nodes[c])) > 1]


def _region(bracket: Bracket, centre: int, size: int, rng: random.Random) -> set[int]:
    """Classes around one, with so many nodes."""
    problem, alive = bracket.problem, bracket.alive
    region = {centre}
    todo = [centre]
    nodes = 0
    for c in todo:  # grows
        nodes += len(problem.nodes[c])
        if nodes >= size:
            break
        around = [problem.owner[i] for i in problem.users[c] if alive[i]]
        around += [kid for i in problem.nodes[c] if alive[i] for kid in problem.kids[i]]
        around = [d for d in dict.fromkeys(around) if d not in region]
        rng.shuffle(around)
        region.update(around)
        todo += around
    return set(todo[: todo.index(c) + 1])
