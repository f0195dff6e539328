"""Mutants of several operators together: exact as a whole, without movements between, and rules for the pass."""

from __future__ import annotations

from functools import cache
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.partial.programs import leaf, right, values
from tvm_eqsat.errors import IllTyped
from tvm_eqsat.graph.ops import OPERATORS
from tvm_eqsat.graph.tensor_graph import TensorGraph
from tvm_eqsat.partial.alternatives import partial_rules
from tvm_eqsat.partial.chains import forms, sites
from tvm_eqsat.partial.corrector import difference
from tvm_eqsat.partial.exchange import Convolution
from tvm_eqsat.partial.exchanges import exchanges
from tvm_eqsat.partial.manager import MutationManager
from tvm_eqsat.partial.mutants import LEAST_RIGHT, Mutant, Recipe, build, identity, mutants, verified
from tvm_eqsat.search.program import load
from tvm_eqsat.search.saturate import Limits, saturate
from tvm_eqsat.verify.classes import check_classes

DENSE = "dilated-to-dense-h%2-n+w%2-n"
SETTINGS: dict[str, Any] = {"limit": 12, "alike": 1, "corrections": 3, "slack": inf}


def convolved(graph: TensorGraph, x: int, index: int, weight: tuple[int, ...], **attrs: Any) -> int:
    w = leaf(graph, index, weight, weight=True)
    return graph.add("conv2d", (x, w), OPERATORS["conv2d"].make_attrs(**attrs))


def dilated(size: int = 8, *, bias: bool = False) -> TensorGraph:
    """Two dilated convolutions, one after the other."""
    graph = TensorGraph()
    attrs = {"padding": (2, 2, 2, 2), "dilation": (2, 2)}
    x = convolved(graph, leaf(graph, 0, (1, 2, size, size)), 1, (3, 2, 3, 3), **attrs)
    if bias:
        x = graph.add("add", (x, leaf(graph, 3, (1, 3, 1, 1), weight=True)), ())
    graph.outputs = [convolved(graph, x, 2, (2, 3, 3, 3), **attrs)]
    return graph


def added() -> TensorGraph:
    """A sum of two convolutions of different inputs."""
    graph = TensorGraph()
    parts = [
        convolved(graph, leaf(graph, k, (2, 2, 4, 6)), 2 + k, (3, 2, 3, 3), padding=(1, 1, 1, 1)) for k in range(2)
    ]
    graph.outputs = [graph.add("add", parts, ())]
    return graph


def products() -> TensorGraph:
    """Three matrix products with a transposition between."""
    graph = TensorGraph()
    x = leaf(graph, 0, (4, 6))
    for k, (rows, columns) in enumerate(((6, 8), (8, 2), (4, 3))):
        if k == 2:
            x = graph.add("permute_dims", (x,), OPERATORS["permute_dims"].make_attrs(axes=(1, 0)))
        w = leaf(graph, 1 + k, (rows, columns), weight=True)
        x = graph.add("matmul", (x, w), OPERATORS["matmul"].make_attrs())
    graph.outputs = [x]
    return graph


PROGRAMS = {"dilated": dilated(), "with a bias": dilated(bias=True), "sum": added(), "products": products()}


@cache
def found_in(name: str) -> list[Mutant]:
    """The cheapest mutants of one of the programs, whatever they cost."""
    return mutants(PROGRAMS[name], **SETTINGS)


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_mutant_is_exact(name: str) -> None:
    program, found = PROGRAMS[name], found_in(name)
    chains = [mutant for mutant in found if mutant.recipe.kind == "chain"]
    assert chains
    for mutant in found:
        assert identity(mutant.graph) != identity(program)
        assert right(program, mutant.graph) == 1, mutant.name


def test_nothing_is_moved_between_operators_of_one_form() -> None:
    mutant = next(m for m in found_in("dilated") if m.name == f"{DENSE}&{DENSE}")
    graph = mutant.graph
    assert [graph.nodes[i].op for i in graph.live()].count("permute_dims") == 2  # into phases, and back
    for i in graph.live():
        if graph.nodes[i].op == "conv2d":
            assert graph.nodes[i].attrs.dilation == (1, 1)  # type: ignore[attr-defined]


@pytest.mark.parametrize("program", [dilated(16), dilated(16, bias=True), added()], ids=["dilated", "bias", "sum"])
def test_what_is_wrong_is_found_exactly_and_corrected_once(program: TensorGraph) -> None:
    halfway = 0
    for _, recipes, _ in forms(program, _partial_forms, build, lambda graph: float(len(graph.nodes))):
        recipe = Recipe("chain", tuple(r or () for r in recipes))
        mutant = build(program, recipe)
        wrong = difference(program, mutant)
        expected = np.not_equal(values(program)[0], values(mutant)[0])
        got = np.zeros(expected.shape, bool)
        for box in wrong.wrong:
            got[tuple(slice(*side) for side in box)] = True
        np.testing.assert_array_equal(got, expected)
        if 0 < wrong.fraction < 1 - LEAST_RIGHT:
            halfway += 1
            exact = verified(program, recipe._replace(corrected=True), "corrected")
            assert exact is not None
            assert right(program, exact.graph) == 1
    assert halfway


def _partial_forms(program: TensorGraph) -> list[tuple[tuple[str, str], Recipe, float]]:
    """Exchanges that leave something wrong."""
    found = [pair for pair in exchanges(Convolution.of(program), 0.7) if pair[1] < 1]
    return [
        ((exchange.name(), exchange.name()), Recipe("exchange", tuple(exchange)), right)
        for exchange, right in found[:3]
    ]


def test_one_operator_or_five_are_no_chain() -> None:
    graph = TensorGraph()
    x = leaf(graph, 0, (4, 4))
    for k in range(5):
        x = graph.add("matmul", (x, leaf(graph, 1 + k, (4, 4), weight=True)), OPERATORS["matmul"].make_attrs())
        graph.outputs = [x]
        if k in (0, 4):
            with pytest.raises(IllTyped, match="no chain"):
                sites(graph)
        else:
            assert len(sites(graph)) == k + 1


def test_the_manager_remembers_chains(tmp_path: Path) -> None:
    first = MutationManager(tmp_path, **SETTINGS)
    found = first.mutants(dilated())
    first.save()
    again = MutationManager(tmp_path, **SETTINGS)
    known = again.mutants(dilated())
    assert (again.searched, again.known) == (0, 1)
    assert [(m.name, m.recipe, identity(m.graph)) for m in known] == [
        (m.name, m.recipe, identity(m.graph)) for m in found
    ]
    for mutant in again.mutants(dilated(12)):
        assert right(dilated(12), mutant.graph) == 1
    assert again.reused == 1


def test_chains_become_rules_that_hold() -> None:
    program = dilated()

    def price(op: str, attrs: Any, ins: Any, out: Any) -> float:
        return float(op == "conv2d")

    rules, complete = partial_rules(program, MutationManager(**SETTINGS), price)
    assert complete
    chains = [rule.name for rule in rules if "&" in rule.name]
    assert f"partial:{DENSE}&{DENSE}" in chains
    egraph, _ = load(program)
    run = saturate(egraph, rules.only(*chains), Limits(nodes=1500, iterations=2))
    assert {name for i in run.iterations for name in i.applied} == set(chains)
    rng = np.random.default_rng(0)
    given = {n.attrs[0]: rng.standard_normal(n.attrs[1].shape) for n in program.nodes if n.op == "input"}
    assert check_classes(egraph, given).compared >= len(chains)


def test_what_others_use_too_is_in_no_chain() -> None:
    program = dilated()
    inner = next(i for i in program.live() if program.nodes[i].op == "conv2d")
    program.outputs.append(inner)
    rules, _ = partial_rules(program, MutationManager(**SETTINGS), lambda op, attrs, ins, out: 1.0)
    assert rules
    assert not any("&" in rule.name for rule in rules)
