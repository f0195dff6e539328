"""Equality saturation with back-off, per-rule budgets and semi-naive matching.

Back-off after egg (Willsey et al., POPL'21, §5.2): a rule that matches more often than its limit is banned for some
iterations, and its limit and ban double. Semi-naive matching: after its first search a rule looks only at classes
that changed, or whose descendants did, within the depth of its pattern.
"""

from __future__ import annotations

import gc
import logging
import random
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ..egraph.egraph import EGraph
from ..rules.rule import Rule
from .apply import CompiledRule

log = logging.getLogger("tvm_eqsat.search")

_FULL = 0.8  # share of the node limit that is enough, once it was hit
_MATCHES = 2  # of a pattern, for each site that may come of it: a search that finds more is given up
_PORTION = 32  # sites that a rule rewrites before it is the next one's turn

_Sites = tuple[CompiledRule, list[Any]]


@dataclass(frozen=True)
class Limits:
    """When saturation stops.

    Parameters
    ----------
    nodes : int
        Number of e-nodes, respected inside a rule.
    iterations : int
        Number of rounds over all rules.
    seconds : float
        Wall-clock time, respected inside a rule. A run that it stops isn't reproducible.
    matches : int
        Matches of one rule in one iteration before it is banned for a while.
    """

    nodes: int = 10_000
    iterations: int = 10
    seconds: float = 60.0
    matches: int = 2_000


@dataclass(frozen=True)
class Iteration:
    """One round of saturation: sizes after it, and how often each rule changed the e-graph."""

    nodes: int
    classes: int
    seconds: float
    applied: dict[str, int]


@dataclass
class Saturation:
    """What a saturation run did.

    Attributes
    ----------
    stop_reason : str
        ``"saturated"``, ``"node limit"``, ``"iteration limit"`` or ``"time limit"``.
    iterations : list of Iteration
        One entry a round.
    """

    stop_reason: str = ""
    iterations: list[Iteration] = field(default_factory=list)


@dataclass
class _Schedule:
    """Back-off state of one rule."""

    rule: CompiledRule
    limit: int
    banned_until: int = 0
    bans: int = 0
    searched_at: int = -1  # period in which the last complete search was
    done: set[object] = field(default_factory=set)  # sites that were rewritten already


@contextmanager
def _without_collector() -> Iterator[None]:
    """The cyclic garbage collector would walk all e-nodes again and again, and nothing here makes cycles."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@_without_collector()
def saturate(
    egraph: EGraph,
    rules: Iterable[Rule],
    limits: Limits | None = None,
    *,
    everywhere: bool = False,
    shuffle: random.Random | None = None,
) -> Saturation:
    """Grow an e-graph with rules until nothing changes or a limit is reached.

    Parameters
    ----------
    egraph : EGraph
        Changed in place; congruence holds on return.
    rules : iterable of Rule
        The rules.
    limits : Limits, optional
        When to stop.
    everywhere : bool
        Apply rules wherever their laws hold, not only where they can pay: for proofs.
    shuffle : random.Random, optional
        Draws in which order rules, and the sites of a rule, have their turns: which of them a limit leaves out.
    """
    limits = limits or Limits()
    run = Saturation()
    schedules = [_Schedule(CompiledRule(rule, everywhere=everywhere), limits.matches) for rule in rules]
    deadline = time.monotonic() + limits.seconds
    hit = False  # the node limit, in this iteration
    left: list[_Sites] = []  # what a limit left over

    def reached() -> str:
        nonlocal hit
        hit |= egraph.num_nodes >= limits.nodes
        # Rebuilding may have made it smaller since. Filling up the last bit is slow, and adds little.
        if hit and egraph.num_nodes >= limits.nodes * _FULL:
            return "node limit"
        return "time limit" if time.monotonic() > deadline else ""

    for number in range(limits.iterations):
        started = time.monotonic()
        hit = False
        pending = False
        found = left
        for schedule in schedules:
            if schedule.banned_until > number:
                pending = True
                continue
            sites, banned = _search(egraph, schedule, number)
            pending |= banned
            if sites:
                found.append((schedule.rule, sites))
        if shuffle:
            found = shuffle.sample([(rule, shuffle.sample(sites, len(sites))) for rule, sites in found], len(found))
        applied, left = _apply(egraph, found, limits.nodes, reached)
        egraph.rebuild()
        run.iterations.append(Iteration(egraph.num_nodes, egraph.num_classes, time.monotonic() - started, applied))
        log.debug("iteration %d: %d e-nodes, %d e-classes", number, egraph.num_nodes, egraph.num_classes)
        run.stop_reason = reached()
        if run.stop_reason:
            return run
        if not applied and not pending and not left:
            run.stop_reason = "saturated"
            return run
    run.stop_reason = "iteration limit"
    return run


def _apply(
    egraph: EGraph, found: list[_Sites], limit: int, reached: Callable[[], str]
) -> tuple[dict[str, int], list[_Sites]]:
    """Rewrite sites in small portions, rule by rule, so that a limit in mid-round starves no rule.

    Returns how often each rule changed the e-graph, and the sites that a limit left over.
    """
    applied: dict[str, int] = {}
    offset = 0
    while found:
        for k, (rule, sites) in enumerate(found):
            changed = rule.apply(egraph, sites[offset : offset + _PORTION], lambda: egraph.num_nodes >= limit)
            if changed:
                applied[rule.rule.name] = applied.get(rule.rule.name, 0) + changed
            if reached():
                return applied, [(r, s[offset + _PORTION * (j < k) :]) for j, (r, s) in enumerate(found)]
        offset += _PORTION
        found = [(rule, sites) for rule, sites in found if len(sites) > offset]
    return applied, []


def _search(egraph: EGraph, schedule: _Schedule, number: int) -> tuple[list[object], bool]:
    """Sites to rewrite now, and whether some had to be left for later."""
    only = None
    if schedule.searched_at >= 0:
        only = egraph.touched(schedule.searched_at, schedule.rule.depth)
        if not only:
            return [], False
    period = egraph.tick()
    # Only sites count that are new and where the guards hold, but the matcher can't know which do.
    most = _MATCHES * schedule.limit + len(schedule.done)
    sites = schedule.rule.search(egraph, most, only, schedule.done, enough=schedule.limit)
    if len(sites) > schedule.limit or not schedule.rule.complete:
        schedule.bans += 1
        schedule.banned_until = number + 1 + schedule.bans
        schedule.limit *= 2
        return [], True
    schedule.searched_at = period
    schedule.done.update(sites)
    return sites, False
