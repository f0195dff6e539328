"""Compiled patterns against trying every pattern at every class."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.egraph.reference import brute_force, saturate
from tvm_eqsat.egraph import ANY, AttrVar, Each, EGraph, JoinMatcher, Pat, Rest, Var, compile_join, compile_pattern
from tvm_eqsat.errors import EqSatError, RuleError

X, Y, Z = Var("x"), Var("y"), Var("z")

# ---------------------------------------------------------------------- random e-graphs and patterns

ARITY = {"a": 0, "f": 1, "g": 2}  # v has any number of operands


def random_egraph(rng: Random) -> EGraph:
    """Some twenty nodes, with classes of several nodes, cycles, and dead nodes."""
    eg = EGraph()
    ids = [eg.add(eg.sym("a", (k,))) for k in range(3)]
    for _ in range(rng.randint(3, 24)):
        op = rng.choice("ffgggvv")
        children = rng.choices(ids, k=ARITY.get(op, rng.randint(0, 3)))
        attrs = (rng.randint(0, 1),) if op != "g" else (rng.randint(0, 1), rng.randint(0, 1))
        ids.append(eg.add(eg.sym(op, attrs), children))
    for _ in range(rng.randint(0, 8)):
        eg.union(rng.choice(ids), rng.choice([ids[0], rng.choice(ids)]))
        if rng.random() < 0.3:
            eg.rebuild()
    eg.rebuild()
    return eg


def random_pattern(rng: Random, eg: EGraph, c: int, depth: int, names: dict[int, str]) -> Any:
    """Something that is likely to match class ``c``: a class stays the same variable nearly always."""
    if depth == 0:
        name = names.setdefault(c, f"x{len(names)}")
        return Var(name if rng.random() < 0.9 else f"x{rng.randint(0, 2)}")
    node = rng.choice(eg.nodes(c))
    op, operands = eg.ops[node[0]], list(node[1:])
    children = [random_pattern(rng, eg, k, rng.randint(0, depth - 1), names) for k in operands]
    if op == "v" and rng.random() < 0.7:
        first = rng.randint(0, len(operands))
        last = rng.randint(first, len(operands))
        children[first:last] = [rng.choice([Rest("r"), random_each(rng, eg, operands[first:last], names)])]
    return Pat(op, tuple(children), random_attrs(rng, eg.attrs[node[0]]))


def random_each(rng: Random, eg: EGraph, operands: list[int], names: dict[int, str]) -> Any:
    """Operators with one operand only, because what comes first is only defined for a chain of them."""
    node = rng.choice(eg.nodes(operands[0])) if operands else (eg.sym("f", (0,)), 0)
    op, own = eg.ops[node[0]], f"e{len(names)}"
    children = [Var(own if rng.random() < 0.7 else names.get(k, own)) for k in node[1:]]
    pat = Pat(op, tuple(children), rng.choice([None, AttrVar("t"), (0,) * len(eg.attrs[node[0]])]))
    return Each(pat if rng.random() < 0.8 else Pat("f", (pat,)))


def random_attrs(rng: Random, attrs: tuple[int, ...]) -> Any:
    if rng.random() < 0.3:
        return rng.choice([None, AttrVar("w")])
    return tuple(rng.choice([value, value, ANY, AttrVar(f"p{value}"), AttrVar("p")]) for value in attrs)


def random_patterns(rng: Random, eg: EGraph, count: int) -> list[Any]:
    """Patterns at users of one class, which makes it likely that they share a variable."""
    shared = rng.choice(eg.classes())
    roots = [c for c, _ in eg.users(shared)] or [shared]
    names: dict[int, str] = {}
    return [random_pattern(rng, eg, rng.choice(roots), rng.randint(1, 3), names) for _ in range(count)]


def compilable(rng: Random, eg: EGraph, count: int) -> JoinMatcher:
    """Patterns that hang together, in which no variable occurs in two Each only."""
    while True:
        try:
            return compile_join(random_patterns(rng, eg, count))
        except RuleError:
            continue


seeds = st.integers(0, 10**9).map(Random)


@settings(max_examples=600)
@given(seeds)
def test_pattern_finds_what_brute_force_finds(rng: Random) -> None:
    eg = random_egraph(rng)
    (pat,) = compilable(rng, eg, 1).patterns
    matcher = compile_pattern(pat)
    found = matcher.search(eg)
    assert len(found) == len(set(found))
    assert set(found) == {(c, *rest) for (c,), *rest in brute_force(eg, [pat])}
    limit = rng.randint(0, 3)
    assert matcher.search(eg, limit) == found[:limit]
    search = matcher.begin(eg)
    assert search.more(limit) + search.more(2) + search.more(1000) == found and search.more(1) == []
    only = set(rng.sample(eg.classes(), rng.randint(0, eg.num_classes)))
    assert matcher.search(eg, only=only) == [match for match in found if match[0] in only]


@settings(max_examples=600)
@given(seeds)
def test_join_finds_what_brute_force_finds(rng: Random) -> None:
    eg = random_egraph(rng)
    matcher = compilable(rng, eg, rng.randint(2, 3))
    found, expected = matcher.search(eg), brute_force(eg, matcher.patterns)
    assert len(found) == len(set(found))
    assert set(found) == set(expected)
    limit = rng.randint(0, 3)
    assert matcher.search(eg, limit) == found[:limit]
    only = set(rng.sample(eg.classes(), rng.randint(0, eg.num_classes)))
    delta = matcher.search(eg, only=only)
    assert len(delta) == len(set(delta))
    assert set(delta) == {match for match in expected if only & set(match[0])}
    assert matcher.search(eg, limit, only) == delta[:limit]
    ordered = compile_join(matcher.patterns, ordered=True)
    assert set(ordered.search(eg)) == {match for match in expected if list(match[0]) == sorted(set(match[0]))}
    assert set(ordered.search(eg, only=only)) == set(ordered.search(eg)) & set(delta)


# ---------------------------------------------------------------------- the documented behaviour, by example


def small() -> tuple[EGraph, dict[str, int]]:
    eg = EGraph()
    ids = {name: eg.add(eg.sym(name)) for name in "abcd"}
    return eg, ids


def test_bindings_follow_the_order_of_variables() -> None:
    eg, ids = small()
    root = eg.add(eg.sym("slice", (1, 0, 4)), [eg.add(eg.sym("mm"), [ids["a"], ids["b"]])])
    matcher = compile_pattern(Pat("slice", (Pat("mm", (Y, X)),), (AttrVar("axis"), ANY, AttrVar("end"))))
    assert matcher.variables == ("axis", "end", "y", "x")
    assert matcher.depth == 2
    assert matcher.search(eg) == [(root, 1, 4, ids["a"], ids["b"])]


def test_rest_and_each_bind_tuples() -> None:
    eg, ids = small()
    a, b, c, d = ids.values()
    relu = [eg.add(eg.sym("relu"), [k]) for k in (a, b, c)]
    mm = [eg.add(eg.sym("mm"), [a, k]) for k in (b, c, d)]
    root = eg.add(eg.sym("concat", (1,)), relu)
    merged = eg.add(eg.sym("concat", (0,)), mm)
    rest = compile_pattern(Pat("concat", (X, Rest("more")), (1,)))
    assert rest.search(eg) == [(root, relu[0], tuple(relu[1:]))]
    last = compile_pattern(Pat("concat", (Rest("more"), X), (1,)))
    assert last.search(eg) == [(root, tuple(relu[:2]), relu[2])]
    each = compile_pattern(Pat("concat", (Each(Pat("relu", (X,))),), AttrVar("attrs")))
    assert each.search(eg) == [(root, (1,), (a, b, c))]
    # x occurs outside of the Each too, so it is one value for all operands; w isn't.
    shared = compile_pattern(Pat("concat", (Pat("mm", (X, Y)), Each(Pat("mm", (X, Var("w")))))))
    assert shared.search(eg) == [(merged, a, b, (c, d))]
    assert compile_pattern(Pat("concat", (Pat("mm", (Y, X)), Each(Pat("mm", (X, Var("w"))))))).search(eg) == []


def test_each_takes_the_oldest_match() -> None:
    eg, ids = small()
    relu = [eg.add(eg.sym("relu"), [ids[k]]) for k in "ba"]
    eg.union(*relu)
    eg.rebuild()
    root = eg.add(eg.sym("concat"), [relu[0], relu[0]])
    assert compile_pattern(Pat("concat", (Each(Pat("relu", (X,))),))).search(eg) == [(root, (ids["b"], ids["b"]))]


def test_symbols_made_after_a_search_are_found() -> None:
    eg, ids = small()
    matcher = compile_pattern(Pat("scale", (X,), (AttrVar("k"),)))
    assert matcher.search(eg) == []
    roots = []
    for k in (2, 3, 4):
        roots.append((eg.add(eg.sym("scale", (k,)), [ids["a"]]), k, ids["a"]))
        assert matcher.search(eg) == roots


def test_one_matcher_serves_many_e_graphs() -> None:
    matcher = compile_pattern(Pat("f", (X,), (0,)))
    for padding in range(3):
        eg = EGraph()
        for k in range(padding):
            eg.sym("other", (k,))
        leaf = eg.add(eg.sym("a"))
        assert matcher.search(eg) == []
        assert matcher.search(eg, only={leaf}) == []
        root = eg.add(eg.sym("f", (0,)), [leaf])
        assert matcher.search(eg) == [(root, leaf)]


def test_join_goes_through_shared_classes_only() -> None:
    """A hundred products with a hundred inputs have no pair: looking at all pairs of roots would take 10,000 steps."""
    eg = EGraph()
    for k in range(100):
        eg.add(eg.sym("mm"), [eg.add(eg.sym("x", (k,))), eg.add(eg.sym("w", (k,)))])
    pair = compile_join([Pat("mm", (X, Y)), Pat("mm", (X, Z))], ordered=True)
    assert pair.search(eg) == []
    assert len(compile_join(pair.patterns).search(eg)) == 100
    for source in pair.sources:
        assert source.count("roots(") == 1 and "parents[" in source


@pytest.mark.parametrize("limit", [0, 1, 7])
def test_limit_stops_a_product_of_matches(limit: int) -> None:
    """4,000 products of one input make 8 million pairs, which would need gigabytes."""
    eg = EGraph()
    x = eg.add(eg.sym("x"))
    for k in range(4000):
        eg.add(eg.sym("mm"), [x, eg.add(eg.sym("w", (k,)))])
    pair = compile_join([Pat("mm", (X, Y)), Pat("mm", (X, Z))], ordered=True)
    assert len(pair.search(eg, limit)) == limit
    assert len(pair.search(eg, limit, {eg.add(eg.sym("mm"), [x, 1])})) == limit


def test_searching_needs_a_rebuild() -> None:
    eg, ids = small()
    eg.union(ids["a"], ids["b"])
    for matcher in (compile_pattern(Pat("f", (X,))), compile_join([Pat("f", (X,)), Pat("g", (X,))])):
        with pytest.raises(EqSatError, match=r"rebuild\(\)"):
            matcher.search(eg)


@pytest.mark.parametrize(
    ("pats", "message"),
    [
        ([Pat("f", (X,), (AttrVar("x"),))], "'x' stands for"),
        ([Pat("v", (X, Rest("x")))], "'x' stands for"),
        ([Pat("f", (X,)), Pat("f", (Y,))], "Cartesian"),
        ([Pat("f", (X,), (AttrVar("k"),)), Pat("f", (Y,), (AttrVar("k"),))], "Cartesian"),
        ([Pat("g", (Pat("v", (Each(Pat("f", (X,))),)), Pat("v", (Each(Pat("f", (X,))),))))], "two Each"),
        ([Pat("v", (Each(Pat("v", (Each(Pat("f", (X,))),))),))], "Each inside an Each"),
    ],
)
def test_malformed_patterns_are_refused(pats: list[Pat], message: str) -> None:
    with pytest.raises(RuleError, match=message):
        compile_join(pats)


def test_two_variadic_parts_are_refused() -> None:
    with pytest.raises(RuleError, match="'concat'"):
        Pat("concat", (Rest("r"), Each(Pat("f", (X,)))))


def test_too_large_patterns_are_refused() -> None:
    pat, eg = Pat("f", (X,)), EGraph()
    eg.add(eg.sym("f"), [eg.add(eg.sym("a"))])
    for _ in range(19):
        pat = Pat("f", (pat,))
    assert compile_pattern(pat).search(eg) == []
    pat = Pat("f", (pat,))
    with pytest.raises(RuleError, match="too many operators"):
        compile_pattern(pat)


# ---------------------------------------------------------------------- searching only what changed

RULES = [
    ("comm", Pat("+", (X, Y)), Pat("+", (Y, X))),
    ("assoc", Pat("+", (Pat("+", (X, Y)), Z)), Pat("+", (X, Pat("+", (Y, Z))))),
    ("factor", Pat("+", (Pat("*", (X, Y)), Pat("*", (X, Z)))), Pat("*", (X, Pat("+", (Y, Z))))),
    ("spread", Pat("*", (X, Pat("+", (Y, Z)))), Pat("+", (Pat("*", (X, Y)), Pat("*", (X, Z))))),
    ("square", Pat("*", (X, X)), Pat("sq", (X,))),
    ("double", Pat("+", (Pat("sq", (Pat("sq", (X,)),)), Pat("sq", (Pat("*", (X, X)),)))), Pat("twice", (X,))),
]
terms = st.recursive(st.sampled_from("abc"), lambda inner: st.tuples(st.sampled_from("+*"), inner, inner), max_leaves=6)


@settings(max_examples=60)
@given(st.lists(terms, min_size=1, max_size=3), st.permutations(RULES))
def test_searching_only_what_changed_loses_nothing(expressions: list[Any], rules: list[Any]) -> None:
    frozen = []
    for semi_naive in (False, True):
        eg = EGraph()
        roots = [insert(eg, term) for term in expressions]
        done = saturate(eg, rules, 800, semi_naive)
        frozen.append((done, eg.freeze(roots), eg.num_nodes))
    assert frozen[0] == frozen[1]


def insert(eg: EGraph, term: Any) -> int:
    op, *children = term
    return eg.add(eg.sym(op), [insert(eg, child) for child in children])
