"""Local search that sees what only pays together.

A merged operator (one matmul for three that share an input) serves several classes, through a slice for each. No single
class gains by choosing its slice: the merged operator would be computed on top of the others. So besides single flips
there is a *merge*: all that a class can serve flip to it at once. Both are evaluated exactly, by reference counts, in
time proportional to what changes.

1. Start from the better of the greedy programs; flip and merge until nothing helps. Then merge also where that costs
   more at first, but leaves single classes with what they used to share: those flip again.
2. Let every class that isn't live choose anew, what is live being free now, and repeat while that helps.
3. Noising (I. Charon and O. Hudry, "The noising method", Operations Research Letters 14(3), 1993): scale the costs in a
   small region at random, flip and merge, restore the costs, flip and merge again; keep what is cheaper.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from math import exp, inf

from ..egraph.frozen import FrozenEGraph
from .base import Extraction, register
from .greedy_dag import greedy
from .problem import Problem
from .reduce import reduce
from .selection import Selection
from .tree import cheapest_trees

_EFFORT, _EFFORT_PER_NODE = 300_000, 128
_LEVELS = 2  # a class serves through slices, and slices of slices
_REGION = (16, 128)  # classes with noise
_NOISE = (0.3, 1.3)  # standard deviation of the logarithm of its factors
_NEIGHBOURS = 8
_PATIENCE = 1  # noisy regions without success, for each live class that has a choice


@register("local")
def local(
    frozen: FrozenEGraph, /, *, seed: int = 0, time_limit: float | None = None, effort: float | None = None
) -> Extraction:
    """The cheapest program that local search finds; never dearer than the greedy ones.

    Parameters
    ----------
    frozen : FrozenEGraph
        The e-graph.
    seed : int
        Of the noise.
    time_limit : float, optional
        Seconds.
    effort : float, optional
        Most visits of classes and nodes; a million takes half a second or so. By default :func:`usual_effort`, no limit
        if there is a time limit. Without a time limit the result depends on nothing else than the arguments.
    """
    start = time.monotonic()
    deadline = inf if time_limit is None else start + time_limit
    problem = reduce(frozen)
    if effort is None:
        effort = usual_effort(problem) if time_limit is None else inf
    search = Search(problem, greedy_start(problem), lambda work: work >= effort or time.monotonic() >= deadline)
    search.descend()
    search.perturb(random.Random(seed))
    return problem.extraction(search.best())


def usual_effort(problem: Problem) -> float:
    """How much to search for, unless told: the less, the less there is to decide."""
    return min(_EFFORT, _EFFORT_PER_NODE * len(problem.cost))


def greedy_start(problem: Problem) -> list[int]:
    """The better of the greedy choices."""
    trees = cheapest_trees(problem.kids, problem.cost, problem.owner, problem.users)
    return min(greedy(problem), trees, key=problem.total)


class Search:
    """A selection on its way down.

    Parameters
    ----------
    problem : Problem
        What is to be decided.
    choice : sequence of int
        A node for every class, without a cycle.
    stop : callable(work) -> bool
        Whether to stop, given the selection's ``work``.
    """

    def __init__(self, problem: Problem, choice: Sequence[int], stop: Callable[[int], bool]) -> None:
        self.problem = problem
        self.start = choice
        self.selection = Selection(problem, choice)
        self._stop = stop
        self._least_gain = 1e-9 * self.selection.cost  # above rounding errors
        self._open = [len(nodes) > 1 for nodes in problem.nodes]
        # Which classes a class can serve: the class, its node, the node's other children.
        self._serves: list[list[tuple[int, int, tuple[int, ...]]]] = [
            [(problem.owner[i], i, tuple([kid for kid in problem.kids[i] if kid != c])) for i in users]
            for c, users in enumerate(problem.users)
        ]
        self._merger = [len({served[0] for served in serves}) > 1 for serves in self._serves]
        self._repair = False
        self._queued = [False] * len(problem.nodes)
        self._flips: deque[int] = deque()
        self._merges: deque[int] = deque()

    def best(self) -> Sequence[int]:
        """The choice reached, or where the search started if that is cheaper after all."""
        return min(self.selection.choice, self.start, key=self.problem.total)

    def descend(self) -> None:
        """Go down until neither flips nor merges help, whatever other classes would choose."""
        selection, problem = self.selection, self.problem
        for repair in (False, True):  # merges that pay as they are go first, or repairs lead astray
            self._repair = repair
            self._enqueue(range(len(problem.nodes)))
            self._settle()
        while not self._stop(selection.work):
            before = selection.cost
            live = selection.live()
            for c, i in enumerate(cheapest_trees(problem.kids, problem.cost, problem.owner, problem.users, live)):
                if i >= 0 and selection.choice[c] != i:
                    selection.choice[c] = i
                    self._enqueue((c,))
                    self._enqueue(problem.owner[user] for user in problem.users[c])
            selection.work += len(problem.nodes)
            self._settle()
            selection.log.clear()
            selection.recount()
            if selection.cost >= before - self._least_gain:
                break

    def perturb(self, rng: random.Random) -> None:
        """Try random noise until the effort is spent or it hasn't helped for long."""
        selection = self.selection
        failures = 0
        while not self._stop(selection.work):
            centres = [c for c in selection.live() if self._open[c]]
            if failures >= _PATIENCE * len(centres):
                break
            failures += 1
            region = self._region(centres[int(rng.random() * len(centres))], rng)
            if self._improve_with_noise(region, rng):
                failures = 0
                selection.log.clear()
                selection.recount()

    def _region(self, centre: int, rng: random.Random) -> list[int]:
        """Random classes around one."""
        problem = self.problem
        small, large = _REGION
        size = small + rng.random() * (large - small)
        region = {centre: None}
        todo = [centre]
        for c in todo:  # grows
            around = [problem.owner[i] for i in problem.users[c]]
            around += [kid for i in problem.nodes[c] for kid in problem.kids[i]]
            self.selection.work += len(around)
            for _ in range(min(_NEIGHBOURS, len(around))):
                d = around[int(rng.random() * len(around))]
                if d not in region:
                    region[d] = None
                    todo.append(d)
            if len(region) >= size:
                break
        return todo

    def _improve_with_noise(self, region: list[int], rng: random.Random) -> bool:
        """Go down with noise and then without it. False, with nothing changed, if that ends no lower."""
        selection, price = self.selection, self.problem.cost
        before, mark = selection.cost, len(selection.log)
        small, large = _NOISE
        deviation = small + rng.random() * (large - small)
        true = {i: price[i] for c in region for i in self.problem.nodes[c]}
        for i in true:
            price[i] *= exp(rng.gauss(0.0, deviation))
        selection.recount()
        self._enqueue(region)
        self._settle()
        for i, cost in true.items():
            price[i] = cost
        selection.recount()
        self._enqueue(region)
        self._touch([c for c, _ in selection.log[mark:]])
        self._settle()
        if selection.cost < before - self._least_gain:
            return True
        selection.undo(mark, before)
        return False

    def _enqueue(self, classes: Iterable[int]) -> None:
        queued, refs, has_choice, merger = self._queued, self.selection.refs, self._open, self._merger
        for c in classes:
            if not queued[c]:
                if refs[c]:
                    if has_choice[c]:
                        queued[c] = True
                        self._flips.append(c)
                elif merger[c]:
                    queued[c] = True
                    self._merges.append(c)

    def _touch(self, changed: Iterable[int]) -> None:
        """Look again at what classes that came alive or died are children of, and at what could serve them."""
        problem = self.problem
        owner, kids = problem.owner, problem.kids
        for c in dict.fromkeys(changed):
            self.selection.work += len(problem.users[c]) + len(problem.nodes[c])
            self._enqueue((c,))
            self._enqueue([owner[i] for i in problem.users[c]])
            for i in problem.nodes[c]:
                self._enqueue(kids[i])

    def _settle(self) -> None:
        """Flip, and when no flip helps, merge, until neither does."""
        selection, queued = self.selection, self._queued
        while (self._flips or self._merges) and not self._stop(selection.work):
            if self._flips:
                c = self._flips.popleft()
                queued[c] = False
                if selection.refs[c]:
                    self._touch(selection.improve(c, self._least_gain) or ())
            else:
                c = self._merges.popleft()
                queued[c] = False
                if not selection.refs[c]:
                    self._touch(self._merge(c))

    def _merge(self, c: int) -> list[int]:
        """Let a class serve all that it can, if that is cheaper. Returns the classes that came alive or died."""
        selection = self.selection
        flips = self._bundle(c)
        if sum(1 for user in flips if selection.refs[user]) < 2:
            return []
        before, mark = selection.cost, len(selection.log)
        bar = before - self._least_gain
        changed = self._flip(flips)
        deserted = self._deserted(mark, selection.cost - bar) if selection.cost >= bar and self._repair else []
        if selection.cost < bar or deserted:
            if any(map(selection.closes_cycle, flips)):
                selection.undo(mark, before)
                changed = self._flip(flips, check=True)
            for user in deserted:
                if selection.refs[user]:
                    changed += selection.improve(user, self._least_gain) or ()
            if selection.cost < bar:
                return changed
        selection.undo(mark, before)
        return []

    def _deserted(self, mark: int, loss: float) -> list[int]:
        """The classes left alone with what others shared with them before the changes since ``mark``.

        They may now do better without. Empty if that can hardly make up for a loss.
        """
        selection, problem = self.selection, self.problem
        refs, choice, owner = selection.refs, selection.choice, problem.owner
        found = []
        for _, old in selection.log[mark:]:
            for kid in problem.kids[old]:
                if refs[kid] == 1:
                    loss -= problem.cost[choice[kid]]
                    found.append(kid)
        if loss > 0:
            return []
        users = [owner[i] for kid in found for i in problem.users[kid] if choice[owner[i]] == i and refs[owner[i]]]
        selection.work += sum(len(problem.users[kid]) for kid in found)
        return [user for user in dict.fromkeys(users) if self._open[user]]

    def _bundle(self, c: int) -> dict[int, int]:
        """The nodes with which classes make use of a class, directly or through each other, and of nothing else new."""
        refs = self.selection.refs
        price = self.problem.cost
        flips: dict[int, int] = {}
        served = {c}
        front = [c]
        for _ in range(_LEVELS):
            reached = []
            for d in front:
                for user, i, others in self._serves[d]:
                    if user in served or (user in flips and price[flips[user]] <= price[i]):
                        continue
                    for other in others:
                        if not refs[other] and other not in served:
                            break
                    else:
                        if user not in flips and not refs[user]:
                            reached.append(user)
                        flips[user] = i
                self.selection.work += len(self._serves[d])
            served.update(reached)
            front = reached
        return flips

    def _flip(self, flips: dict[int, int], check: bool = False) -> list[int]:
        """Flip classes, leaving out (``check``) those that close a cycle."""
        selection = self.selection
        changed = []
        for c, i in flips.items():
            if selection.choice[c] != i:
                before, mark = selection.cost, len(selection.log)
                now = selection.flip(c, i)
                if check and selection.closes_cycle(c):
                    selection.undo(mark, before)
                else:
                    changed += now
        return changed
