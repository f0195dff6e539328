"""egglog (https://github.com/egraphs-good/egglog) as the oracle: same terms, same rules, same e-graph at saturation."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Any

import pytest

from tests.egraph.reference import Rule, saturate
from tests.egraph.test_matcher import insert
from tvm_eqsat.egraph import EGraph, Pat, Var
from tvm_eqsat.egraph.serialize import from_json

bindings = pytest.importorskip("egglog.bindings")

X, Y, Z, W = Var("x"), Var("y"), Var("z"), Var("w")


def add(a: Any, b: Any) -> Pat:
    return Pat("add", (a, b))


def mul(a: Any, b: Any) -> Pat:
    return Pat("mul", (a, b))


def t(a: Any) -> Pat:
    return Pat("t", (a,))


COMM: list[Rule] = [("comm", add(X, Y), add(Y, X))]
ASSOC: list[Rule] = [
    ("assoc", add(add(X, Y), Z), add(X, add(Y, Z))),
    ("assoc back", add(X, add(Y, Z)), add(add(X, Y), Z)),
]
DIST: list[Rule] = [
    ("spread left", mul(X, add(Y, Z)), add(mul(X, Y), mul(X, Z))),
    ("spread right", mul(add(Y, Z), X), add(mul(Y, X), mul(Z, X))),
    ("factor left", add(mul(X, Y), mul(X, Z)), mul(X, add(Y, Z))),
    ("factor right", add(mul(Y, X), mul(Z, X)), mul(add(Y, Z), X)),
]
TENSOR: list[Rule] = [
    ("mul assoc", mul(mul(X, Y), Z), mul(X, mul(Y, Z))),
    ("mul assoc back", mul(X, mul(Y, Z)), mul(mul(X, Y), Z)),
    ("transpose twice", t(t(X)), X),
    ("transpose product", t(mul(X, Y)), mul(t(Y), t(X))),
    ("product of transposes", mul(t(Y), t(X)), t(mul(X, Y))),
    ("transpose sum", t(add(X, Y)), add(t(X), t(Y))),
    ("sum of transposes", add(t(X), t(Y)), t(add(X, Y))),
]
ARITY = {"add": 2, "mul": 2, "t": 1, "a": 0, "b": 0, "c": 0, "d": 0, "e": 0}


def random_term(rng: Random, leaves: int, ops: Sequence[str]) -> Any:
    if leaves == 1:
        term: Any = (rng.choice("abcde"),)
    else:
        left = rng.randint(1, leaves - 1)
        op = rng.choice([op for op in ops if op != "t"])
        term = (op, random_term(rng, left, ops), random_term(rng, leaves - left, ops))
    return ("t", term) if "t" in ops and rng.random() < 0.3 else term


def text(term: Any) -> str:
    """A pattern or term as an egglog expression."""
    if isinstance(term, Var):
        return term.name
    op, children = (term.op, term.children) if isinstance(term, Pat) else (term[0], term[1:])
    return f"({' '.join([op, *map(text, children)])})"


def egglog(rules: Sequence[Rule], terms: Sequence[Any]) -> tuple[list[int], Counter[str], Any]:
    """For each term the first equal one; e-nodes by operator; and the e-graph in JSON."""
    program = [
        "(sort E)",
        *[f"(constructor {op} ({' '.join(['E'] * arity)}) E)" for op, arity in ARITY.items()],
        *[f"(rewrite {text(left)} {text(right)})" for _, left, right in rules],
        *[f"(let $t{k} {text(term)})" for k, term in enumerate(terms)],
        "(run-schedule (saturate (run)))",
    ]
    eg = bindings.EGraph()
    eg.run_program(*eg.parse_program("\n".join(program)))
    data = json.loads(eg.serialize([], max_functions=None, max_calls_per_function=None).to_json())
    owner = {name: c for c, about in data["class_data"].items() for name in about.get("let", "").split(", ")}
    first: dict[str, int] = {}
    partition = [first.setdefault(owner[f"$t{k}"], k) for k in range(len(terms))]
    return partition, Counter(node["op"] for node in data["nodes"].values()), data


CASES = [
    ("commutativity", COMM, ["add"], 8, 12),
    ("associativity", ASSOC, ["add"], 8, 12),
    ("commutative sums", COMM + ASSOC, ["add"], 6, 8),
    ("distributivity", DIST, ["add", "mul"], 6, 12),
    ("matrix products", TENSOR, ["add", "mul", "t"], 8, 12),
    ("matrix sums of products", TENSOR + DIST, ["add", "mul", "t"], 5, 8),
    ("all", TENSOR + DIST + COMM + ASSOC, ["add", "mul", "t"], 5, 8),
]


@pytest.mark.parametrize(("rules", "ops", "leaves", "count"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
@pytest.mark.parametrize("seed", range(3))
def test_same_e_graph_as_egglog(rules: list[Rule], ops: list[str], leaves: int, count: int, seed: int) -> None:
    rng = Random(seed)
    terms = [random_term(rng, rng.randint(2, leaves), ops) for _ in range(count)]
    eg = EGraph()
    ids = [insert(eg, term) for term in terms]
    assert saturate(eg, rules, 20_000)
    partition, sizes, data = egglog(rules, terms)
    first: dict[int, int] = {}
    assert [first.setdefault(eg.find(c), k) for k, c in enumerate(ids)] == partition
    assert {op: len(list(eg.with_op(op))) for op in ARITY} == {op: sizes[op] for op in ARITY}
    # What egglog writes is what we read.
    read = from_json({**data, "root_eclasses": sorted({node["eclass"] for node in data["nodes"].values()})})
    assert (read.n_nodes, read.n_classes) == (eg.num_nodes, eg.num_classes)
