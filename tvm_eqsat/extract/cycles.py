"""Cycles in what a relaxation chooses, and the cuts that forbid them.

Of the classes on a cycle some are built from outside: if one of them is chosen, so is a node of theirs that needs none
of them. (Answer set solvers call it a loop formula.) A cut says that about one cycle; as many follow as are needed.
"""

from __future__ import annotations

from collections.abc import Sequence

from .model import Cut
from .problem import Problem, strong_components


def cycle_cuts(problem: Problem, choice: Sequence[int]) -> list[Cut]:
    """What forbids the cycles among the nodes that the goal needs; nothing if there are none.

    Parameters
    ----------
    problem : Problem
        What is to be decided.
    choice : sequence of int
        A node for every class that the goal needs.
    """
    nodes, kids = problem.nodes, problem.kids
    live = problem.needs(choice)
    tails = [c for c in live for _ in kids[choice[c]]]
    heads = [kid for c in live for kid in kids[choice[c]]]
    component = strong_components(tails, heads, len(nodes))
    loops: dict[int, list[int]] = {}
    for c in live:
        loops.setdefault(component[c], []).append(c)
    cuts = []
    for loop in loops.values():
        if len(loop) > 1:
            inside = set(loop)
            doors = tuple([i for c in loop for i in nodes[c] if inside.isdisjoint(kids[i])])
            cuts += [Cut(tuple(nodes[c]), doors) for c in loop]
    return cuts
