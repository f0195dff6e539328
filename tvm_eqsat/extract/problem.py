"""The decision that an e-graph leaves open, without what is decided already.

Most of a saturated e-graph decides nothing: constants and weights cost nothing, a merged operator's tuple has one node,
a node that needs what its sibling needs and more can't be better. :mod:`.reduce` takes all that out, exactly: the best
selection of what remains, put back, is a best selection of the whole. TENSAT's NasNet-A shrinks to half, its VGG to two
thirds, a convolutional network saturated by our own rules to a third or less; extractors run on what is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from ..egraph.frozen import FrozenEGraph
from .base import Extraction, selected


class Problem:
    """Choose a node for each class that the goal needs, without a cycle, at the least total cost.

    Classes and nodes are numbered from 0. The roots are the children of the only node of one more class, the goal.

    Attributes
    ----------
    nodes : list of list of int
        Nodes of each class; never empty.
    owner : list of int
        Class of each node.
    kids : list of tuple of int
        Distinct child classes of each node, ascending; never its own class.
    cost : list of float
        Cost of each node, finite and not negative. It includes the nodes that are taken along with it.
    users : list of list of int
        The nodes that have a class as a child.
    goal : int
        The class to produce.
    origin : list of int
        Node of the e-graph that a node stands for; the goal's is one past the last.
    fixed : list of int
        Node that a class of the e-graph takes wherever it is needed; -1 where that is to be decided.
    place : list of int
        Class of this problem that decides for a class of the e-graph; -1 where nothing is to be decided.
    """

    __slots__ = ("cost", "fixed", "frozen", "goal", "kids", "nodes", "origin", "owner", "place", "users")

    def __init__(
        self,
        frozen: FrozenEGraph,
        classes: list[int],
        nodes: list[list[int]],
        kids: list[tuple[int, ...]],
        cost: list[float],
        fixed: list[int],
    ) -> None:
        classes = sorted(classes)
        self.frozen = frozen
        self.fixed = fixed
        self.goal = len(classes) - 1
        self.place = [-1] * frozen.n_classes
        self.nodes: list[list[int]] = []
        self.owner: list[int] = []
        self.origin: list[int] = []
        for k, c in enumerate(classes):
            self.nodes.append(list(range(len(self.origin), len(self.origin) + len(nodes[c]))))
            self.owner += [k] * len(nodes[c])
            self.origin += nodes[c]
        for k, c in enumerate(classes[:-1]):
            self.place[c] = k
        number = self.place.__getitem__
        self.kids = [tuple(sorted(map(number, kids[i]))) for i in self.origin]
        self.cost = [cost[i] for i in self.origin]
        self.users: list[list[int]] = [[] for _ in classes]
        for i, children in enumerate(self.kids):
            for kid in children:
                self.users[kid].append(i)

    def components(self) -> list[int]:
        """Number of the strongly connected component of each class: no cycle leaves one."""
        tails = [c for c, kids in zip(self.owner, self.kids, strict=True) for _ in kids]
        return strong_components(tails, [kid for kids in self.kids for kid in kids], len(self.nodes))

    def needs(self, choice: Sequence[int]) -> list[int]:
        """The classes that the goal needs under a choice of node for every class, the goal first."""
        seen = {self.goal}
        todo = [self.goal]
        for c in todo:  # grows
            for kid in self.kids[choice[c]]:
                if kid not in seen:
                    seen.add(kid)
                    todo.append(kid)
        return todo

    def total(self, choice: Sequence[int]) -> float:
        """Cost of what the goal needs under a choice of node for every class."""
        return fsum(self.cost[choice[c]] for c in self.needs(choice))

    def extraction(self, choice: Sequence[int], lower_bound: float | None = None) -> Extraction:
        """The e-graph's program for a choice of node for every class that the goal needs."""
        origin = self.origin
        whole = [i if i >= 0 or k < 0 else origin[choice[k]] for i, k in zip(self.fixed, self.place, strict=True)]
        return selected(self.frozen, whole, lower_bound)


def strong_components(tails: Sequence[int], heads: Sequence[int], n: int) -> list[int]:
    """Number of the strongly connected component of each of n vertices, given edges from tails to heads."""
    edges = csr_matrix((np.ones(len(tails), dtype=np.int8), (tails, heads)), shape=(n, n))
    return connected_components(edges, connection="strong")[1].tolist()
