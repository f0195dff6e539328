"""Search inside one region: which rules to apply to a window, in which order, while its e-graph has room."""

from __future__ import annotations

import random
import sys
from collections.abc import Hashable, Sequence
from dataclasses import replace
from math import inf
from typing import Protocol

from ...egraph.egraph import EGraph
from ...egraph.tables import ENode
from ...rules.rule import Rule, RuleSet
from ..apply import CompiledRule
from ..grow import Program
from ..saturate import Limits
from .judge import Judge
from .state import Move, State, applied, fingerprint, grown_from, make_room, opened
from .tree import Statistics, most_promising

_DEPTH = 4  # moves in a row
_WIDENING = 0.5
_GAIN = 1e-9  # relative; less is rounding
_ALL, _PAID = "all rules", "rules that paid"


class Experience(Protocol):
    """What is known of rules before they are tried."""

    def score(self, rule: str) -> float:
        """How useful a rule was; 0 if it never was."""


class Region(Statistics):
    """A window and the tree of states that was built for it.

    Parameters
    ----------
    program : Program
        The window's program, with its cost.
    rules : RuleSet
        The rules.
    limits : Limits
        Of each e-graph.
    judge : Judge
        Prices and extraction.
    experience : Experience
        Of rules.

    Attributes
    ----------
    program : Program
        The cheapest program found.
    gain : float
        What it saves.
    """

    def __init__(self, program: Program, rules: RuleSet, limits: Limits, judge: Judge, experience: Experience) -> None:
        super().__init__()
        self.start = self.program = program
        self._limits = limits
        self._judge = judge
        self._rules = rules
        self._experience = experience
        self._root: State | None = None
        self._known: dict[Hashable, State] = {}

    @property
    def gain(self) -> float:
        """What the cheapest program found saves."""
        return self.start.cost - self.program.cost

    def simulate(self, rng: random.Random, seconds: float, scale: float) -> float:
        """Make one new state, finish it by a rollout, and return what it gains.

        Parameters
        ----------
        rng : random.Random
            Draws the order in which rules have their turns.
        seconds : float
            Time left.
        scale : float
            The largest gain so far.
        """
        if self._root is None:
            self._root = opened(self.start)
            self._known = {_identity(self._root): self._root}
        limits = replace(self._limits, seconds=min(self._limits.seconds, seconds))
        path = [self._root]
        while (move := self._next_move(path[-1])) is None:
            child = most_promising(path[-1].children.values(), path[-1], scale)
            if child is None:
                self._close(path)
                return 0.0
            path.append(child)
        state = path[-1]
        if state.full:
            make_room(state, self._judge, self._kept(state))
        child = applied(state, move, limits, rng)
        gain = self._value(child)
        if move.name == _ALL:
            child.exhausted = state.exhausted = not child.full  # if all rules are at rest, nothing can be added
        elif not child.full:
            gain = max(gain, self._value(applied(child, Move(_ALL, self._rules), limits, rng)))
        known = self._known.setdefault(_identity(child), child)
        if known.depth > state.depth:
            child = known
        else:
            child.exhausted = True  # it leads back to where the search was already
        state.children[move.name] = child
        for visited in (*path, child, self):
            visited.add(gain)
        self._close(path)
        return gain

    def _close(self, path: Sequence[State]) -> None:
        """Nothing is left to try where all moves were made, and nothing is left behind them."""
        for state in reversed(path):
            if state.listed and not state.untried and all(s.exhausted for s in state.children.values()):
                state.exhausted = True
        self.exhausted = path[0].exhausted
        if self.exhausted:
            self.forget()

    def forget(self) -> None:
        """Let go of all e-graphs, to save memory. What was found is kept, a later simulation starts anew."""
        self._root = None
        self._known = {}

    def _value(self, state: State) -> float:
        """What the cheapest program of a state saves; the cheapest of all is remembered."""
        grown = grown_from(self.start, state.open(), state.roots)
        cost = -inf if self._judge.reward is None else self._judge.reward(grown)
        if cost < self.program.cost * (1 - _GAIN):
            found = self._judge.best(grown)
            cost = found.cost
            if cost < self.program.cost * (1 - _GAIN):
                self.program = found
        return max(0.0, self.start.cost - cost)

    def _kept(self, state: State) -> list[ENode]:
        """E-nodes of the cheapest program, as far as a state has it."""
        egraph, graph = state.egraph, self.program.graph
        found: list[ENode] = []
        place: dict[int, int] = {}
        for i in graph.live():
            node = graph.nodes[i]
            kids = [place.get(k, -1) for k in node.inputs]
            if min(kids, default=0) >= 0:
                sym = egraph.sym(node.op, node.attrs)
                c = egraph.lookup(sym, kids)
                if c >= 0:
                    place[i] = c
                    found.append((sym, *map(egraph.find, kids)))
        return found

    def _next_move(self, state: State) -> Move | None:
        """The move to try, if a state may have one more child: all rules, those that paid, each that matches alone."""
        if not state.children:
            return Move(_ALL, self._rules)
        if not state.listed:
            state.listed = True
            if state.depth < _DEPTH:
                egraph, score = state.open(), self._experience.score
                single = [rule for rule in self._rules if _matches(rule, egraph)]
                single.sort(key=lambda rule: score(rule.name))
                state.untried += [Move(rule.name, RuleSet([rule])) for rule in single]
                paid = RuleSet(rule for rule in self._rules if score(rule.name) > 0)
                state.untried += [Move(_PAID, paid)] if paid else []
        children = state.children.values()
        wide = len(children) >= state.width(_WIDENING) and not all(child.exhausted for child in children)
        return None if wide or not state.untried else state.untried.pop()


def _identity(state: State) -> Hashable:
    """Equal for states that are the same, of the same e-graph."""
    return state.egraph.symbols, fingerprint(state.open())


def _matches(rule: Rule, egraph: EGraph) -> bool:
    # All matches: the guards may refuse the first one, and a k-way rule needs several.
    return bool(CompiledRule(rule).search(egraph, sys.maxsize))
