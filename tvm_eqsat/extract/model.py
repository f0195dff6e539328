"""What is still open, as an integer program.

A column for each open class, and for each node of those that have several: whether it is chosen. A chosen node's
children are chosen too; nodes of one class that share a child say so in one row, which bounds tighter. Nothing in that
forbids a cycle, so what a relaxation chooses may have one, and its cost is a lower bound. *Cuts* are rows that every
program obeys, see :class:`Cut`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import inf
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, linprog, milp
from scipy.sparse import csr_array

from .problem import Problem

_SCALE = 1000.0  # what the incumbent costs in the solver, whose absolute tolerances are about 1e-6


class Cut(NamedTuple):
    """A program that has one of the ``heads``, nodes of one class, has one of the ``tails`` too."""

    heads: tuple[int, ...]
    tails: tuple[int, ...]


class Relaxed(NamedTuple):
    """An optimum of the linear relaxation.

    Attributes
    ----------
    bound : float
        No program costs less; safe from the solver's rounding errors, since it is calculated from the dual values.
    left : list of float
        What choosing a node costs beyond the bound, at least; ``inf`` if it is ruled out or out of reach.
    chosen : list of float
        To which part each node is chosen.
    """

    bound: float
    left: list[float]
    chosen: list[float]


class Solved(NamedTuple):
    """What the integer program came to.

    Attributes
    ----------
    bound : float
        No program costs less.
    choice : list of int, optional
        The node of each class that is chosen, else -1. It may have a cycle.
    finished : bool
        Whether the choice is an optimum of the integer program, or there is none.
    """

    bound: float
    choice: list[int] | None
    finished: bool


class Model:
    """The integer program of a problem, given which nodes are still to be considered.

    Parameters
    ----------
    problem : Problem
        What is to be decided.
    alive : sequence of bool
        Nodes that may be chosen. Every class that these reach needs one.
    cost : float
        Of the best program so far, to which the solver's numbers are scaled.
    needed : iterable of int
        Classes that every program has, as far as known.
    cuts : iterable of Cut
        Rows to add.
    """

    def __init__(
        self,
        problem: Problem,
        alive: Sequence[bool],
        cost: float,
        needed: Iterable[int] = (),
        cuts: Iterable[Cut] = (),
    ) -> None:
        self._problem = problem
        self._unit = _SCALE / (cost or 1.0)
        kids = problem.kids
        nodes = {}  # of the classes that can be reached
        todo = [problem.goal]
        for c in todo:  # grows
            if c not in nodes:
                nodes[c] = [i for i in problem.nodes[c] if alive[i]]
                todo += [kid for i in nodes[c] for kid in kids[i] if kid not in nodes]
        self._forced = {problem.goal, *needed}
        self._fixed = 0.0
        todo = sorted(self._forced)
        for c in todo:  # grows
            if len(nodes[c]) == 1:
                self._fixed += problem.cost[nodes[c][0]]
                for kid in kids[nodes[c][0]]:
                    if kid not in self._forced:
                        self._forced.add(kid)
                        todo.append(kid)
        # Column of a class, and of a node: the class's if it is the only one, -1 if that is forced.
        self._classes: dict[int, int] = {}
        self._nodes: dict[int, int] = {}
        self._open = {c: members for c, members in nodes.items() if len(members) > 1 or c not in self._forced}
        for c in self._open:
            self._classes[c] = len(self._classes)
        n = len(self._classes)
        for c, members in nodes.items():
            for i in members:
                if c not in self._open:
                    self._nodes[i] = -1
                elif len(members) == 1:
                    self._nodes[i] = self._classes[c]
                else:
                    self._nodes[i] = n
                    n += 1
        self._cost = np.zeros(n)
        for i, column in self._nodes.items():
            if column >= 0:
                self._cost[column] = problem.cost[i] * self._unit
        self._low = np.zeros(n)
        self._low[[self._classes[c] for c in self._forced & self._open.keys()]] = 1.0
        self._rows = _Rows()
        for c, members in self._open.items():
            self._add_class(c, members)
        for cut in cuts:
            self.add(cut)

    @property
    def size(self) -> int:
        """Number of coefficients."""
        return len(self._rows.columns)

    def add(self, cut: Cut) -> None:
        """Add a row."""
        tails = [self._nodes[i] for i in cut.tails if i in self._nodes]
        heads = [self._nodes[i] for i in cut.heads if i in self._nodes]
        if not heads or -1 in tails:
            return  # it holds anyway
        c = self._problem.owner[cut.heads[0]]
        if len(heads) == len(self._open.get(c, heads)):
            heads = [] if c in self._forced else [self._classes[c]]
        self._rows.add(heads, tails, 0.0 if heads else -1.0)

    def _add_class(self, c: int, members: list[int]) -> None:
        column = self._classes[c]
        if len(members) > 1:
            columns = [self._nodes[i] for i in members]
            self._rows.add([column], columns, 0.0)
            self._rows.add(columns, [column], 0.0)
        users: dict[int, list[int]] = {}
        for i in members:
            for kid in self._problem.kids[i]:
                if kid not in self._forced:
                    users.setdefault(kid, []).append(self._nodes[i])
        for kid, using in users.items():
            self._rows.add([column] if len(using) == len(members) else using, [self._classes[kid]], 0.0)

    def relax(self, most_steps: int | None = None, time_limit: float = inf) -> Relaxed | None:
        """Solve the linear relaxation; None if the solver gives up."""
        matrix, limit = self._rows.matrix(len(self._cost)), np.array(self._rows.limit)
        if not len(limit):
            return self._relaxed(self._cost, np.ones(len(self._cost)), 0.0)
        options: dict[str, Any] = {"time_limit": max(time_limit, 0.0)} if time_limit < inf else {}
        if most_steps is not None:
            options["maxiter"] = most_steps
        bounds = np.stack([self._low, np.ones(len(self._cost))], 1)
        found = linprog(self._cost, A_ub=matrix, b_ub=limit, bounds=bounds, method="highs", options=options)
        if found.x is None or found.ineqlin.marginals is None:
            return None
        dual = np.minimum(found.ineqlin.marginals, 0.0)
        return self._relaxed(self._cost - matrix.T @ dual, found.x, float(dual @ limit))

    def _relaxed(self, reduced: np.ndarray, values: np.ndarray, bound: float) -> Relaxed:
        price, value = (reduced / self._unit).tolist(), np.clip(values, 0.0, 1.0).tolist()
        bound = self._fixed + bound / self._unit
        left = [inf] * len(self._problem.kids)
        chosen = [0.0] * len(left)
        for i, column in self._nodes.items():
            left[i] = 0.0 if column < 0 else price[column]
            chosen[i] = 1.0 if column < 0 else value[column]
        for c, members in self._open.items():
            if len(members) > 1:
                for i in members:
                    left[i] += price[self._classes[c]]
            least = min(left[i] for i in members)
            if least < 0 or c in self._forced:  # it is chosen at most once, and exactly once if forced
                bound += least
                for i in members:
                    left[i] -= least
        return Relaxed(bound, left, chosen)

    def solve(self, most_nodes: int | None = None, time_limit: float = inf, gap: float = 0.0) -> Solved:
        """Solve the integer program, within limits on the branch and bound tree and on seconds."""
        n = len(self._cost)
        if not len(self._rows.limit):
            return Solved(self._fixed, self._choice(self._low), True) if not n else self._cheapest()
        options: dict[str, Any] = {"mip_rel_gap": gap}
        if time_limit < inf:
            options["time_limit"] = max(time_limit, 0.0)
        if most_nodes is not None:
            options["node_limit"] = most_nodes
        rows = LinearConstraint(self._rows.matrix(n), -np.inf, np.array(self._rows.limit))
        found = milp(self._cost, constraints=rows, bounds=Bounds(self._low, 1.0), integrality=1, options=options)
        if found.status == 2:
            return Solved(inf, None, True)
        bound = -inf if found.mip_dual_bound is None else self._fixed + found.mip_dual_bound / self._unit
        return Solved(bound, None if found.x is None else self._choice(found.x), found.status == 0)

    def _cheapest(self) -> Solved:
        cost = self._problem.cost
        choice = self._choice(self._low)
        for c in self._forced & self._open.keys():
            choice[c] = min(self._open[c], key=cost.__getitem__)
        return Solved(self._fixed + sum(cost[choice[c]] for c in self._forced & self._open.keys()), choice, True)

    def _choice(self, values: np.ndarray) -> list[int]:
        choice = [-1] * len(self._problem.nodes)
        highest = [0.5] * len(choice)
        owner, value = self._problem.owner, values.tolist()
        for i, column in self._nodes.items():
            if column < 0 or len(self._open[owner[i]]) == 1:
                choice[owner[i]] = i
            elif value[column] > highest[owner[i]]:
                choice[owner[i]], highest[owner[i]] = i, value[column]
        return choice


class _Rows:
    """Rows ``sum of heads - sum of tails <= limit``."""

    def __init__(self) -> None:
        self.limit: list[float] = []
        self.columns: list[int] = []
        self._values: list[float] = []
        self._start = [0]

    def add(self, heads: Sequence[int], tails: Sequence[int], limit: float) -> None:
        self.columns += heads
        self.columns += tails
        self._values += [1.0] * len(heads) + [-1.0] * len(tails)
        self._start.append(len(self.columns))
        self.limit.append(limit)

    def matrix(self, n: int) -> csr_array:
        return csr_array((self._values, self.columns, self._start), shape=(len(self.limit), n))
