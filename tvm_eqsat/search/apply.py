"""A rule made ready to run: its compiled pattern, its guard, and its right side bound to matches by name."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from itertools import repeat
from typing import Any, Generic, TypeVar

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
        self._slots = {name: i for i, name in enumerate(self.matcher.variables, start=1)}
        self._tensors = _tensor_variables(rule.lhs)
        guards = (rule.when,) if everywhere else (rule.when, rule.pays)
        self._guards = [_Remembered(self._function(guard)) for guard in guards if guard]
        self._on_constants = everywhere or rule.simplifies
        self._rhs = self._function(rule.rhs) if callable(rule.rhs) else None
        self._refused = _PerEGraph[set[Any]](set)
        self._key = _Remembered(self._function(rule.key)) if rule.key else None
        self._shared = [self._slots[v.name] for v in rule.shared]
        self.complete = True  # whether the last search found all matches
        self._groups = _PerEGraph[dict[Any, dict[int, Match]]](dict)
        self._seen_groups = _PerEGraph[set[Any]](set)

    def _function(self, fn: Callable[..., Any]) -> _Function:
        return _Function(fn, [(self._slots[name], name in self._tensors) for name in parameters(fn)])

    @property
    def depth(self) -> int:
        """How many levels below its root the pattern looks."""
        return self.matcher.depth

    def search(
        self, egraph: EGraph, limit: int, only: set[int] | None = None, done: Container[Any] = frozenset()
    ) -> list[Any]:
        """Sites that aren't done and where the guards hold, from at most ``limit`` matches of the pattern."""
        matches = self.matcher.search(egraph, limit, only)
        self.complete = len(matches) < limit
        if not self._shared:
            matches = [m for m in matches if m not in done]
        if not self._on_constants:
            data = egraph.data
            matches = [m for m in matches if not data(m[0]).const]
        for guard in self._guards:
            matches = [m for m, holds in zip(matches, guard.of(egraph, matches), strict=True) if holds]
        return self._group(egraph, matches) if self._shared else matches

    def apply(self, egraph: EGraph, sites: Sequence[Any], stop: Callable[[], bool]) -> int:
        """Rewrite sites until ``stop()``; returns how many unions changed the e-graph."""
        builder = Builder(egraph, egraph.reason_id(self.rule.name))
        apply = self._apply_group if self._shared else self._apply_match
        changed = 0
        for site in sites:
            if stop():
                break
            changed += apply(builder, site)
        return changed

    def _apply_match(self, builder: Builder, match: Match) -> int:
        egraph, rhs = builder.egraph, self._rhs
        refused = self._refused.of(egraph)
        if refused and self._looks(egraph, match) in refused:
            return 0
        try:
            term = rhs.call(builder, match) if rhs else self._instantiate(builder, self.rule.rhs, match)
        except IllTyped:
            term = None  # the law doesn't apply at these shapes
        if term is not None and egraph.data(match[0]).type == term.type:
            return int(egraph.union(match[0], term.cls, builder.why))
        if rhs:
            refused.add(self._looks(egraph, match))
        return 0

    def _looks(self, egraph: EGraph, match: Match) -> Any:
        """All of a match that decides whether the right side exists."""
        rhs = self._rhs
        return (egraph.datum(match[0]), rhs.looks(egraph, match), rhs.repeats(match)) if rhs else ()

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
        """The groups that some matches make larger or new, with all their members.

        Members from earlier searches are remembered: where an operand that members share became another class, their
        e-nodes changed, and they come again.
        """
        find, groups, seen = egraph.find, self._groups.of(egraph), self._seen_groups.of(egraph)
        keys = self._key.of(egraph, matches) if self._key else repeat(())
        larger: dict[Any, None] = {}
        for match, extra in zip(matches, keys):  # noqa: B905 - repeat never ends
            if extra is not None:
                key = (tuple([match[s] for s in self._shared]), extra)
                groups.setdefault(key, {}).setdefault(find(match[0]), match)
                larger[key] = None
        apart = [slot for name, slot in self._slots.items() if name in self._tensors and slot not in self._shared]
        merged: dict[int, bool] = {}
        found = []
        for key in larger:
            members: dict[int, Match] = {}
            for root, match in groups[key].items():
                members.setdefault(find(root), match)
            groups[key] = members
            kept = [root for root in sorted(members) if not self._merged(egraph, members[root], apart, merged)]
            identity = (key, tuple(kept))
            if len(kept) > 1 and identity not in seen:
                seen.add(identity)
                found.append(tuple([members[root] for root in kept]))
        return found

    def _merged(self, egraph: EGraph, match: Match, apart: Sequence[int], known: dict[int, bool]) -> bool:
        """Whether an operand that distinguishes members is itself the work of a merging rule: that would never end."""
        for slot in apart:
            c = match[slot]
            if c not in known:
                made_by = egraph.reason(egraph.nodes(c)[0])
                known[c] = egraph.data(c).merged or made_by == self.rule.name
            if known[c]:
                return True
        return False

    def _apply_group(self, builder: Builder, members: Sequence[Match]) -> int:
        first = members[0]
        merged: list[Any] = [None] * len(first)
        for slot in range(1, len(first)):
            merged[slot] = first[slot] if slot in self._shared else tuple(m[slot] for m in members)
        try:
            terms = self._rhs.call(builder, tuple(merged)) if self._rhs else None
        except IllTyped:
            return 0
        if terms is None:
            return 0
        if len(terms) != len(members):
            raise RuleError(f"rule {self.rule.name!r} returned {len(terms)} terms for {len(members)} members")
        egraph = builder.egraph
        changed = 0
        for match, term in zip(members, terms, strict=True):
            if term is not None and egraph.data(match[0]).type == term.type:
                changed += egraph.union(match[0], term.cls, builder.why)
        return changed


_T = TypeVar("_T")


class _PerEGraph(Generic[_T]):
    """Something that is known of one e-graph, in all its states, and started anew for another one."""

    __slots__ = ("_make", "_symbols", "_value")

    def __init__(self, make: Callable[[], _T]) -> None:
        self._make = make
        self._symbols: Any = None
        self._value = make()

    def of(self, egraph: EGraph) -> _T:
        if self._symbols is not egraph.symbols:
            self._symbols, self._value = egraph.symbols, self._make()
        return self._value


class _Function:
    """A function of a match: ``wanted`` has for each parameter the slot, and whether that holds e-classes."""

    __slots__ = ("fn", "only", "wanted")

    def __init__(self, fn: Callable[..., Any], wanted: Sequence[tuple[int, bool]]) -> None:
        self.fn = fn
        self.wanted = wanted
        self.only = wanted[0][0] if len(wanted) == 1 and wanted[0][1] else -1  # its single parameter, e-classes

    def call(self, builder: Builder, match: Match) -> Any:
        """The function's value; e-classes arrive as terms."""
        values = []
        for slot, tensor in self.wanted:
            value = match[slot]
            if tensor:
                value = Term(builder, value) if type(value) is int else _wrap(builder, value)
            values.append(value)
        return self.fn(*values)

    def looks(self, egraph: EGraph, match: Match) -> Any:
        """All that the function can see of a match: data of e-classes, attributes."""
        datum = egraph.datum
        if self.only >= 0:
            value = match[self.only]
            return datum(value) if type(value) is int else _data(egraph, value)
        seen = []
        for slot, tensor in self.wanted:
            value = match[slot]
            if tensor:
                value = datum(value) if type(value) is int else _data(egraph, value)
            seen.append(value)
        return tuple(seen)

    def repeats(self, match: Match) -> tuple[int, ...]:
        """Which of its e-classes are one: a right side may find that it needs no more than one of them."""
        classes = [match[slot] for slot, tensor in self.wanted if tensor]
        if len(classes) < 2 and all(type(c) is int for c in classes):
            return ()
        flat = list(_flat(classes))
        return tuple(map(flat.index, flat))


class _Remembered:
    """A guard, or the key of a k-way rule; it is asked only once about matches that look alike."""

    __slots__ = ("_answers", "_function")

    def __init__(self, function: _Function) -> None:
        self._function = function
        self._answers = _PerEGraph[dict[Any, Any]](dict)

    def of(self, egraph: EGraph, matches: Sequence[Match]) -> Iterator[Any]:
        """The answer for each match."""
        answers, looks = self._answers.of(egraph), self._function.looks
        for match in matches:
            seen = looks(egraph, match)
            if seen in answers:
                yield answers[seen]
                continue
            try:
                answer = self._function.call(Builder(egraph), match)
            except IllTyped:
                answer = None  # it asks for a number where a dimension is symbolic
            answers[seen] = answer
            yield answer


def _flat(value: Any) -> Iterator[int]:
    if isinstance(value, int):
        yield value
    else:
        for part in value:
            yield from _flat(part)


def _data(egraph: EGraph, value: Any) -> Any:
    return egraph.datum(value) if isinstance(value, int) else tuple([_data(egraph, v) for v in value])


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
