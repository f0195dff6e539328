"""Functions of a match: guards, keys and right sides, and what they can see of it."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from functools import lru_cache
from typing import Any, Generic, TypeVar

from ..egraph.egraph import EGraph
from ..errors import IllTyped
from ..rules.dsl import Builder

Match = tuple[Any, ...]  # (root class, binding, …)
Slot = tuple[int, int]  # an entry of a match, and how deep in tuples its e-classes are: 0 for one; -1 for attributes

ATTRIBUTE = -1


class MatchFunction:
    """A function that takes some entries of a match as its arguments.

    Parameters
    ----------
    fn : callable
        E-classes arrive as terms.
    wanted : sequence of (int, int)
        For each of its parameters the slot.
    besides : sequence of (int, int)
        Slots that it isn't given, but that make a difference.

    Attributes
    ----------
    seen : tuple of (int, int)
        All slots that make a difference.
    """

    __slots__ = ("_classes", "fn", "seen", "wanted")

    def __init__(self, fn: Callable[..., Any], wanted: Sequence[Slot], besides: Sequence[Slot] = ()) -> None:
        self.fn = fn
        self.wanted = tuple(wanted)
        self.seen = (*besides, *self.wanted)
        self._classes = [k for k, depth in self.seen if depth >= 0]

    @property
    def looks(self) -> Callable[[list[int], Sequence[Match]], list[Any]]:
        """From :attr:`EGraph.facts <tvm_eqsat.egraph.tables.Tables.facts>` and a list of matches to what the function
        can see of each: facts about e-classes, and attributes.
        """
        return _looks(self.seen)

    @property
    def operands(self) -> Callable[[Match], list[int]]:
        """From a match to all e-classes that the function is given, in the order in which :meth:`call` gives them to a
        builder.
        """
        return operands_of(self.wanted)

    def call(self, builder: Builder, match: Match) -> Any:
        """The function's value."""
        return self.fn(*[match[k] if depth < 0 else _wrap(builder, match[k]) for k, depth in self.wanted])

    def current(self, egraph: EGraph, match: Match) -> Match:
        """The match with canonical e-classes, as far as they make a difference."""
        entries = list(match)
        for k in self._classes:
            entries[k] = _canonical(egraph, entries[k])
        return tuple(entries)


def _canonical(egraph: EGraph, value: Any) -> Any:
    return egraph.find(value) if type(value) is int else tuple([_canonical(egraph, part) for part in value])


def _wrap(builder: Builder, value: Any) -> Any:
    return builder.given(value) if type(value) is int else tuple([_wrap(builder, part) for part in value])


@lru_cache(maxsize=4096)
def _looks(wanted: tuple[Slot, ...]) -> Callable[[list[int], Sequence[Match]], list[Any]]:
    """One comprehension over all matches."""
    made: Callable[[list[int], Sequence[Match]], list[Any]]
    made = eval(f"lambda facts, matches: [{_look(wanted)} for m in matches]")
    return made


@lru_cache(maxsize=4096)
def _chosen(wanted: tuple[Slot, ...]) -> Callable[[list[int], Sequence[Match], dict[Any, Any], Any], list[Match]]:
    """The matches that look like one with a true answer, and aren't done; KeyError if an answer isn't known."""
    made: Callable[[list[int], Sequence[Match], dict[Any, Any], Any], list[Match]]
    condition = f"answers[{_look(wanted)}] and m not in done"
    made = eval(f"lambda facts, matches, answers, done: [m for m in matches if {condition}]")
    return made


def _look(wanted: tuple[Slot, ...]) -> str:
    """Source for what is seen of a match ``m``."""
    seen = ["m[{}]" if depth < 0 else _nested("m[{}]", depth) for _, depth in wanted]
    items = [text.format(k) for text, (k, _) in zip(seen, wanted, strict=True)]
    return items[0] if len(items) == 1 else f"({', '.join(items)})"


def _nested(value: str, depth: int) -> str:
    """Source for the facts about e-classes in nested tuples."""
    if not depth:
        return f"facts[{value}]"
    return f"tuple([{_nested(f'x{depth}', depth - 1)} for x{depth} in {value}])"


@lru_cache(maxsize=4096)
def operands_of(wanted: tuple[Slot, ...]) -> Callable[[Match], list[int]]:
    """From a match to all e-classes in some of its slots."""
    items = []
    for k, depth in wanted:
        if depth == 0:
            items.append(f"m[{k}]")
        elif depth > 0:
            loops = [f"for x{d} in {f'x{d + 1}' if d < depth else f'm[{k}]'}" for d in range(depth, 0, -1)]
            items.append(f"*[x1 {' '.join(loops)}]")
    made: Callable[[Match], list[int]] = eval(f"lambda m: [{', '.join(items)}]")
    return made


class Remembered:
    """A guard, or the key of a k-way rule; it is asked only once about matches that look alike."""

    __slots__ = ("_answers", "_function")

    def __init__(self, function: MatchFunction) -> None:
        self._function = function
        self._answers = PerEGraph[dict[Any, Any]](dict)

    def of(self, egraph: EGraph, matches: Sequence[Match]) -> list[Any]:
        """The answer for each match; None where it asks for a number and a dimension is symbolic."""
        answers, looks = self._answers.of(egraph), self._function.looks(egraph.facts, matches)
        try:
            return [answers[look] for look in looks]
        except KeyError:
            self._learn(egraph, looks, matches)
            return [answers[look] for look in looks]

    def chosen(self, egraph: EGraph, matches: Sequence[Match], done: Container[Any]) -> list[Match]:
        """The matches for which the answer is true, without those that are done."""
        answers, chosen = self._answers.of(egraph), _chosen(self._function.seen)
        try:
            return chosen(egraph.facts, matches, answers, done)
        except KeyError:
            looks = self._function.looks(egraph.facts, matches)
            self._learn(egraph, looks, matches)
            return [m for look, m in zip(looks, matches, strict=True) if answers[look] and m not in done]

    def _learn(self, egraph: EGraph, looks: Sequence[Any], matches: Sequence[Match]) -> None:
        answers = self._answers.of(egraph)
        for look, match in zip(looks, matches, strict=True):
            if look not in answers:
                answers[look] = self._ask(egraph, match)

    def _ask(self, egraph: EGraph, match: Match) -> Any:
        try:
            return self._function.call(Builder(egraph), match)
        except IllTyped:
            return None


_T = TypeVar("_T")


class PerEGraph(Generic[_T]):
    """Something that is known of one e-graph, in all its states, and started anew for another one."""

    __slots__ = ("_make", "_symbols", "_value")

    def __init__(self, make: Callable[[], _T]) -> None:
        self._make = make
        self._symbols: Any = None
        self._value = make()

    def of(self, egraph: EGraph) -> _T:
        """What is known of this e-graph."""
        if self._symbols is not egraph.symbols:
            self._symbols, self._value = egraph.symbols, self._make()
        return self._value
