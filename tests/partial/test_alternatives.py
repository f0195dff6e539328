"""Mutants in the e-graph: as rules that hold, that compose with others, and that reports name."""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm import relax
from tvm.relax.frontend.onnx import from_onnx

from examples.models.csrnet import csrnet
from tests.partial.programs import leaf
from tvm_eqsat import EqSatOptions
from tvm_eqsat.cost.machine import machine_for
from tvm_eqsat.cost.node_cost import NodeCost
from tvm_eqsat.graph.ops import OPERATORS
from tvm_eqsat.graph.tensor_graph import TensorGraph
from tvm_eqsat.partial.alternatives import lower_bound, partial_rules
from tvm_eqsat.partial.manager import MutationManager
from tvm_eqsat.partial.subprograms import sparse
from tvm_eqsat.rules import ALL
from tvm_eqsat.search.program import load
from tvm_eqsat.search.saturate import Limits, saturate
from tvm_eqsat.transform import host_target
from tvm_eqsat.verify.classes import check_classes

MANY: dict[str, Any] = {"limit": 12, "alike": 1, "slack": 8.0}


def chain(*, dilation: int = 2) -> TensorGraph:
    """Two convolutions with an activation between, and a product."""
    graph = TensorGraph()
    x = leaf(graph, 0, (1, 2, 6, 6))
    attrs = {"padding": (dilation,) * 4, "dilation": (dilation,) * 2}
    for index in (1, 2):
        w = leaf(graph, index, (2, 2, 3, 3), weight=True)
        x = graph.add("conv2d", (x, w), OPERATORS["conv2d"].make_attrs(**attrs))
        if index == 1:
            x = graph.add("abs", (x,), OPERATORS["abs"].make_attrs())
    w = leaf(graph, 3, (6, 4), weight=True)
    graph.outputs = [graph.add("matmul", (x, w), OPERATORS["matmul"].make_attrs())]
    return graph


def unit(op: str, attrs: Any, ins: Any, out: Any) -> float:
    """Every operator that computes has the same price."""
    return float(op in ("conv2d", "matmul"))


def rules_of(graph: TensorGraph, **options: Any) -> Any:
    """The rules for mutants of a program."""
    return partial_rules(graph, MutationManager(**MANY), unit, **options)[0]


def test_rules_hold_together_with_others() -> None:
    graph = chain()
    rules = rules_of(graph)
    egraph, _ = load(graph)
    run = saturate(egraph, [*ALL, *rules], Limits(nodes=1500, iterations=3))
    applied = {name for i in run.iterations for name in i.applied}
    assert {rule.name for rule in rules} <= applied
    rng = np.random.default_rng(0)
    values = {
        n.attrs[0]: rng.standard_normal(n.attrs[1].shape) for n in graph.nodes if n.op == "input"
    }  # float64: rounding stays far below the tolerance
    assert check_classes(egraph, values).compared > 100


def test_one_rule_serves_all_that_are_alike() -> None:
    graph = chain()
    rules = rules_of(graph)
    name = "partial:dilated-to-dense-h%2-n+w%2-n"
    assert name in [rule.name for rule in rules]
    egraph, class_of = load(graph)
    saturate(egraph, rules.only(name), Limits(iterations=1))
    convolutions = [class_of[i] for i, node in enumerate(graph.nodes) if node.op == "conv2d"]
    for cls in convolutions:
        assert name in {egraph.reason(node) for node in egraph.nodes(cls)}


def test_only_expensive_operators_are_looked_at() -> None:
    graph = chain()
    assert any("matmul" in rule.name for rule in rules_of(graph, share=0.1))
    assert not any("matmul" in rule.name for rule in rules_of(graph, share=0.5))
    assert not rules_of(graph, share=0.9)


def test_what_only_costs_the_same_is_left_out() -> None:
    graph = chain()
    names = [rule.name for rule in rules_of(graph, bound=lower_bound(unit))]
    assert "partial:dilated-to-dense-h%2-n+w%2-n" in names
    assert "partial:transposed" in [rule.name for rule in rules_of(graph)]
    assert "partial:transposed" not in names
    plain = rules_of(chain(dilation=1), bound=lower_bound(unit))
    assert not any("exchange" in rule.name for rule in plain)


def test_by_default_only_sparse_operators_are_looked_at() -> None:
    names = [rule.name for rule in rules_of(chain(), which=sparse)]
    assert "partial:dilated-to-dense-h%2-n+w%2-n" in names
    assert not any("matmul" in name for name in names)
    assert rules_of(chain(dilation=1))
    assert not rules_of(chain(dilation=1), which=sparse)
    assert [EqSatOptions(partial=value).partial for value in (True, False)] == ["all", "none"]  # type: ignore[arg-type]


def test_time_ends_the_search() -> None:
    rules, complete = partial_rules(chain(), MutationManager(**MANY), unit, seconds=-1.0)
    assert not rules
    assert not complete


def test_lower_bound_takes_the_better_layout() -> None:
    price = NodeCost(machine_for(host_target()), movement=0.0)
    turned: list[str] = []

    def noted(op: str, attrs: Any, ins: Any, out: Any) -> float:
        if op == "conv2d":
            turned.append(attrs.data_layout)
            return {"NCHW": 2.0, "NHWC": 1.0}[attrs.data_layout]
        return 0.0

    assert lower_bound(noted)(chain()) == 2.0
    assert set(turned) == {"NCHW", "NHWC"}
    assert lower_bound(price)(chain()) > 0


def test_the_pass_finds_space_to_batch() -> None:
    mod = from_onnx(csrnet(width=0.125, channels=48))
    options = {"node_limit": 2000, "restarts": 0, "candidates": 1, "verify": True}
    plain = relax.transform.EqSatOptimize(partial="none", **options)
    plain(mod)
    partial = relax.transform.EqSatOptimize(**options)
    partial(mod)
    assert plain.report is not None
    assert partial.report is not None
    used = [name for region in partial.report.regions for name in region.rules_used]
    assert any(name.startswith("partial:dilated-to-dense") for name in used)
    assert partial.report.predicted_ms_after < 0.8 * plain.report.predicted_ms_after
    assert "agree" in partial.report.verification


def test_strict_numerics_leave_mutants_out() -> None:
    mod = from_onnx(csrnet(width=0.02, channels=8))
    optimize = relax.transform.EqSatOptimize(EqSatOptions.preset("strict"), partial="all", verify=False)
    optimize(mod)
    assert optimize.report is not None
    names = [name for region in optimize.report.regions for i in region.iterations for name in i["applied"]]
    assert not any(name.startswith("partial:") for name in names)


def test_what_is_known_before_the_first_run_is_left_alone() -> None:
    graph = TensorGraph()
    x, w = leaf(graph, 0, (1, 2, 6, 6), weight=True), leaf(graph, 1, (2, 2, 3, 3), weight=True)
    graph.outputs = [graph.add("conv2d", (x, w), OPERATORS["conv2d"].make_attrs(padding=(1, 1, 1, 1)))]
    assert not rules_of(graph)
