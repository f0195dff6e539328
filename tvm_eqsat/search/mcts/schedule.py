"""Growing e-graphs by Monte Carlo tree search.

A network of hundreds of operators leaves a small e-graph no room: whatever rules are applied first fill it. But an
e-graph of some dozens of them often saturates, or gets far. So the search decides which part of the program gets an
e-graph of its own, and which rules are applied to it in which order:

* An action is a pair of a *region* (a window of 12 to 96 operators around a dear one, or the whole program) and rules.
  The coarsest pair, all rules in the whole program, comes first: it is the back-off schedule, so the result is never
  worse than that one's.
* Regions, and the rules in a region, are chosen by upper confidence bounds with progressive widening; the value of a
  child is half the mean and half the best of what simulations through it saved. After its move a simulation applies all
  rules in random order as long as there is room. A full e-graph is relieved of what no good program needs.
* Windows that are the same program but for the weights are one region, and states of an e-graph that moves in another
  order would reach are one state.
* A cheaper program of a region is put in place at once, in all places that are alike. What was built for regions
  elsewhere is kept.

After Hartmann, He and Yoneki, "Optimizing tensor computation graphs with equality saturation and Monte Carlo tree
search" (PACT 2024), whose states are e-graphs of the whole program and whose actions apply one rule at all matches:
:mod:`.paper` has that search, for comparison.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from hashlib import blake2b

from ...graph.tensor_graph import TensorGraph
from ...interrupt import interruptible
from ...rules.rule import RuleSet
from ..grow import Grown, Program, grow
from ..program import load
from ..saturate import Limits, saturate
from .frontier import Child, Frontier
from .judge import Budget, Judge
from .region import Region
from .tree import Statistics, most_promising
from .usefulness import Usefulness

_NODES = 2_000  # of a region's e-graph at most: a larger region doesn't pay, smaller ones saturate
_WIDENING = 0.8  # of regions: most are exhausted by one simulation
_GAIN = 1e-9  # relative; less is rounding
_PATIENCE = 16, 40  # simulations in a row without success: on real models, successes came after 12 at most


def grow_by_mcts(
    graph: TensorGraph,
    rules: RuleSet,
    limits: Limits,
    judge: Judge,
    budget: Budget,
    *,
    restarts: int = 0,
    seed: int = 0,
    usefulness: Usefulness | None = None,
) -> Grown:
    """Search for the e-graphs that have the cheapest program.

    Ctrl-C ends the search after the simulation that is running; the best program so far is kept.

    Parameters
    ----------
    graph : TensorGraph
        The program.
    rules : RuleSet
        The rules.
    limits : Limits
        Of each e-graph.
    judge : Judge
        Prices and extraction.
    budget : Budget
        When to stop. If simulations end it, equal arguments give equal results.
    restarts : int
        The most new starts of the back-off schedule, which comes first.
    seed : int
        Of what is drawn at random.
    usefulness : Usefulness, optional
        What is known of the rules from earlier programs; it learns from this one.

    Returns
    -------
    Grown
        An e-graph that was saturated from the best program found, which is its ``start``.
    """
    with interruptible() as interrupted:
        asked = budget.stopping
        budget = replace(budget, stopping=lambda: interrupted() or asked())

        def best(grown: Grown) -> Program:
            found = judge.best(grown)
            budget.progress(0, found.cost)
            return found

        first = grow(graph, rules, limits, best, restarts=restarts, seed=seed)
        if first.runs[-1].stop_reason == "saturated" and len(first.runs) == 1:
            return first  # it has all equivalent programs
        known = best(first).cost
        search = _Search(Program(graph), rules, limits, judge, seed, usefulness or Usefulness())
        search.run(budget, known)
    program = search.frontier.program
    if program.cost >= known * (1 - _GAIN):
        return first
    egraph, class_of = load(program.graph, program.reasons)
    runs = [*first.runs, saturate(egraph, rules, limits)]
    return Grown(egraph, program, class_of, runs)


class _Search:
    """The tree. It starts from the program as it is: what back-off found may have no way out."""

    def __init__(
        self, program: Program, rules: RuleSet, limits: Limits, judge: Judge, seed: int, usefulness: Usefulness
    ) -> None:
        self._rng = random.Random(seed)
        self._usefulness = usefulness
        usefulness.start(_digest(program.graph))
        limits = replace(limits, nodes=min(limits.nodes, _NODES))
        self.frontier = Frontier(
            program, judge.price, lambda part: Region(part, rules, limits, judge, usefulness), self._rng
        )
        self._root = Statistics()
        self._scale = 0.0  # the largest gain so far

    def run(self, budget: Budget, known: float) -> None:
        """Simulate, and put in place what was found, until that has been in vain for as long as it had success before.

        There is a program that costs ``known`` already.
        """
        done = fruitful = 0
        least, most = _PATIENCE
        while not budget.over(done) and done - fruitful < min(most, max(least, fruitful)) and self._simulate(budget):
            done += 1
            if self._decide():
                fruitful = done
            budget.progress(done, min(known, self.frontier.program.cost))
        self._usefulness.save()

    def _simulate(self, budget: Budget) -> bool:
        """Simulate once, in a region that is new or that is worth it. False if there is none."""
        child = self._chosen()
        if child is None:
            return False
        gain = child.region.simulate(self._rng, budget.seconds_left, self._scale)
        self._scale = max(self._scale, gain)
        self._root.add(gain)
        return True

    def _chosen(self) -> Child | None:
        frontier, root = self.frontier, self._root
        children = [child for child in frontier.children.values() if not child.region.exhausted]
        if len(children) < root.width(_WIDENING):
            while (child := frontier.widen()) is not None:
                if not child.region.exhausted:
                    return child
        region = most_promising([child.region for child in children], root, self._scale)
        return next((child for child in children if child.region is region), None)

    def _decide(self) -> bool:
        """Put in place what was found; says whether anything was."""
        before = self.frontier.program.cost
        done = self.frontier.commit(_GAIN * before)
        for child in done:
            start, found = child.region.start, child.region.program
            new = Counter(found.reasons.values()) - Counter(start.reasons.values())
            self._usefulness.learn(new, child.region.gain / before)
        return bool(done)


def _digest(graph: TensorGraph) -> str:
    """Equal for equal programs, whatever the values of weights, in any process."""
    digest = blake2b(digest_size=16)
    for i in graph.live():
        digest.update(repr(graph.nodes[i][:3]).encode())
    digest.update(repr(graph.outputs).encode())
    return digest.hexdigest()
