"""Classes that every program of a class has: what dominators are to control flow, with AND nodes.

``mandatory(c) = {c} ∪ ⋂ (nodes of c) ⋃ (children) mandatory(child)``, the greatest solution, found from above. Sets are
integers, a bit for each class.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from copy import copy

from .model import Cut
from .problem import Problem

_VIOLATION = 0.05  # by which a relaxation must break a cut
_CUTS = 10  # for each class, at a time
_DUST = 1e-6


class Mandatory:
    """The mandatory classes of every class and node.

    Parameters
    ----------
    problem : Problem
        What is to be decided.
    alive : sequence of bool
        Nodes that may be chosen.

    Attributes
    ----------
    of_class : list of int
        Set of classes that a class's programs all have, itself among them; 0 without a program.
    of_node : list of int
        Set of classes that the programs of the node's children have.
    """

    def __init__(self, problem: Problem, alive: Sequence[bool]) -> None:
        nodes, kids, owner, users = problem.nodes, problem.kids, problem.owner, problem.users
        self._problem = problem
        self.of_class = of_class = [0] * len(nodes)
        todo = deque(range(len(nodes)))
        queued = [True] * len(nodes)
        while todo:
            c = todo.popleft()
            queued[c] = False
            common = -1
            for i in nodes[c]:
                if alive[i] and all(map(of_class.__getitem__, kids[i])):
                    common &= _union(of_class, kids[i])
            if common == -1 or common | 1 << c == of_class[c]:
                continue
            of_class[c] = common | 1 << c
            for i in users[c]:
                if not queued[owner[i]]:
                    queued[owner[i]] = True
                    todo.append(owner[i])
        self.of_node = [_union(of_class, children) for children in kids]

    def impossible(self) -> list[int]:
        """Nodes that need their own class, whatever is chosen below."""
        return [i for i, c in enumerate(self._problem.owner) if self.of_node[i] >> c & 1]

    def needed(self) -> list[int]:
        """Classes that every program has."""
        return list(_members(self.of_class[self._problem.goal]))

    def contracted(self) -> Problem:
        """The same problem, but what every program has is asked for by the goal, and by nobody else.

        So what happens below a mandatory class doesn't concern what is above it. Only a child that could close a cycle
        stays a child.
        """
        problem = copy(self._problem)
        needed, component = set(self.needed()), problem.components()
        problem.kids = [
            tuple([kid for kid in kids if kid not in needed or component[kid] == component[c]])
            for kids, c in zip(problem.kids, problem.owner, strict=True)
        ]
        for i in problem.nodes[problem.goal]:
            problem.kids[i] = tuple(sorted(needed - {problem.goal}))
        problem.users = [[] for _ in problem.nodes]
        for i, kids in enumerate(problem.kids):
            for kid in kids:
                problem.users[kid].append(i)
        return problem

    def cuts(self, chosen: Sequence[float]) -> list[Cut]:
        """What a relaxation forgets: a class that several nodes of a class need is chosen as often as all of them.

        One level down the integer program says so itself, but further down the branches of a half chosen class seem to
        pay for half of what they share.

        Parameters
        ----------
        chosen : sequence of float
            To which part the relaxation chooses each node.
        """
        nodes, needed = self._problem.nodes, self.of_class[self._problem.goal]
        share = [sum(map(chosen.__getitem__, members)) for members in nodes]
        found = []
        for c, members in enumerate(nodes):
            if len(members) < 2 or share[c] < _DUST:
                continue
            users: dict[int, float] = {}
            for i in members:
                if chosen[i] > _DUST:
                    for d in _members(self.of_node[i] & ~needed):
                        users[d] = users.get(d, 0.0) + chosen[i]
            broken = [(used - share[d], d) for d, used in users.items() if used > share[d] + _VIOLATION]
            for _, d in sorted(broken, reverse=True)[:_CUTS]:
                found.append(Cut(tuple([i for i in members if self.of_node[i] >> d & 1]), tuple(nodes[d])))
        return found


def _union(sets: Sequence[int], members: Sequence[int]) -> int:
    found = 0
    for c in members:
        found |= sets[c]
    return found


def _members(bits: int) -> Iterator[int]:
    while bits:
        lowest = bits & -bits
        yield lowest.bit_length() - 1
        bits ^= lowest
