"""Equality saturation with back-off, per-rule budgets and semi-naive matching.

Back-off after egg (Willsey et al., POPL'21, §5.2): a rule that matches more often than its limit is banned for some
iterations, and its limit and ban double. Semi-naive matching: after its first search a rule looks only at classes
that changed, or whose descendants did, within the depth of its pattern.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from ..egraph.egraph import EGraph
from ..rules.rule import Rule
from .apply import CompiledRule

log = logging.getLogger("tvm_eqsat.search")


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
    searched_at: int = -1  # e-graph clock of the last complete search
    done: set[object] = field(default_factory=set)  # sites that were rewritten already


def saturate(egraph: EGraph, rules: Iterable[Rule], limits: Limits | None = None) -> Saturation:
    """Grow an e-graph with rules until nothing changes or a limit is reached.

    Parameters
    ----------
    egraph : EGraph
        Changed in place; congruence holds on return.
    rules : iterable of Rule
        The rules.
    limits : Limits, optional
        When to stop.
    """
    limits = limits or Limits()
    run = Saturation()
    schedules = [_Schedule(CompiledRule(rule), limits.matches) for rule in rules]
    deadline = time.monotonic() + limits.seconds

    def reached() -> str:
        if egraph.num_nodes >= limits.nodes:
            return "node limit"
        return "time limit" if time.monotonic() > deadline else ""

    for number in range(limits.iterations):
        started = time.monotonic()
        applied: dict[str, int] = {}
        pending = False
        found = []
        touched: dict[tuple[int, int], set[int]] = {}  # many rules ask the same
        for schedule in schedules:
            if schedule.banned_until > number:
                pending = True
                continue
            sites, banned = _search(egraph, schedule, number, touched)
            pending |= banned
            if sites:
                found.append((schedule.rule, sites))
        for rule, sites in _take_turns(found):
            changed = rule.apply(egraph, sites, lambda: bool(reached()))
            if changed:
                applied[rule.rule.name] = applied.get(rule.rule.name, 0) + changed
            if reached():
                break
        egraph.rebuild()
        run.iterations.append(Iteration(egraph.num_nodes, egraph.num_classes, time.monotonic() - started, applied))
        log.debug("iteration %d: %d e-nodes, %d e-classes", number, egraph.num_nodes, egraph.num_classes)
        run.stop_reason = reached()
        if run.stop_reason:
            return run
        if not applied and not pending:
            run.stop_reason = "saturated"
            return run
    run.stop_reason = "iteration limit"
    return run


def _take_turns(found: list[tuple[CompiledRule, list[object]]]) -> Iterator[tuple[CompiledRule, list[object]]]:
    """All sites in small portions, rule by rule, so that a limit in mid-round starves no rule."""
    portion = 32
    offset = 0
    while found:
        for rule, sites in found:
            yield rule, sites[offset : offset + portion]
        offset += portion
        found = [(rule, sites) for rule, sites in found if len(sites) > offset]


def _search(
    egraph: EGraph, schedule: _Schedule, number: int, touched: dict[tuple[int, int], set[int]]
) -> tuple[list[object], bool]:
    """Sites to rewrite now, and whether some had to be left for later."""
    only = None
    if schedule.searched_at >= 0:
        key = (schedule.searched_at, schedule.rule.depth)
        if key not in touched:
            touched[key] = egraph.touched(*key)
        only = touched[key]
        if not only:
            return [], False
    clock = egraph.clock
    # Sites that are already done don't count, but the search can't know them.
    found = schedule.rule.search(egraph, schedule.limit + len(schedule.done) + 1, only)
    sites = [site for site in found if site not in schedule.done]
    if len(sites) > schedule.limit:
        schedule.bans += 1
        schedule.banned_until = number + 1 + schedule.bans
        schedule.limit *= 2
        return [], True
    schedule.searched_at = clock
    schedule.done.update(sites)
    return sites, False
