"""A rule made ready to run: its compiled pattern, its guard, and its right side bound to matches by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..egraph.egraph import EGraph
from ..egraph.matcher import compile_pattern
from ..egraph.pattern import AttrVar, Each, Pat, Rest, Var
from ..errors import IllTyped, RuleError
from ..graph.operator import OPERATORS
from ..rules.dsl import Builder, Term
from ..rules.rule import Rule, parameters

Match = tuple[Any, ...]  # (root class, binding, …)


class CompiledRule:
    """Searches and applies one rule.

    Computations on constants and weights alone are left as they are, but for rules that simplify.

    A *site* is what is rewritten at once: one match, or for a k-way rule a tuple of matches.
    """

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.matcher = compile_pattern(rule.lhs)
        self._slots = {name: i for i, name in enumerate(self.matcher.variables, start=1)}
        self._tensors = _tensor_variables(rule.lhs)
        self._when = self._caller(rule.when) if rule.when else None
        self._rhs = self._caller(rule.rhs) if callable(rule.rhs) else None
        self._key = self._caller(rule.key) if rule.key else None
        self._shared = [self._slots[v.name] for v in rule.shared]
        self._seen_groups: set[Any] = set()

    @property
    def depth(self) -> int:
        """How many levels below its root the pattern looks."""
        return self.matcher.depth

    def search(self, egraph: EGraph, limit: int, only: set[int] | None = None) -> list[Any]:
        """Sites where the guard holds, at most about ``limit``."""
        builder = Builder(egraph)
        if self._shared:
            # A group is new when one member is, so all members are searched; known groups are dropped below.
            return self._group(egraph, self._guarded(builder, self.matcher.search(egraph, limit, None)))
        return self._guarded(builder, self.matcher.search(egraph, limit, only))

    def apply(self, egraph: EGraph, sites: Sequence[Any], stop: Callable[[], bool]) -> int:
        """Rewrite sites until ``stop()``; returns how many unions changed the e-graph."""
        builder = Builder(egraph, egraph.reason_id(self.rule.name))
        changed = 0
        for site in sites:
            if stop():
                break
            try:
                if self._shared:
                    changed += self._apply_group(builder, site)
                else:
                    changed += self._unite(builder, site[0], self._right_side(builder, site))
            except IllTyped:
                continue  # the law doesn't apply at these shapes
        return changed

    def _guarded(self, builder: Builder, matches: list[Match]) -> list[Match]:
        if not self.rule.simplifies:
            # What is known before the first run costs nothing, however it is written.
            data = builder.egraph.data
            matches = [m for m in matches if not data(m[0]).const]
        if self._when is None:
            return matches
        when = self._when
        return [m for m in matches if _holds(when, builder, m)]

    def _right_side(self, builder: Builder, match: Match) -> Term | None:
        if self._rhs is not None:
            return self._rhs(builder, match)
        return self._instantiate(builder, self.rule.rhs, match)

    def _instantiate(self, builder: Builder, pattern: Any, match: Match) -> Term:
        if isinstance(pattern, Var):
            return Term(builder, match[self._slots[pattern.name]])
        children = [self._instantiate(builder, c, match).cls for c in pattern.children]
        if isinstance(pattern.attrs, AttrVar):
            attrs = match[self._slots[pattern.attrs.name]]
        else:
            values = [match[self._slots[v.name]] if isinstance(v, AttrVar) else v for v in pattern.attrs or ()]
            record = OPERATORS[pattern.op]
            attrs = record.make_attrs(**dict(zip(record.schema, values, strict=True)))
        return builder.add(pattern.op, attrs, children)

    def _group(self, egraph: EGraph, matches: list[Match]) -> list[tuple[Match, ...]]:
        builder = Builder(egraph)
        groups: dict[Any, dict[int, Match]] = {}
        for match in matches:
            if self._merged_before(egraph, match):
                continue  # merging what this rule merged would never end
            extra = self._key(builder, match) if self._key else ()
            if extra is None:
                continue
            key = (tuple(match[s] for s in self._shared), extra)
            groups.setdefault(key, {}).setdefault(egraph.find(match[0]), match)
        found = []
        for key, members in groups.items():
            if len(members) < 2:
                continue
            identity = (key, tuple(sorted(members)))
            if identity not in self._seen_groups:
                self._seen_groups.add(identity)
                found.append(tuple(members[root] for root in sorted(members)))
        return found

    def _merged_before(self, egraph: EGraph, match: Match) -> bool:
        """Whether an operand that distinguishes members is itself the work of a merging rule."""
        for name, slot in self._slots.items():
            if name in self._tensors and slot not in self._shared:
                cls = match[slot]
                if egraph.data(cls).merged or egraph.reason(egraph.nodes(cls)[0]) == self.rule.name:
                    return True
        return False

    def _apply_group(self, builder: Builder, members: Sequence[Match]) -> int:
        first = members[0]
        merged: list[Any] = [None] * len(first)
        for slot in range(1, len(first)):
            merged[slot] = first[slot] if slot in self._shared else tuple(m[slot] for m in members)
        terms = self._rhs(builder, tuple(merged)) if self._rhs else None
        if terms is None:
            return 0
        if len(terms) != len(members):
            raise RuleError(f"rule {self.rule.name!r} returned {len(terms)} terms for {len(members)} members")
        return sum(self._unite(builder, m[0], t) for m, t in zip(members, terms, strict=True))

    def _unite(self, builder: Builder, root: int, term: Term | None) -> int:
        if term is None:
            return 0
        egraph = builder.egraph
        if egraph.data(root).type != term.type:
            return 0
        return int(egraph.union(root, term.cls, builder.why))

    def _caller(self, fn: Callable[..., Any]) -> Callable[[Builder, Match], Any]:
        """``fn`` called with the bindings that its parameters name, e-classes wrapped as terms."""
        wanted = [(self._slots[name], name in self._tensors) for name in parameters(fn)]

        def call(builder: Builder, match: Match) -> Any:
            return fn(*[_wrap(builder, match[slot]) if tensor else match[slot] for slot, tensor in wanted])

        return call


def _holds(when: Callable[[Builder, Match], Any], builder: Builder, match: Match) -> bool:
    try:
        return bool(when(builder, match))
    except IllTyped:
        return False  # the guard asks for a number where a dimension is symbolic


def _wrap(builder: Builder, value: Any) -> Any:
    if isinstance(value, int):
        return Term(builder, value)
    return tuple(_wrap(builder, v) for v in value)


def _tensor_variables(pattern: Any) -> set[str]:
    if isinstance(pattern, Var | Rest):
        return {pattern.name}
    if isinstance(pattern, Each):
        return _tensor_variables(pattern.pattern)
    if isinstance(pattern, Pat):
        return set().union(*(_tensor_variables(c) for c in pattern.children))
    return set()
