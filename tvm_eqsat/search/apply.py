"""A rule made ready to run: its compiled pattern, its guard, and its right side bound to matches by name."""

from __future__ import annotations

import sys
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any, NamedTuple

from ..egraph.egraph import EGraph
from ..egraph.matcher import compile_pattern
from ..egraph.pattern import AttrVar, Each, Rest, Var
from ..egraph.touched import Touched
from ..errors import IllTyped, RuleError
from ..graph.operator import OPERATORS
from ..rules.dsl import Builder, Term
from ..rules.rule import Rule, parameters, variables
from .functions import ATTRIBUTE, Match, MatchFunction, PerEGraph, Remembered, operands_of
from .groups import Groups

_PORTION = 500  # matches, at least, that a search goes on by


class CompiledRule:
    """Searches and applies one rule.

    Parameters
    ----------
    rule : Rule
        The rule.
    everywhere : bool
        Apply it wherever its law holds, for proofs. Otherwise only where it can pay: computations on constants and
        weights alone, which cost nothing, are then left to the rules that simplify.

    A *site* is what is rewritten at once: one match, or for a k-way rule a tuple of matches. A k-way rule remembers the
    members that it has found: after :meth:`EGraph.restore <tvm_eqsat.egraph.egraph.EGraph.restore>`, make a new one.
    """

    def __init__(self, rule: Rule, *, everywhere: bool = False) -> None:
        self.rule = rule
        self.matcher = compile_pattern(rule.lhs)
        depths = _depths(rule.lhs)
        self._slots = {name: (k, depths.get(name, ATTRIBUTE)) for k, name in enumerate(self.matcher.variables, start=1)}
        guards = [guard for guard in (rule.when, None if everywhere else rule.pays) if guard]
        self._guard = Remembered(self._all_of(guards, root=not (everywhere or rule.simplifies)))
        self._rhs = self._right_side(rule)
        self._recipes = PerEGraph[dict[Any, _Recipe]](dict)
        shared = [self._slots[v.name][0] for v in rule.shared]
        apart = operands_of(tuple([slot for slot in self._slots.values() if slot[0] not in shared]))
        key = Remembered(self._numbered(rule.key)) if rule.key else None
        self._groups = Groups(rule.name, shared, apart, key) if shared else None
        self._shared = frozenset(shared)
        self.complete = True  # whether the last search found all matches

    def _all_of(self, guards: Sequence[Callable[..., Any]], root: bool) -> MatchFunction:
        """Whether all guards hold, and, if ``root``, whether the result is computed at run time."""
        names = list(dict.fromkeys([name for guard in guards for name in parameters(guard)]))
        calls = [(guard, [names.index(name) for name in parameters(guard)]) for guard in guards]
        slots = [self._slots[name] for name in names]
        if root:
            calls.insert(0, (_computed_at_run_time, [len(slots)]))
            slots.append((0, 0))

        def hold(*values: Any) -> bool:
            for fn, of in calls:  # all() takes twice as long
                if not fn(*[values[k] for k in of]):
                    return False
            return True

        return MatchFunction(hold, slots)

    def _numbered(self, key: Callable[..., Any]) -> MatchFunction:
        """A function that gives equal numbers for equal keys, and None for None."""
        numbers: dict[Any, int] = {None: -1}

        def number(*values: Any) -> int | None:
            found = numbers.setdefault(key(*values), len(numbers))
            return found if found >= 0 else None

        return MatchFunction(number, [self._slots[name] for name in parameters(key)])

    def _right_side(self, rule: Rule) -> MatchFunction:
        """What it does depends on the root too. For a k-way rule it takes a group as one match, see :meth:`_as_one`."""
        rhs: Any = rule.rhs
        names = parameters(rhs) if callable(rhs) else tuple(dict.fromkeys(variables(rhs)))

        def instantiated(*values: Any) -> Term:
            builder = next(value.builder for value in values if isinstance(value, Term))
            return instantiate(builder, rhs, dict(zip(names, values, strict=True)))

        slots = [self._slots[name] for name in names]
        root = (0, 0)
        if rule.shared:
            together = {v.name for v in rule.shared}
            slots = [
                (k, depth + (depth >= 0 and name not in together))
                for name, (k, depth) in zip(names, slots, strict=True)
            ]
            root = (0, 1)
        return MatchFunction(rhs if callable(rhs) else instantiated, slots, besides=[root])

    @property
    def depth(self) -> int:
        """How many levels below its root the pattern looks."""
        return self.matcher.depth

    def search(
        self,
        egraph: EGraph,
        limit: int,
        only: set[int] | Touched | None = None,
        done: Container[Any] = frozenset(),
        enough: int = sys.maxsize,
    ) -> list[Any]:
        """Sites that aren't done and where the guards hold, from at most ``limit`` matches of the pattern.

        Stops when there are more sites than ``enough``, except for a k-way rule.
        """
        search = self.matcher.begin(egraph, only)
        if self._groups is not None:
            matches = search.more(limit)
            self.complete = len(matches) < limit
            return self._groups.grown(egraph, self._guard.chosen(egraph, matches, ()))
        sites: list[Any] = []
        self.complete = False
        while limit > 0 and len(sites) <= enough:
            wanted = min(limit, max(enough + 1 - len(sites), _PORTION))
            matches = search.more(wanted)
            sites += self._guard.chosen(egraph, matches, done)
            if len(matches) < wanted:
                self.complete = True
                break
            limit -= wanted
        return sites

    def apply(self, egraph: EGraph, sites: Sequence[Any], stop: Callable[[], bool]) -> int:
        """Rewrite sites until ``stop()``; returns how many unions changed the e-graph."""
        why = egraph.reason_id(self.rule.name)
        operands, recipes, grouped = self._rhs.operands, self._recipes.of(egraph), self._groups
        add_all, union = egraph.add_all, egraph.union
        matches = sites if grouped is None else [self._as_one(site) for site in sites]
        changed = 0
        for match, look in zip(matches, self._rhs.looks(egraph.facts, matches), strict=True):
            if stop():
                break
            # Whatever looks alike is rewritten alike: the right side itself runs only once.
            recipe = recipes.get(look)
            if recipe is None:
                equal = self._run(egraph, match, why)
            elif recipe.results:
                classes = operands(match)
                add_all(recipe.steps, classes, why)
                equal = [(place, classes[number]) for place, number in recipe.results]
            else:
                continue
            for place, c in equal:
                changed += union(match[0] if grouped is None else match[0][place], c, why)
        return changed

    def _run(self, egraph: EGraph, match: Match, why: int) -> list[tuple[int, int]]:
        """Run the right side and remember what it did: for each root that it rewrites, its place and what equals it."""
        # It sees what is known now, which may be more than what was known of the classes that the match names.
        match = self._rhs.current(egraph, match)
        (look,) = self._rhs.looks(egraph.facts, [match])
        builder = Builder(egraph, why)
        terms = self._terms(builder, match)
        if builder.general:
            results = [(place, term._number) for place, term in terms]
            self._recipes.of(egraph)[look] = _Recipe(builder.steps, results) if terms else _NOTHING
        return [(place, term._cls) for place, term in terms]

    def _terms(self, builder: Builder, match: Match) -> list[tuple[int, Term]]:
        """For each root that the right side rewrites, its place and the term that equals it."""
        try:
            found = self._rhs.call(builder, match)
        except IllTyped:
            return []  # the law doesn't apply at these shapes
        if found is None:
            return []
        terms, roots = (found, match[0]) if self._groups is not None else ((found,), match[:1])
        if len(terms) != len(roots):
            raise RuleError(f"rule {self.rule.name!r} returned {len(terms)} terms for {len(roots)} members")
        data = builder._egraph.data
        return [(i, t) for i, t in enumerate(terms) if t is not None and data(roots[i]).type == t.type]

    def _as_one(self, members: Sequence[Match]) -> Match:
        """The members of a group as one match: what they don't share, and the root, comes as a tuple."""
        entries = enumerate(zip(*members, strict=True))
        return tuple([of_all[0] if k in self._shared else of_all for k, of_all in entries])


class _Recipe(NamedTuple):
    """What a right side does: nodes to add, as a :class:`~tvm_eqsat.rules.dsl.Builder` notes them.

    ``results`` are places of roots, each with the number of the term that equals it.
    """

    steps: Sequence[tuple[int, Sequence[int]]]
    results: Sequence[tuple[int, int]]


_NOTHING = _Recipe((), ())


def _computed_at_run_time(root: Term) -> bool:
    return not root.const


def instantiate(builder: Builder, pattern: Any, values: Mapping[str, Any]) -> Term:
    """The term of a right side that is written as a pattern."""
    if isinstance(pattern, Var):
        term: Term = values[pattern.name]
        return term
    operands = [instantiate(builder, child, values) for child in pattern.children]
    if isinstance(pattern.attrs, AttrVar):
        return builder.add(pattern.op, values[pattern.attrs.name], operands)
    given = [values[v.name] if isinstance(v, AttrVar) else v for v in pattern.attrs or ()]
    record = OPERATORS[pattern.op]
    return builder.add(pattern.op, record.make_attrs(**dict(zip(record.schema, given, strict=True))), operands)


def _depths(pattern: Any, inside: int = 0) -> dict[str, int]:
    """How deep in tuples the e-classes of each variable are."""
    if isinstance(pattern, Var):
        return {pattern.name: inside}
    if isinstance(pattern, Rest):
        return {pattern.name: 1 + inside}
    if isinstance(pattern, Each):
        return _depths(pattern.pattern, 1)
    found: dict[str, int] = {}
    for child in pattern.children:
        for name, depth in _depths(child, inside).items():
            found[name] = min(depth, found.get(name, depth))  # one that also occurs outside of an Each has one value
    return found
