"""A complete selection that can be changed node by node and back, with its cost kept up to date."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import fsum, inf

from .problem import Problem


class Selection:
    """A node for every class, and which classes the goal needs under that choice: those are *live*.

    The reference count of a class is the number of live classes whose node has it as a child. Where a method doesn't
    say otherwise, the choice has no cycle before and after it, not even among classes that aren't live.

    Attributes
    ----------
    choice : list of int
        Node of each class. A class that isn't live keeps its node, for when it is needed again.
    refs : list of int
        Reference count of each class; 0 if it isn't live.
    cost : float
        Cost of the live classes.
    log : list of (int, int)
        Class and former node of each change, oldest first.
    work : int
        Visits of classes and nodes so far: a measure of time that is the same on every machine.
    """

    __slots__ = ("_component", "choice", "cost", "log", "problem", "refs", "work")

    def __init__(self, problem: Problem, choice: Sequence[int]) -> None:
        self.problem = problem
        self.choice = list(choice)
        self.refs = [0] * len(self.choice)
        self.log: list[tuple[int, int]] = []
        self.work = 0
        self._component = problem.components()
        self._acquire((problem.goal,))
        self.recount()

    def live(self) -> list[int]:
        """The classes that the goal needs."""
        return [c for c, count in enumerate(self.refs) if count]

    def recount(self) -> None:
        """Sum up the cost anew, without the rounding errors of the changes so far."""
        self.cost = fsum(self.problem.cost[self.choice[c]] for c in self.live())

    def flip(self, c: int, i: int) -> list[int]:
        """Give a class another node; a cycle may arise, and may be there. Returns the classes that came alive or died.

        Once there is no cycle again, counts and cost are as if there never had been one.
        """
        problem, old = self.problem, self.choice[c]
        self.log.append((c, old))
        self.choice[c] = i
        if not self.refs[c]:
            return []
        added, born = self._acquire(problem.kids[i])
        freed, died = self._release(problem.kids[old])
        self.cost += added - freed + problem.cost[i] - problem.cost[old]
        return born + died

    def undo(self, mark: int, cost: float) -> None:
        """Take back all changes but the first ``mark``, after which this was the cost."""
        log = self.log
        while len(log) > mark:
            self.flip(*log.pop())
            log.pop()
        self.cost = cost

    def closes_cycle(self, c: int) -> bool:
        """Whether the node of a class needs that class."""
        choice, children, component = self.choice, self.problem.kids, self._component
        home = component[c]
        todo = [kid for kid in children[choice[c]] if component[kid] == home]
        seen = set(todo)
        for d in todo:  # grows
            for kid in children[choice[d]]:
                if kid not in seen and component[kid] == home:
                    seen.add(kid)
                    todo.append(kid)
        self.work += len(todo)
        return c in seen

    def improve(self, c: int, least_gain: float) -> list[int] | None:
        """Give a live class the node with which everything costs least, if that saves more than ``least_gain``.

        Returns the classes that came alive or died, None if nothing changed.
        """
        problem, choice = self.problem, self.choice
        price, children = problem.cost, problem.kids
        old = best = choice[c]
        freed, died = self._release(children[old])
        before = freed + price[old]
        least = before - least_gain
        self.work += len(problem.nodes[c])
        for i in problem.nodes[c]:
            budget = least - price[i]
            if i == old or budget <= 0:
                continue
            added, _ = self._acquire(children[i], budget)
            if added == inf:
                continue
            if added < budget:
                choice[c] = i
                if not self.closes_cycle(c):
                    least, best = added + price[i], i
                choice[c] = old
            self._release(children[i])
        choice[c] = best
        _, born = self._acquire(children[best])
        if best == old:
            return None
        self.log.append((c, old))
        self.cost += least - before
        return died + born

    def _acquire(self, kids: Iterable[int], budget: float = inf) -> tuple[float, list[int]]:
        """Count one reference more to each class.

        Returns the cost of what came alive, and which classes. Over the budget: inf, and nothing has changed.
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
                for other in born[: born.index(c)]:
                    for kid in children[choice[other]]:
                        refs[kid] -= 1
                self.work += len(born)
                return inf, []
            for kid in children[choice[c]]:
                if not refs[kid]:
                    born.append(kid)
                refs[kid] += 1
        self.work += len(born) + 1
        return added, born

    def _release(self, kids: Iterable[int]) -> tuple[float, list[int]]:
        """Count one reference less to each class. Returns the cost of what died, and which classes."""
        refs, choice, price, children = self.refs, self.choice, self.problem.cost, self.problem.kids
        died: list[int] = []
        for kid in kids:
            refs[kid] -= 1
            if not refs[kid]:
                died.append(kid)
        freed = 0.0
        for c in died:  # grows
            freed += price[choice[c]]
            for kid in children[choice[c]]:
                refs[kid] -= 1
                if not refs[kid]:
                    died.append(kid)
        self.work += len(died) + 1
        return freed, died
