"""Rules broken on purpose: how many of the ways to get a rule wrong do the generated tests notice?

A *mutant* is a rule without its guard, or with one change in its right side: operands swapped, another operator, an
attribute perturbed, an operand or the operator left out, the result negated. It is tried at the sites of random legal
instances that the rule itself rewrites:

``killed``      values differ within an e-class, or an error is raised
``refused``     type inference refuses what it builds at more than a third of the sites, which the tests don't accept
``survived``    it gets through, and at other instances it is noticed: the tests were too weak
``equivalent``  it gets through, and so it does at ten times as many other instances: it changes nothing
``unreached``   the place that it changes is never reached

``python -m tests.rules.mutants [RULE …]`` tries every mutant, and prints those that got through.
"""

from __future__ import annotations

import inspect
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tvm_eqsat.errors import EqSatError
from tvm_eqsat.graph.operator import OPERATORS
from tvm_eqsat.rules import ALGEBRA, ALL, Rule
from tvm_eqsat.rules.dsl import Builder, Term
from tvm_eqsat.rules.rule import parameters, variables
from tvm_eqsat.search.apply import CompiledRule, instantiate
from tvm_eqsat.verify.classes import check_classes, polynomial
from tvm_eqsat.verify.instances import Instance, sample, samples

# An operator that is easily taken for another.
_OTHER = {
    "add": "subtract", "subtract": "add", "multiply": "add", "divide": "multiply", "power": "multiply",
    "maximum": "minimum", "minimum": "maximum", "sum": "max", "mean": "sum", "max": "min", "min": "max",
    "max_pool2d": "avg_pool2d", "avg_pool2d": "max_pool2d", "softmax": "log_softmax", "log_softmax": "softmax",
}  # fmt: skip
_COMMUTE = {"add", "multiply", "maximum", "minimum"}

Node = tuple[str, tuple[Any, ...], list[Term]]
Change = Callable[[Builder, str, tuple[Any, ...], list[Term]], Node | Term | None]


@dataclass(frozen=True)
class Mutant:
    """One change: of the ``place``-th node that the right side adds, or (-1) of its result."""

    place: int
    label: str
    change: Change = field(compare=False)


# -- changes ------------------------------------------------------------------------------------------------------


def _changes(name: str, attrs: tuple[Any, ...], count: int) -> Iterator[tuple[str, Change]]:
    if count >= 2:
        if name not in _COMMUTE:
            yield f"{name}: operands swapped", _swapped
        yield f"{name}: last operand left out", _without_last
    if name in _OTHER:
        yield f"{name}: {_OTHER[name]} instead", lambda b, n, a, c: (_OTHER[n], a, c)
    if count == 1:
        yield f"{name}: left out", lambda b, n, a, c: c[0]
    if name == "constant":
        yield "constant: one more", _one_more
    for key, value in zip(OPERATORS[name].schema, attrs, strict=True):
        if name != "constant" and not isinstance(value, str) and (name, key) != ("slice", "end"):
            yield f"{name}: {key} changed", lambda b, n, a, c, key=key: _perturbed(b, n, a, c, key)


def _swapped(b: Builder, n: str, a: tuple[Any, ...], c: list[Term]) -> Node | None:
    return None if c[-1].cls == c[-2].cls else (n, a, [*c[:-2], c[-1], c[-2]])


def _without_last(b: Builder, n: str, a: tuple[Any, ...], c: list[Term]) -> Node | Term:
    variadic = OPERATORS[n].arity is None and len(c) > 2
    return (n, a, c[:-1]) if variadic else c[0]


def _one_more(b: Builder, n: str, a: Any, c: list[Term]) -> Node:
    constant = type(a.value)(a.value.array + np.ones((), a.value.array.dtype))
    return n, a._replace(value=constant), c


def _perturbed(b: Builder, n: str, a: Any, c: list[Term], key: str) -> Node | None:
    value = getattr(a, key)
    if (n, key) == ("slice", "begin"):
        # The whole range moves, so that the type stays.
        dim = c[0].shape[a.axis]
        step = 1 if a.end < dim else -1
        return (n, a._replace(begin=a.begin + step, end=a.end + step), c) if a.begin + step >= 0 else None
    other = _other_value(value)
    return None if other == value else (n, a._replace(**{key: other}), c)


def _other_value(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value * 1.5 + 0.1
    if isinstance(value, tuple) and value:
        return value[1:] + value[:1] if len(set(value)) > 1 else (_other_value(value[0]), *value[1:])
    return value


def _negated(b: Builder, result: Any) -> Any:
    if isinstance(result, Term):
        return b.add("negative", OPERATORS["negative"].make_attrs(), [result])
    return [_negated(b, term) for term in result]


def _rotated(b: Builder, result: Any) -> Any:
    return [*result[1:], result[0]] if isinstance(result, list | tuple) else None


# -- a rule whose right side can be changed ------------------------------------------------------------------------


class _Watched(Builder):
    """Adds nodes like any builder, but one of them changed; notes what it was asked for."""

    __slots__ = ("asked", "hit", "mutant")

    def __init__(self, builder: Builder, mutant: Mutant | None) -> None:
        super().__init__(builder.egraph, builder.why)
        self.asked: list[tuple[str, tuple[Any, ...], int]] = []
        self.mutant = mutant
        self.hit = False

    def add(self, name: str, attrs: tuple[Any, ...], children: list[Term]) -> Term:
        place = len(self.asked)
        self.asked.append((name, attrs, len(children)))
        if self.mutant is not None and self.mutant.place == place:
            label = self.mutant.label.split(":")[0]
            changed = self.mutant.change(self, name, attrs, children) if label == name else None
            if changed is not None:
                self.hit = True
                if isinstance(changed, Term):
                    return changed
                name, attrs, children = changed
        return super().add(name, attrs, children)


class Breakable:
    """A rule whose right side goes through :class:`_Watched`.

    Attributes
    ----------
    rule : Rule
        The rule, to be compiled once for all of its mutants.
    mutant : Mutant or None
        The change to make.
    hit : bool
        Whether the last application made it.
    result : Term, list of Term or None
        What the last application built.
    asked : list
        Operator, attributes and number of operands of each node that the last application added.
    """

    def __init__(self, original: Rule) -> None:
        self.mutant: Mutant | None = None
        self.hit = False
        self.result: Any = None
        self.asked: list[tuple[str, tuple[Any, ...], int]] = []
        self._rhs = original.rhs
        names = parameters(original.rhs) if callable(original.rhs) else tuple(dict.fromkeys(variables(original.rhs)))

        def rhs(*values: Any) -> Any:
            return self._build(dict(zip(names, values, strict=True)))

        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        rhs.__signature__ = inspect.Signature([inspect.Parameter(n, kind) for n in names])  # type: ignore[attr-defined]
        self.rule = replace(original, rhs=rhs)

    def _build(self, given: dict[str, Any]) -> Any:
        builder = next(b for b in map(_builder_of, given.values()) if b is not None)
        watched = _Watched(builder, self.mutant)
        self.hit, self.result, self.asked = False, None, watched.asked
        given = {name: _rewrapped(watched, value) for name, value in given.items()}
        try:
            result = self._rhs(**given) if callable(self._rhs) else instantiate(watched, self._rhs, given)
            if result is not None and self.mutant is not None and self.mutant.place < 0:
                result = self.mutant.change(watched, result)  # type: ignore[call-arg]
                watched.hit = result is not None
        finally:
            self.hit = watched.hit
        self.result = result
        return result


def _builder_of(value: Any) -> Builder | None:
    if isinstance(value, Term):
        return value.builder
    return _builder_of(value[0]) if isinstance(value, tuple) and value else None


def _rewrapped(builder: Builder, value: Any) -> Any:
    if isinstance(value, Term):
        return builder.given(value.cls)
    if isinstance(value, tuple) and value and isinstance(value[0], Term):
        return tuple(builder.given(t.cls) for t in value)
    return value


# -- the trial ----------------------------------------------------------------------------------------------------


class Trial:
    """Sites that a rule rewrites, at which its mutants are tried."""

    def __init__(self, rule: Rule, count: int, seed: int) -> None:
        self.rule = rule
        self.breakable = Breakable(rule)
        rng = np.random.default_rng([zlib.crc32(rule.name.encode()), seed])
        self.instances = samples(rule, count, rng)
        self.egraph = self.instances[0].egraph
        compiled = CompiledRule(self.breakable.rule, everywhere=True)
        start = self.egraph.snapshot()
        self.sites = []
        self.mutants: dict[Mutant, None] = {}
        for site in compiled.search(self.egraph, 100_000):
            if self._apply(compiled, site):
                self.sites.append(site)
                for place, asked in enumerate(self.breakable.asked):
                    self.mutants.update((Mutant(place, label, change), None) for label, change in _changes(*asked))
        # A right side that refers to no tensor of the left one can't be watched; there is none.
        self.mutants[Mutant(-1, "result: negated", _negated)] = None  # type: ignore[arg-type]
        if rule.shared:
            self.mutants[Mutant(-1, "result: members rotated", _rotated)] = None  # type: ignore[arg-type]
        self.egraph.restore(start)
        self.start = start

    def _apply(self, compiled: CompiledRule, site: Any) -> int:
        self.breakable.hit, self.breakable.result = False, None
        return compiled.apply(self.egraph, [site], lambda: False)

    def verdict(self, mutant: Mutant) -> str:
        """``killed``, ``refused``, ``unreached``, or ``passed``."""
        self.egraph.restore(self.start)
        self.breakable.mutant = mutant
        compiled = CompiledRule(self.breakable.rule, everywhere=True)  # it remembers what was refused
        hits = passed = 0
        try:
            for site in self.sites:
                united = self._apply(compiled, site)
                hits += self.breakable.hit
                passed += self.breakable.hit and bool(united or self._is_same(site))
            if not hits:
                return "unreached"
            verdict = _judged(self.egraph, self.instances[0])
            return verdict if 3 * passed >= 2 * hits else "refused"
        except Exception:
            return "killed"
        finally:
            self.breakable.mutant = None

    def _is_same(self, site: Any) -> bool:
        """Whether nothing was united because nothing differs; otherwise the types did."""
        result, find = self.breakable.result, self.egraph.find
        return isinstance(result, Term) and find(result.cls) == find(site[0])


def _judged(egraph: Any, instance: Instance) -> str:
    egraph.rebuild()
    with np.errstate(all="ignore"):
        check_classes(egraph, instance.values, tolerance=0.0 if polynomial(egraph) else 1e-9)
    return "passed"


def unguarded_verdict(rule: Rule, count: int, seed: int) -> str:
    """What happens to a rule without its guard, where the guard refuses."""
    rng = np.random.default_rng([zlib.crc32(rule.name.encode()), seed])
    breakable = Breakable(replace(rule, when=None))
    guarded, bare = CompiledRule(rule, everywhere=True), CompiledRule(breakable.rule, everywhere=True)
    first: Instance | None = None
    for number in range(count):
        line = (rule.counterexample, *rule.shapes)[number % (len(rule.shapes) + 1) if number % 2 else 0]
        try:
            first = sample(rule, line, rng, free_attrs=True, beside=first, tries=20) if first is None else first
            sample(rule, line, rng, free_attrs=True, beside=first, tries=20)
        except EqSatError:
            continue
    if first is None:
        return "unreached"
    egraph = first.egraph
    kept = set(guarded.search(egraph, 100_000))
    sites = [site for site in bare.search(egraph, 100_000) if site not in kept]
    if not sites:
        return "unreached"
    try:
        if not sum(bare.apply(egraph, [site], lambda: False) for site in sites):
            return "refused"
        return _judged(egraph, first)
    except Exception:
        return "killed"


def try_rule(rule: Rule, *, limit: int | None = None, count: int = 16, seed: int = 0) -> dict[str, str]:
    """Try mutants of a rule.

    Parameters
    ----------
    rule : Rule
        The rule.
    limit : int, optional
        Try only so many mutants of the right side, drawn at random (those of its result among them).
    count : int
        Instances; those mutants that get through are tried again at ten times as many others.
    seed : int
        Seed of everything random.

    Returns
    -------
    dict of str to str
        For each mutant, what happened to it.
    """
    trial = Trial(rule, count, seed)
    mutants = list(trial.mutants)
    if limit is not None and len(mutants) > limit:
        rng = np.random.default_rng([zlib.crc32(rule.name.encode()), seed])
        last = [m for m in mutants if m.place < 0]
        chosen = rng.choice(len(mutants) - len(last), limit - len(last), replace=False)
        mutants = [mutants[i] for i in sorted(chosen)] + last
    found = {f"{m.place} {m.label}": trial.verdict(m) for m in mutants}
    passed = [m for m in mutants if found[f"{m.place} {m.label}"] == "passed"]
    if passed:
        again = Trial(rule, 10 * count, seed + 1)
        for m in passed:
            noticed = again.verdict(m) in ("killed", "refused")
            found[f"{m.place} {m.label}"] = "survived" if noticed else "equivalent"
    if rule.when is not None:
        verdict = unguarded_verdict(rule, 2 * count, seed)
        if verdict == "passed":
            noticed = unguarded_verdict(rule, 20 * count, seed + 1) in ("killed", "refused")
            verdict = "survived" if noticed else "equivalent"
        found["guard dropped"] = verdict
    return found


def kill_rate(counts: Counter[str]) -> float:
    """Part of the mutants that change something which the tests noticed."""
    noticed = counts["killed"] + counts["refused"]
    return noticed / max(1, noticed + counts["survived"])


def main(names: list[str]) -> None:
    """Try every mutant of the named rules, or of all."""
    total: Counter[str] = Counter()
    for rule in ALL + ALGEBRA:
        if names and rule.name not in names:
            continue
        found = try_rule(rule, count=40)
        total.update(found.values())
        through = [f"{label} ({verdict})" for label, verdict in found.items() if verdict in ("survived", "equivalent")]
        if through or names:
            print(f"{rule.name}: {len(found)} mutants; {'; '.join(through)}", flush=True)
    print(dict(total), f"kill rate {kill_rate(total):.1%}")


if __name__ == "__main__":
    main(sys.argv[1:])
