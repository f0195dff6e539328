"""Plain, slow implementations that the e-graph is compared with, and a plain saturation loop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tvm_eqsat.egraph import ANY, AttrVar, Each, EGraph, Pat, Rest, Var, compile_pattern
from tvm_eqsat.egraph.pattern import variables

Env = dict[str, Any]
Todo = list[tuple[Any, Any]]


def brute_force(eg: EGraph, pats: Sequence[Pat]) -> list[tuple[Any, ...]]:
    """All distinct ``(root classes, *bindings)``: every pattern tried at every class."""
    names = variables(pats)
    todo = [(pat, f"root {k}") for k, pat in enumerate(pats)]
    found: dict[tuple[Any, ...], None] = {}
    for env in solve(eg, todo, {}, []):
        match = (tuple(env[where] for _, where in todo), *[env[name] for name in names])
        found[match] = None
    return list(found)


def solve(eg: EGraph, todo: Todo, env: Env, eaches: list[tuple[Each, Any]]) -> Iterator[Env]:
    """Ways to match patterns at classes. A name instead of a class stands for any class, and is bound to it."""
    if not todo:
        yield from solve_eaches(eg, eaches, env)
        return
    (pat, c), rest = todo[0], todo[1:]
    if isinstance(c, str):
        for root in eg.classes():
            yield from solve(eg, [(pat, root), *rest], {**env, c: root}, eaches)
    elif isinstance(pat, Var):
        if env.get(pat.name, c) == c:
            yield from solve(eg, rest, {**env, pat.name: c}, eaches)
    else:
        for node in eg.nodes(c):
            yield from solve_node(eg, pat, node, rest, env, eaches)


def solve_node(
    eg: EGraph, pat: Pat, node: tuple[int, ...], rest: Todo, env: Env, eaches: list[tuple[Each, Any]]
) -> Iterator[Env]:
    bound = match_attrs(pat.attrs, eg.attrs[node[0]], env) if eg.ops[node[0]] == pat.op else None
    operands, kids = node[1:], pat.children
    at = next((k for k, kid in enumerate(kids) if isinstance(kid, (Rest, Each))), None)
    if bound is None or (len(operands) != len(kids) if at is None else len(operands) < len(kids) - 1):
        return
    new: Todo = list(zip(kids, operands, strict=False))
    if at is not None:
        end = len(operands) - (len(kids) - at - 1)
        new = [*zip(kids[:at], operands[:at], strict=True), *zip(kids[at + 1 :], operands[end:], strict=True)]
        middle, special = operands[at:end], kids[at]
        if isinstance(special, Each):
            eaches = [*eaches, (special, middle)]
        elif isinstance(special, Rest) and bound.setdefault(special.name, middle) != middle:
            return
    yield from solve(eg, new + rest, bound, eaches)


def solve_eaches(eg: EGraph, eaches: list[tuple[Each, Any]], env: Env) -> Iterator[Env]:
    result = dict(env)
    for each, operands in eaches:
        rows = [next(solve(eg, [(each.pattern, c)], env, []), None) for c in operands]
        if None in rows:
            return
        own = [name for name in variables([each.pattern]) if name not in env]
        result |= {name: tuple(row[name] for row in rows if row is not None) for name in own}
    yield result


def match_attrs(pattern: Any, attrs: tuple[Any, ...], env: Env) -> Env | None:
    env = dict(env)
    if pattern is None:
        return env
    pairs = [(pattern, attrs)] if isinstance(pattern, AttrVar) else list(zip(pattern, attrs, strict=False))
    if not isinstance(pattern, AttrVar) and len(pattern) != len(attrs):
        return None
    for want, value in pairs:
        if isinstance(want, AttrVar):
            if env.setdefault(want.name, value) != value:
                return None
        elif want is not ANY and want != value:
            return None
    return env


class Closure:
    """Congruence closure of a list of terms, by comparing all of them until nothing changes."""

    def __init__(self) -> None:
        self.terms: list[tuple[Any, tuple[int, ...]]] = []
        self.equal: list[tuple[int, int]] = []

    def copy(self) -> Closure:
        other = Closure()
        other.terms, other.equal = list(self.terms), list(self.equal)
        return other

    def partition(self) -> list[int]:
        """For each term, the least term that is equal to it."""
        least = list(range(len(self.terms)))

        def merge(a: int, b: int) -> bool:
            low, high = sorted((least[a], least[b]))
            if low != high:
                least[:] = [low if x == high else x for x in least]
            return low != high

        for a, b in self.equal:
            merge(a, b)
        while any([merge(first, t) for first, t in self._congruent(least)]):
            pass
        return least

    def _congruent(self, least: list[int]) -> list[tuple[int, int]]:
        seen: dict[Any, int] = {}
        return [(seen.setdefault(signature, t), t) for t, signature in enumerate(self.signatures(least))]

    def signatures(self, least: list[int]) -> list[tuple[Any, ...]]:
        """For each term, its operator and operands' classes: equal ones are one e-node."""
        return [(op, *[least[k] for k in children]) for op, children in self.terms]


class Smallest:
    """Analysis: the number of operators in the smallest term of a class."""

    def make(self, op: str, attrs: tuple[Any, ...], children: Sequence[int]) -> int:
        return 1 + sum(children)

    def merge(self, a: int, b: int) -> int:
        return min(a, b)


Rule = tuple[str, Pat, Any]


def build(eg: EGraph, term: Any, env: Env, why: int = 0) -> int:
    """Add the instance of a pattern without attributes."""
    if isinstance(term, Var):
        return int(env[term.name])
    return eg.add(eg.sym(term.op), [build(eg, child, env, why) for child in term.children], why)


def saturate(eg: EGraph, rules: Sequence[Rule], max_nodes: int = 5000, semi_naive: bool = True) -> bool:
    """Apply rules until nothing changes (returns True), or there are too many nodes."""
    compiled = [(eg.reason_id(name), compile_pattern(left), right) for name, left, right in rules]
    last: int | None = None
    while True:
        before, now = (eg.num_nodes, eg.num_classes), eg.tick()
        found = []
        for why, matcher, right in compiled:
            only = eg.touched(last, matcher.depth) if semi_naive and last is not None else None
            found.append((why, matcher.variables, right, matcher.search(eg, only=only)))
        last = now
        for why, names, right, matches in found:
            for root, *bindings in matches:
                eg.union(root, build(eg, right, dict(zip(names, bindings, strict=True)), why), why)
        eg.rebuild()
        if (eg.num_nodes, eg.num_classes) == before:
            return True
        if eg.num_nodes > max_nodes:
            return False
