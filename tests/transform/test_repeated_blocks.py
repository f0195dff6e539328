"""Blocks that repeat are optimised once, unless layouts may pass from one to the next."""

from __future__ import annotations

from collections import Counter

import pytest
from tvm import relax
from tvm.relax.frontend.onnx import from_onnx

from examples.models import bert_base, light
from tvm_eqsat.run_report import Report

TARGET = {"kind": "llvm", "num-cores": 2}


def _bert(layers: int, **options: object) -> tuple[Report, Counter[str]]:
    """The pass's report, and how often each operator is called in the result."""
    optimize = relax.transform.EqSatOptimize(target=TARGET, **options)
    mod = optimize(from_onnx(bert_base(layers=layers, hidden=32, heads=2, seq=8, ffn=64, vocab=50)))
    relax.analysis.well_formed(mod)
    calls: Counter[str] = Counter()

    def visit(expr: relax.Expr) -> None:
        if isinstance(expr, relax.Call):
            calls[str(expr.op.name)] += 1

    relax.analysis.post_order_visit(mod["main"], visit)
    return optimize.report, calls


def test_a_layer_is_saturated_once() -> None:
    few, _ = _bert(4)
    many, calls = _bert(9)
    assert [r.copies for r in many.regions if r.copies > 1] == [9]
    assert sum(r.iterations[-1]["nodes"] for r in many.regions) == sum(r.iterations[-1]["nodes"] for r in few.regions)
    assert many.predicted_ms_before == pytest.approx(9 / 4 * few.predicted_ms_before, rel=0.2)
    assert many.changed
    assert calls["relax.matmul"] % 9 == 0


def test_the_result_is_the_same_as_without() -> None:
    with_, calls = _bert(4)
    without, others = _bert(4, reuse_blocks=False)
    assert [r.copies for r in without.regions] == [1]
    assert with_.rules_used() == without.rules_used()
    assert with_.predicted_ms_after == pytest.approx(without.predicted_ms_after, rel=1e-6)
    assert calls == others


def test_convolutions_choose_their_layout_together() -> None:
    """Shufflenet's units repeat, but NHWC only pays if no unit converts."""
    optimize = relax.transform.EqSatOptimize(target=TARGET, node_limit=2_000, candidates=1)
    optimize(from_onnx(light("shufflenet")))
    assert [r.copies for r in optimize.report.regions] == [1]
