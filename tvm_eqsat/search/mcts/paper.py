"""The PACT 2024 paper's search as it was published, on this e-graph: the baseline of :mod:`.schedule`.

J. Hartmann, G. He and E. Yoneki, "Optimizing tensor computation graphs with equality saturation and Monte Carlo tree
search" (PACT 2024), and its artifact (``rmcts/src/tree.rs``, ``eg_env.rs``). A state is the e-graph of the whole
program, an action applies one rule at all its matches, the reward is what the extracted cost falls by. Before each step
128 simulations start from an empty tree; a rollout draws rules at random; the step is the rule with the best mean.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import log, sqrt

from ...egraph.egraph import EGraph
from ...egraph.tables import Snapshot
from ...graph.tensor_graph import TensorGraph
from ...rules.rule import Rule, RuleSet
from ..apply import CompiledRule
from ..grow import Grown, Program
from ..program import load
from ..saturate import Saturation
from .judge import Budget, Judge

SIMULATIONS = 128  # before each step
_STEPS = 200
_ROLLOUT = 11
_DISCOUNT = 0.99
_EXPLORATION = 2.0
_MILLISECONDS = 1e3  # the paper's unit of rewards, by which exploration is weighed


@dataclass
class _Node:
    """A state, its cost in milliseconds, and what is known of its actions, by rule."""

    snapshot: Snapshot
    cost: float
    over: bool = False  # the node limit is reached
    untried: list[int] = field(default_factory=list)
    children: dict[int, _Node] = field(default_factory=dict)
    rewards: dict[int, float] = field(default_factory=dict)
    visits: dict[int, int] = field(default_factory=dict)
    total: int = 0


def grow_as_published(
    graph: TensorGraph, rules: RuleSet, nodes: int, judge: Judge, budget: Budget, *, seed: int = 0
) -> Grown:
    """Grow an e-graph by the published search.

    Parameters
    ----------
    graph : TensorGraph
        The program.
    rules : RuleSet
        The actions.
    nodes : int
        The node limit; 2,000 in the paper.
    judge : Judge
        Its reward is the extracted cost.
    budget : Budget
        When to stop before the search ends by itself: where no rule adds anything, or the node limit is reached.
    seed : int
        Of all that is drawn.
    """
    egraph, class_of = load(graph)
    grown = Grown(egraph, Program(graph), class_of, [Saturation("node limit")])
    search = _Published(grown, rules, nodes, judge, random.Random(seed))
    simulations = 0
    for _ in range(_STEPS):
        root = search.node()
        budget.progress(simulations, root.cost / _MILLISECONDS)
        done = 0
        while done < SIMULATIONS and not root.over and not budget.over(simulations):
            search.simulate(root)
            done += 1
            simulations += 1
        means = {rule: root.rewards[rule] / root.visits[rule] for rule in root.children}
        if not means:
            egraph.restore(root.snapshot)
            break
        egraph.restore(root.children[max(means, key=means.__getitem__)].snapshot)
        if budget.over(simulations):
            break
    return grown


class _Published:
    """The e-graph, and moves in it."""

    def __init__(self, grown: Grown, rules: Sequence[Rule], nodes: int, judge: Judge, rng: random.Random) -> None:
        self._grown = grown
        self._egraph: EGraph = grown.egraph
        # A k-way rule mustn't be kept: it remembers members that a restored e-graph doesn't have.
        self._rules = [rule if rule.shared else CompiledRule(rule) for rule in rules]
        self._nodes = nodes
        self._judge = judge
        self._rng = rng

    def node(self) -> _Node:
        """A tree of the present state."""
        over = self._egraph.num_nodes >= self._nodes
        return _Node(self._egraph.snapshot(), self._cost(), over, list(range(len(self._rules))))

    def _rule(self, number: int) -> CompiledRule:
        rule = self._rules[number]
        return rule if isinstance(rule, CompiledRule) else CompiledRule(rule)

    def _draw(self, node: _Node) -> int | None:
        """An untried rule that matches; the artifact looks for those that don't beforehand, to the same effect."""
        self._egraph.restore(node.snapshot)
        while node.untried:
            action = node.untried.pop(int(self._rng.random() * len(node.untried)))
            if self._rule(action).search(self._egraph, sys.maxsize):
                return action
        return None

    def _cost(self) -> float:
        judge = self._judge
        cost = judge.best(self._grown).cost if judge.reward is None else judge.reward(self._grown)
        return _MILLISECONDS * cost

    def _step(self, number: int) -> bool:
        """Apply a rule at all its matches; says whether that changed anything."""
        egraph, rule = self._egraph, self._rule(number)
        sites = rule.search(egraph, sys.maxsize)
        changed = rule.apply(egraph, sites, lambda: egraph.num_nodes >= self._nodes)
        egraph.rebuild()
        return changed > 0

    def simulate(self, root: _Node) -> None:
        """Select, expand, roll out and back up."""
        node, path = root, list[tuple[_Node, int, float]]()
        while True:
            if node is root or not node.children or self._rng.random() < 0.5:
                drawn = self._draw(node)
                if drawn is not None:
                    break
            if not node.children:
                node.over = True
                self._back_up(path, 0.0)
                return
            action = self._best_action(node)
            child = node.children[action]
            path.append((node, action, max(node.cost - child.cost, 0.0)))
            if child.over:
                self._back_up(path, 0.0)
                return
            node = child
        if not self._step(drawn):
            return  # saturated: it has no child
        child = node.children[drawn] = self.node()
        path.append((node, drawn, max(node.cost - child.cost, 0.0)))
        self._back_up(path, 0.0 if child.over else self._rollout(child.cost))

    def _best_action(self, node: _Node) -> int:
        def bound(action: int) -> float:
            n = node.visits[action]
            return node.rewards[action] / n + _EXPLORATION * sqrt(2 * log(max(node.total, 1)) / n)

        return max(node.children, key=bound)

    def _rollout(self, cost: float) -> float:
        """The discounted rewards of random rules."""
        total, weight = 0.0, 1.0
        for _ in range(_ROLLOUT):
            if self._egraph.num_nodes >= self._nodes:
                break
            if self._step(int(self._rng.random() * len(self._rules))):
                now = self._cost()
                total += weight * max(cost - now, 0.0)
                cost = now
            weight *= _DISCOUNT
        return total

    def _back_up(self, path: Sequence[tuple[_Node, int, float]], gain: float) -> None:
        for node, action, reward in reversed(path):
            gain = reward + _DISCOUNT * gain
            node.rewards[action] = node.rewards.get(action, 0.0) + gain
            node.visits[action] = node.visits.get(action, 0) + 1
            node.total += 1
