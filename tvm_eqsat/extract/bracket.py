"""The cheapest program found, what every program costs at least, and the nodes that may still close the gap."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import fsum, inf

from .base import Extraction
from .cycles import cycle_cuts
from .model import Cut, Solved
from .problem import Problem
from .tree import cheapest_trees

TOLERANCE = 1e-9  # relative: costs closer than that count as equal, as in the check of extractions


class Bracket:
    """What is known about the optimum of a problem.

    Attributes
    ----------
    problem : Problem
        What is to be decided.
    choice : list of int
        The cheapest program so far: a node for each class, without a cycle.
    cost : float
        What it costs.
    bound : float
        No program costs less.
    alive : list of bool
        Nodes that some program cheaper than ``cost`` may have; those of ``choice`` are among them.
    cuts : list of Cut
        What all programs obey.
    """

    def __init__(self, problem: Problem, choice: Sequence[int]) -> None:
        self.problem = problem
        self.choice = list(choice)
        self.cost = problem.total(choice)
        self.bound = 0.0
        self.alive = [True] * len(problem.kids)
        self.cuts: list[Cut] = []
        self._left = list(map(len, problem.nodes))

    @property
    def closed(self) -> bool:
        """Whether the program is proven to be a cheapest one."""
        return self.bound >= self.cost * (1 - TOLERANCE)

    @property
    def gap(self) -> float:
        """How far the optimum may be below the cost."""
        return max(self.cost - self.bound, 0.0)

    def offer(self, choice: Sequence[int]) -> bool:
        """Take a program if it is cheaper. Returns whether it is.

        Parameters
        ----------
        choice : sequence of int
            A node for each class that the goal needs, without a cycle; what it says about others doesn't matter.
        """
        problem = self.problem
        live = problem.needs(choice)
        cost = fsum(problem.cost[choice[c]] for c in live)
        if cost >= self.cost:
            return False
        # The others build on what is there, which makes no cycle.
        self.choice = cheapest_trees(problem.kids, problem.cost, problem.owner, problem.users, live)
        for c in live:
            self.choice[c] = choice[c]
        self.cost = cost
        return True

    def take(self, solved: Solved) -> list[Cut]:
        """Take what an integer program came to, if it is a program, and cheaper.

        Returns
        -------
        list of Cut
            What forbids its cycles, if it has some.
        """
        if solved.choice is None:
            return []
        choice = [i if i >= 0 else known for i, known in zip(solved.choice, self.choice, strict=True)]
        cuts = cycle_cuts(self.problem, choice)
        if not cuts:
            self.offer(choice)
        return cuts

    def prove(self, bound: float, left: Sequence[float] = ()) -> int:
        """Note a lower bound, and what each node costs beyond it. Returns how many nodes that rules out."""
        self.bound = max(self.bound, bound)
        most = self.cost * (1 + TOLERANCE) - bound
        return self.rule_out([i for i, more in enumerate(left) if more > most and self.alive[i]])

    def rule_out(self, nodes: Iterable[int]) -> int:
        """Drop nodes, and those that can't do without them. Returns how many."""
        owner, users, alive = self.problem.owner, self.problem.users, self.alive
        todo = list(nodes)
        count = 0
        for i in todo:  # grows
            if alive[i]:
                alive[i] = False
                count += 1
                self._left[owner[i]] -= 1
                if not self._left[owner[i]]:
                    todo += users[owner[i]]
        return count

    def prices(self) -> list[float]:
        """What nodes cost; ``inf`` where they are ruled out."""
        return [cost if alive else inf for cost, alive in zip(self.problem.cost, self.alive, strict=True)]

    def extraction(self) -> Extraction:
        """The program, with its lower bound."""
        found = self.problem.extraction(self.choice)
        bound = found.cost if self.closed else min(self.bound, found.cost)
        return Extraction(found.choice, found.cost, bound if bound > 0 or found.cost == 0 else None)
