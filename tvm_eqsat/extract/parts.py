"""Parts of a problem that don't depend on each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from .problem import Problem, strong_components


def parts(problem: Problem, alive: Sequence[bool], needed: Sequence[int]) -> list[list[int]]:
    """Sets of classes in which to choose independently of the other sets, smallest first.

    A class depends on its children, but not on those that are needed anyway, unless a cycle could lead through both.

    Parameters
    ----------
    problem : Problem
        What is to be decided.
    alive : sequence of bool
        Nodes that may be chosen.
    needed : sequence of int
        Classes that every program has.
    """
    n = len(problem.nodes)
    reached = [False] * n
    reached[problem.goal] = True
    todo = [problem.goal]
    tails, heads = [], []
    for c in todo:  # grows
        for i in problem.nodes[c]:
            if alive[i]:
                for kid in problem.kids[i]:
                    tails.append(c)
                    heads.append(kid)
                    if not reached[kid]:
                        reached[kid] = True
                        todo.append(kid)
    strong = strong_components(tails, heads, n)
    anyway = set(needed)
    tied = [(c, kid) for c, kid in zip(tails, heads, strict=True) if kid not in anyway or strong[c] == strong[kid]]
    edges: Any = np.array(tied, dtype=np.int64).reshape(-1, 2).T
    matrix = csr_matrix((np.ones(len(tied), dtype=np.int8), tuple(edges)), shape=(n, n))
    component = connected_components(matrix, directed=False)[1].tolist()
    members: dict[int, list[int]] = {}
    for c in todo:
        members.setdefault(component[c], []).append(c)
    open_classes = {component[c] for c in todo if sum(alive[i] for i in problem.nodes[c]) > 1}
    return sorted((part for k, part in members.items() if k in open_classes), key=lambda part: (len(part), part))
