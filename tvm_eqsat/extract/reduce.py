"""Take out of an e-graph all that extraction need not decide.

Every step keeps some cheapest program (DAG cost) of what it started from:

- a node of infinite cost, or that needs a class without a program, is dropped;
- a class that has a program of cost 0 takes it, and costs its users nothing;
- a node is dropped if another node of its class costs no more and needs no other classes;
- a class with a single node is decided: if the node costs nothing and has one child, or if only one node uses the
  class, its users take the children, and the cost, themselves.
"""

from __future__ import annotations

from math import inf

from ..egraph.frozen import FrozenEGraph
from .base import no_program
from .problem import Problem


def reduce(frozen: FrozenEGraph) -> Problem:
    """The problem that an e-graph poses to an extractor.

    Raises
    ------
    ExtractionError
        A root has no program of finite cost.
    """
    return _Reduction(frozen).problem()


class _Reduction:
    """Work in progress. Numbers are the e-graph's; the goal is one more class, with one more node."""

    def __init__(self, frozen: FrozenEGraph) -> None:
        self.frozen = frozen
        self.goal = frozen.n_classes
        self.owner = [*frozen.node_class, self.goal]
        self.cost = [*frozen.costs, 0.0]
        self.kids = [tuple(set(kids)) for kids in (*frozen.node_children, frozen.roots)]
        users: list[list[int]] = [[] for _ in range(self.goal + 1)]
        for i, kids in enumerate(self.kids):
            for kid in kids:
                users[kid].append(i)
        self.fixed = [-1] * (self.goal + 1)
        need = list(map(len, self.kids))
        free = [cost == 0 for cost in self.cost]
        free[-1] = False  # the goal stays, even if all roots are free
        self._settle(users, free, need, self.fixed)
        first = self.fixed[:]
        self._settle(users, [cost < inf for cost in self.cost], need, first)
        if first[self.goal] < 0:
            raise no_program(frozen, next(root for root in frozen.roots if first[root] < 0))
        fixed = self.fixed
        self.nodes: list[list[int]] = [[] for _ in range(self.goal + 1)]
        for i, c in enumerate(self.owner):
            if not need[i] and fixed[c] < 0 and self.cost[i] < inf:
                self.kids[i] = tuple([kid for kid in self.kids[i] if fixed[kid] < 0])
                if c not in self.kids[i]:
                    self.nodes[c].append(i)

    def _settle(self, users: list[list[int]], allowed: list[bool], need: list[int], first: list[int]) -> None:
        """Build up programs of allowed nodes, starting from those of the classes that have a first node.

        ``need`` counts how many children of each node have no program yet; ``first`` is each class's first node.
        """
        owner = self.owner
        ready = [i for i, n in enumerate(need) if not n and allowed[i]]
        while ready:
            reached = []
            for i in ready:
                if first[owner[i]] < 0:
                    first[owner[i]] = i
                    reached.append(owner[i])
            ready = []
            for c in reached:
                for i in users[c]:
                    need[i] -= 1
                    if not need[i] and allowed[i]:
                        ready.append(i)

    def problem(self) -> Problem:
        classes = self._needed()
        for c in classes:
            self._prune(c)
        while self._inline(classes) > len(classes) // 50:  # later rounds rarely pay
            classes = self._needed()
        return Problem(self.frozen, self._needed(), self.nodes, self.kids, self.cost, self.fixed[:-1])

    def _needed(self) -> list[int]:
        """The classes that the goal may need, the goal first."""
        nodes, kids = self.nodes, self.kids
        seen = [False] * len(nodes)
        seen[self.goal] = True
        found = [self.goal]
        for c in found:
            for i in nodes[c]:
                for kid in kids[i]:
                    if not seen[kid]:
                        seen[kid] = True
                        found.append(kid)
        return found

    def _prune(self, c: int) -> None:
        """Drop the nodes of a class that another one makes superfluous."""
        if len(self.nodes[c]) < 2:
            return
        cost = self.cost
        kept: list[int] = []
        lone = inf  # the cheapest node without children
        # A node can only be beaten by one with fewer children, or as many at no more cost: those come first. It shares
        # the child under which that one is listed.
        listed: dict[int, list[tuple[frozenset[int], float]]] = {}
        for i in sorted(self.nodes[c], key=lambda i: (len(self.kids[i]), cost[i], i)):
            kids, price = frozenset(self.kids[i]), cost[i]
            if price >= lone or any(
                other_price <= price and other <= kids for kid in kids for other, other_price in listed.get(kid, ())
            ):
                continue
            kept.append(i)
            if kids:
                listed.setdefault(max(kids), []).append((kids, price))
            else:
                lone = price
        self.nodes[c] = sorted(kept)

    def _inline(self, classes: list[int]) -> int:
        """Let the users of decided classes take their children and cost. Returns how many there were."""
        nodes, kids, cost, fixed = self.nodes, self.kids, self.cost, self.fixed
        uses = [0] * (self.goal + 1)
        user = [0] * (self.goal + 1)  # the class that has the last use
        for c in classes:
            for i in nodes[c]:
                for kid in kids[i]:
                    uses[kid] += 1
                    user[kid] = c
        tuples = {c for c in classes[1:] if len(nodes[c]) == 1 and not cost[nodes[c][0]] and len(kids[nodes[c][0]]) < 2}
        # A tuple hands its child to all its users: the cost of what it alone uses must not go along, so that waits.
        inline = {
            c: nodes[c][0]
            for c in classes[1:]
            if c in tuples or (len(nodes[c]) == uses[c] == 1 and user[c] not in tuples)
        }
        for c, i in inline.items():
            fixed[c] = i
        decided = inline.keys()
        for c in classes:
            if c in inline:
                continue
            changed = False
            for i in nodes[c]:
                if decided.isdisjoint(kids[i]):
                    continue
                changed = True
                found: set[int] = set()
                todo = list(kids[i])
                for kid in todo:
                    if kid in inline:
                        cost[i] += cost[inline[kid]]
                        todo += kids[inline[kid]]
                    else:
                        found.add(kid)
                kids[i] = tuple(found)
            if changed:
                nodes[c] = [i for i in nodes[c] if c not in kids[i]]
                self._prune(c)
        return len(inline)
