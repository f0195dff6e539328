"""A rule made ready to run: its compiled pattern, its guard, and its right side bound to matches by name."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from itertools import repeat
from typing import Any, Generic, NamedTuple, TypeVar

from ..egraph.egraph import EGraph
from ..egraph.matcher import compile_pattern
from ..egraph.pattern import AttrVar, Each, Pat, Rest, Var
from ..errors import IllTyped, RuleError
from ..graph.operator import OPERATORS
from ..rules.dsl import Builder, Term
from ..rules.rule import Rule, parameters, variables

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
        self._rhs = self._right_side(rule.rhs)
        self._recipes = _PerEGraph[dict[Any, _Recipe]](dict)
        self._key = _Remembered(self._function(rule.key)) if rule.key else None
        self._shared = [self._slots[v.name] for v in rule.shared]
        self.complete = True  # whether the last search found all matches
        self._groups = _PerEGraph[dict[Any, dict[int, Match]]](dict)
        self._seen_groups = _PerEGraph[set[Any]](set)

    def _function(self, fn: Callable[..., Any]) -> _Function:
        return _Function(fn, [(self._slots[name], name in self._tensors) for name in parameters(fn)])

    def _right_side(self, rhs: Any) -> _Function:
        if callable(rhs):
            return self._function(rhs)
        names = list(dict.fromkeys(variables(rhs)))

        def instantiated(*values: Any) -> Term:
            builder = next(value.builder for value in values if isinstance(value, Term))
            return instantiate(builder, rhs, dict(zip(names, values, strict=True)))

        return _Function(instantiated, [(self._slots[name], name in self._tensors) for name in names])

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
        why = egraph.reason_id(self.rule.name)
        rhs, recipes, datum = self._rhs, self._recipes.of(egraph), egraph.datum
        changed = 0
        for site in sites:
            if stop():
                break
            if self._shared:
                roots, match = [member[0] for member in site], self._as_one(site)
            else:
                roots, match = site[:1], site
            # Whatever looks alike is rewritten alike: the right side itself runs only once.
            key = (*map(datum, roots), rhs.looks(egraph, match))
            recipe = recipes.get(key)
            if recipe is None:
                builder = Builder(egraph, why)
                terms = self._terms(builder, roots, match)
                if builder.general:
                    results = [(i, term._number) for i, term in terms]
                    recipes[key] = _Recipe(builder.steps, results) if terms else _NOTHING
                equal = [(i, term._cls) for i, term in terms]
            else:
                classes = rhs.operands(match) if recipe.results else []
                egraph.add_all(recipe.steps, classes, why)
                equal = [(i, classes[number]) for i, number in recipe.results]
            for i, c in equal:
                changed += egraph.union(roots[i], c, why)
        return changed

    def _terms(self, builder: Builder, roots: Sequence[int], match: Match) -> list[tuple[int, Term]]:
        """Run the right side: for each root that it rewrites, its place and the term that equals it."""
        try:
            found = self._rhs.call(builder, match)
        except IllTyped:
            return []  # the law doesn't apply at these shapes
        if found is None:
            return []
        terms = found if self._shared else (found,)
        if len(terms) != len(roots):
            raise RuleError(f"rule {self.rule.name!r} returned {len(terms)} terms for {len(roots)} members")
        data = builder._egraph.data
        return [(i, t) for i, t in enumerate(terms) if t is not None and data(roots[i]).type == t.type]

    def _as_one(self, members: Sequence[Match]) -> Match:
        """The members of a group as one match: what they don't share comes as a tuple."""
        first = members[0]
        shared = self._shared
        return (0, *[first[k] if k in shared else tuple([m[k] for m in members]) for k in range(1, len(first))])

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
            if len(members) < 2:
                continue
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


class _Recipe(NamedTuple):
    """What a right side does: nodes to add, as a :class:`~tvm_eqsat.rules.dsl.Builder` notes them.

    ``results`` are places of roots, each with the number of the term that equals it.
    """

    steps: Sequence[tuple[int, Sequence[int]]]
    results: Sequence[tuple[int, int]]


_NOTHING = _Recipe((), ())


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
                value = builder.given(value) if type(value) is int else _wrap(builder, value)
            values.append(value)
        return self.fn(*values)

    def operands(self, match: Match) -> list[int]:
        """All its e-classes, in the order in which :meth:`call` gives them to a builder."""
        found: list[int] = []
        for slot, tensor in self.wanted:
            if tensor:
                value = match[slot]
                if type(value) is int:
                    found.append(value)
                else:
                    found += _flat(value)
        return found

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
        return builder.given(value)
    return tuple(_wrap(builder, v) for v in value)


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


def _tensor_variables(pattern: Any) -> set[str]:
    if isinstance(pattern, Var | Rest):
        return {pattern.name}
    if isinstance(pattern, Each):
        return _tensor_variables(pattern.pattern)
    if isinstance(pattern, Pat):
        return set().union(*(_tensor_variables(c) for c in pattern.children))
    return set()
