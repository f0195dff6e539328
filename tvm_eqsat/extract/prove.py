"""Close the bracket: raise the bound, rule out nodes, and solve what is left as integer programs.

Landmarks come first. They, and the linear relaxation with them as cuts, say of each node what programs that have it
cost at least: for most nodes, more than the best program known. What is left falls apart into small integer programs.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf

from . import cpsat
from .bracket import Bracket
from .landmarks import ascend
from .local import Search
from .mandatory import Mandatory
from .model import Cut, Model
from .parts import parts
from .tree import cheapest_trees

_MOST_CLASSES = 30_000  # for the sets of mandatory classes: a tenth of a gigabyte
_FEW = 5000  # nodes
_ROUNDS = 20  # of the relaxation
_PROGRESS = 0.02  # of the gap, or of the nodes: less is not worth another round
_SEARCH = 100_000  # effort of the search that starts from a rounded relaxation
_BATCH = 500  # classes in an integer program for several parts
_ALONE = 3.0  # seconds that HiGHS gets for a part before CP-SAT races it


@dataclass(frozen=True)
class Limits:
    """How much work to do. By default, all of it.

    Attributes
    ----------
    deadline : float
        On the clock of ``time.monotonic``.
    landmark_work : float
        See :func:`~tvm_eqsat.extract.landmarks.ascend`.
    coefficients : float
        Of a linear or integer program; larger ones aren't solved.
    relaxations, programs : float
        Of all linear programs, and of all integer programs: each is solved repeatedly, with more cuts.
    steps : int, optional
        Iterations of the simplex algorithm in a linear program.
    tree : int, optional
        Nodes of the branch and bound tree of an integer program.
    """

    deadline: float = inf
    landmark_work: float = inf
    coefficients: float = inf
    relaxations: float = inf
    programs: float = inf
    steps: int | None = None
    tree: int | None = None

    @property
    def seconds(self) -> float:
        """Time left."""
        return self.deadline - time.monotonic()


#: Limits that count work only, so that the result is the same on every machine: some seconds for 50,000 nodes.
MODERATE = Limits(
    landmark_work=2_500_000, coefficients=200_000, relaxations=500_000, programs=100_000, steps=60_000, tree=50
)


def tighten(bracket: Bracket, limits: Limits) -> list[int]:
    """Raise the bound and rule out nodes by landmarks and linear relaxations.

    Returns
    -------
    list of int
        Classes that every program has.
    """
    problem = bracket.problem
    needed: list[int] = []
    if bracket.closed or limits.seconds <= 0:
        return needed
    mandatory = Mandatory(problem, bracket.alive) if len(problem.nodes) <= _MOST_CLASSES else None
    if mandatory:
        bracket.rule_out(mandatory.impossible())
    goal = tuple(problem.nodes[problem.goal])
    # Contracted it is much faster. If that leaves few nodes, try it as it is: cycles are sometimes paid for only then.
    for asked in [mandatory.contracted(), problem] if mandatory else [problem]:
        if not bracket.closed and (asked is not problem or not mandatory or sum(bracket.alive) <= _FEW):
            ascent = ascend(asked, bracket.prices(), limits.landmark_work, limits.deadline)
            bracket.prove(ascent.bound, ascent.left)
            bracket.cuts += [Cut(goal, tuple(nodes)) for nodes in ascent.landmarks]
    known = set(bracket.cuts)
    chosen: list[float] = []
    work = 0
    for _ in range(_ROUNDS):
        if mandatory:
            needed = mandatory.needed()
        if bracket.closed or limits.seconds <= 0:
            break
        model = Model(problem, bracket.alive, bracket.cost, needed, bracket.cuts)
        work += model.size
        if model.size > limits.coefficients or work > limits.relaxations:
            break
        relaxed = model.relax(limits.steps, limits.seconds)
        if relaxed is None:
            break
        gap, alive = bracket.gap, sum(bracket.alive)
        chosen = relaxed.chosen
        gone = bracket.prove(relaxed.bound, relaxed.left)
        new = [cut for cut in mandatory.cuts(chosen) if cut not in known] if mandatory else []
        known.update(new)
        bracket.cuts += new
        if bracket.gap > (1 - _PROGRESS) * gap and gone < _PROGRESS * alive:
            break
        if mandatory and gone:
            mandatory = Mandatory(problem, bracket.alive)
            bracket.rule_out(mandatory.impossible())
    if chosen and not bracket.closed:
        _round(bracket, chosen, limits)
    return needed


def _round(bracket: Bracket, chosen: Sequence[float], limits: Limits) -> None:
    """Search from the program that is cheapest if one pays only for what a relaxation doesn't choose."""
    problem = bracket.problem
    price = [cost * (1 - part) for cost, part in zip(problem.cost, chosen, strict=True)]
    start = cheapest_trees(problem.kids, price, problem.owner, problem.users)
    search = Search(problem, start, lambda work: work >= _SEARCH or limits.seconds <= 0)
    search.descend()
    bracket.offer(search.best())


def solve(bracket: Bracket, needed: Sequence[int], limits: Limits) -> None:
    """Solve what is open part by part, each as an integer program.

    Parameters
    ----------
    bracket : Bracket
        What is known; its program and bound are improved.
    needed : sequence of int
        From :func:`tighten`.
    limits : Limits
        Parts that they leave unsolved leave a gap.
    """
    if bracket.closed:
        return
    gap, work = 0.0, 0
    for part in _batches(parts(bracket.problem, bracket.alive, needed)):
        bound, more = _solve_part(bracket, part, needed, replace(limits, programs=limits.programs - work))
        gap += max(bracket.cost - bound, 0.0)
        work += more
    bracket.prove(bracket.cost - gap)


def _batches(small_first: list[list[int]]) -> list[list[int]]:
    """Small parts put together, since an integer program has a price of its own."""
    batches: list[list[int]] = []
    for part in small_first:
        if batches and len(batches[-1]) + len(part) <= _BATCH:
            batches[-1] += part
        else:
            batches.append(part)
    return batches


def _solve_part(bracket: Bracket, part: list[int], needed: Sequence[int], limits: Limits) -> tuple[float, int]:
    """Find the best choice within a part.

    Returns
    -------
    bound : float
        What no choice there makes the whole program cheaper than.
    work : int
        Coefficients of all integer programs.
    """
    problem, inside = bracket.problem, set(part)
    alive = [
        alive and (c in inside or bracket.choice[c] == i)
        for i, (alive, c) in enumerate(zip(bracket.alive, problem.owner, strict=True))
    ]
    model = Model(problem, alive, bracket.cost, needed, bracket.cuts)
    if model.size > limits.coefficients:
        return bracket.bound, 0
    bound, work = bracket.bound, 0
    with cpsat.Race(problem, alive, bracket.choice, limits.deadline) as race:
        patience = _ALONE if race.possible else inf
        while work + model.size <= limits.programs and limits.seconds > 0:
            work += model.size
            found = model.solve(limits.tree, min(limits.seconds, patience))
            bound = max(bound, found.bound)
            cuts = bracket.take(found)
            if found.finished and not cuts:
                return bracket.cost, work
            if found.finished:
                bracket.cuts += cuts
                for cut in cuts:
                    model.add(cut)
                continue
            if limits.tree is not None:
                break
            patience *= 2
            other = race.result()
            if other:
                bound = max(bound, other.bound)
                bracket.take(other)
                if other.finished:
                    break
    return min(bound, bracket.cost), work
