"""A complete selection that can be changed node by node and back, with its cost kept up to date."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import inf

from .problem import Problem


class Selection:
    """A node for every class, and which classes the goal needs under that choice: those are *live*.

    A live class's reference count is the number of live classes whose node has it as a child. The choice has no cycle,
    neither among live classes nor among the others, between calls of the methods that say so.

    Attributes
    ----------
    choice : list of int
        Node of each class. A class that isn't live keeps its node, for when it is needed again.
    refs : list of int
        Reference count of each class; 0 if it isn't live.
    cost : float
        Cost of the live classes.
    work : int
        How many classes were visited so far: a measure of time that doesn't depend on the machine.
    log : list of (int, int)
        Class and former node of each change, oldest first.
    """

    __slots__ = ("choice", "component", "cost", "log", "problem", "refs", "work")

    def __init__(self, problem: Problem, choice: Sequence[int], component: Sequence[int]) -> None:
        self.problem = problem
        self.component = component
        self.choice = list(choice)
        self.refs = [0] * len(self.choice)
        self.work = 0
        self.cost = 0.0
        self.log: list[tuple[int, int]] = []
        added = self._acquire((problem.goal,), inf)
        assert added is not None
        self.cost = added[0]

    def _acquire(self, kids: Iterable[int], budget: float) -> tuple[float, list[int]] | None:
        """Count one reference more to each class.

        Returns the cost of what became live, and which classes; None, with nothing changed, if it is over the budget.
        """
        refs, choice, price, children = self.refs, self.choice, self.problem.cost, self.problem.kids
        born: list[int] = []
        for kid in kids:
            if not refs[kid]:
                born.append(kid)
            refs[kid] += 1
        added = 0.0
        for c in born:  # grows
            added += price[choice[c]]
            if added > budget:
                for kid in kids:
                    refs[kid] -= 1
                for other in born:
                    if other == c:
                        break
                    for kid in children[choice[other]]:
                        refs[kid] -= 1
                return None
            for kid in children[choice[c]]:
                if not refs[kid]:
                    born.append(kid)
                refs[kid] += 1
        self.work += 1 + len(born)
        return added, born

    def _release(self, kids: Iterable[int]) -> tuple[float, list[int]]:
        """Count one reference less to each class. Returns the cost of what is no longer live, and which classes."""
        refs, choice, price, children = self.refs, self.choice, self.problem.cost, self.problem.kids
        freed = 0.0
        died: list[int] = []
        for kid in kids:
            refs[kid] -= 1
            if not refs[kid]:
                died.append(kid)
        for c in died:  # grows
            freed += price[choice[c]]
            for kid in children[choice[c]]:
                refs[kid] -= 1
                if not refs[kid]:
                    died.append(kid)
        self.work += 1 + len(died)
        return freed, died

    def closes_cycle(self, c: int) -> bool:
        """Whether the node of a class needs that class."""
        choice, children, component = self.choice, self.problem.kids, self.component
        home = component[c]
        todo = [kid for kid in children[choice[c]] if component[kid] == home]
        if not todo:
            return False
        seen = set(todo)
        for d in todo:  # grows
            for kid in children[choice[d]]:
                if component[kid] == home and kid not in seen:
                    if kid == c:
                        self.work += len(todo)
                        return True
                    seen.add(kid)
                    todo.append(kid)
        self.work += len(todo)
        return False

    def flip(self, c: int, i: int) -> list[int]:
        """Give a class another node; there may be a cycle afterwards. Returns the classes that came alive or died."""
        problem = self.problem
        old = self.choice[c]
        self.log.append((c, old))
        self.choice[c] = i
        if not self.refs[c]:
            return []
        added = self._acquire(problem.kids[i], inf)
        assert added is not None
        freed, died = self._release(problem.kids[old])
        self.cost += added[0] - freed + problem.cost[i] - problem.cost[old]
        return added[1] + died

    def undo(self, mark: int) -> None:
        """Take back all changes but the first ``mark``."""
        log = self.log
        while len(log) > mark:
            c, i = log.pop()
            self.flip(c, i)
            log.pop()

    def improve(self, c: int, threshold: float) -> list[int] | None:
        """Give a live class the node with which everything costs least, if it saves more than the threshold.

        No cycle arises. Returns the classes that came alive or died; None if nothing is saved.
        """
        problem, choice = self.problem, self.choice
        price, children = problem.cost, problem.kids
        old = choice[c]
        freed, died = self._release(children[old])
        start = freed + price[old]
        least, best = start - threshold, old
        for i in problem.nodes[c]:
            if i == old or price[i] >= least:
                continue
            added = self._acquire(children[i], least - price[i])
            if added is None:
                self.work += 1
                continue
            total = added[0] + price[i]
            if total < least:
                choice[c] = i
                if not self.closes_cycle(c):
                    least, best = total, i
                choice[c] = old
            self._release(children[i])
        choice[c] = best
        back = self._acquire(children[best], inf)
        assert back is not None
        if best == old:
            return None
        self.log.append((c, old))
        self.cost += least - start
        return died + back[1]
