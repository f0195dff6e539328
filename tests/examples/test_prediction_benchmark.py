"""The benchmark of predicted and measured programs: that it compares what it says."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from tvm import relax, te
from tvm.relax import op

from examples.benchmarks.prediction import figures
from examples.benchmarks.timing import without_rounds
from examples.benchmarks.together import Together
from examples.benchmarks.variants import variants
from tests.cost.builders import MACHINE, TARGET, conv, module
from tvm_eqsat.cost.lower import kernels
from tvm_eqsat.cost.pricer import RooflinePricer
from tvm_eqsat.cost.pricing import price_module
from tvm_eqsat.cost.store import KernelStore


def row(predicted, measured, now):
    return {
        "predicted_ms": predicted, "measured_ms": measured, "sum_now_ms": now, "measured_share": 1.0, "pricing_ms": 50.0
    }  # fmt: skip


def test_figures():
    found = figures([row(1.1, 1.0, 1.0), row(2.4, 2.0, 2.2), row(2.0, 4.0, 3.6), row(9.0, 8.0, 8.0)])
    assert found["median_error"] == pytest.approx((0.125 + 0.2) / 2)
    assert found["bias"] == pytest.approx((0.1 + 0.125) / 2)
    assert found["median_error_now"] == pytest.approx(0.05)
    assert found["spearman"] == pytest.approx(0.8)
    assert (found["fastest_ms"], found["slowest_ms"], found["regret"]) == (1.0, 8.0, 0.0)
    assert figures([row(1.0, 2.0, 2.0), row(2.0, 1.0, 1.0)])["regret"] == pytest.approx(1.0)


def test_what_slows_a_whole_round_is_left_out():
    programs, rounds = np.array([1.0, 1.1, 4.0]), np.array([1.0, 3.0, 0.9, 1.0, 2.0])
    turns = np.outer(programs, rounds)
    turns[0, 3] *= 5.0  # one turn alone
    assert without_rounds(turns.tolist()) == pytest.approx(programs)
    assert without_rounds([[2.0], [3.0]]) == pytest.approx([2.0, 3.0])


def test_variants_are_different_programs_with_the_same_meaning(tmp_path):
    weights = np.random.default_rng(0).standard_normal((2, 16, 8, 1, 1)).astype("float32")

    def build(e, x):
        parts = [e(op.nn.relu(conv(e, x, relax.const(w), padding=0))) for w in weights]
        return e(op.concat(parts, 1))

    def price(mod):
        return price_module(mod, TARGET, RooflinePricer(MACHINE)).seconds

    mod = module(build, (1, 8, 12, 12))
    found = variants(mod, MACHINE, 5, price)
    assert len(found) == 5 and found[0].mod.same_as(mod)
    prices = [price(variant.mod) for variant in found]
    assert len(set(prices)) == 5 and prices[1:] == sorted(prices[1:])
    x = {"x": np.random.default_rng(1).standard_normal((1, 8, 12, 12)).astype("float32")}
    target = tvm.target.Target("llvm")
    together = Together([variant.mod for variant in found], target, KernelStore(tmp_path, target))
    results = [together.program(number, x)()[0] for number in range(5)]
    for other in results[1:]:
        np.testing.assert_allclose(other, results[0], rtol=1e-4, atol=1e-5)
    wanted = {kernel.hash for variant in found for kernel in kernels(variant.mod, target)}
    calls = together.calls(wanted)
    assert calls.keys() == wanted and len(wanted) < sum(len(kernels(v.mod, target)) for v in found)
    assert all(0 < call() < 1 for call in calls.values())


def test_programs_in_one_module_share_kernels_but_not_names(tmp_path):
    def scaled(factor):
        builder, x = relax.BlockBuilder(), relax.Var("x", relax.TensorType((4, 4), "float32"))
        with builder.function("main", [x]):
            with builder.dataflow():
                y = builder.emit_te(
                    lambda a: te.compute((4, 4), lambda i, j: a[i, j] * factor), x, primfunc_name_hint="f"
                )
                z = builder.emit_output(op.nn.relu(y))
            builder.emit_func_output(z)
        return builder.get()

    target = tvm.target.Target("llvm")
    together = Together([scaled(2.0), scaled(2.0), scaled(3.0)], target, KernelStore(tmp_path, target))
    x = {"x": np.ones((4, 4), "float32")}
    assert [together.program(number, x)()[0][0, 0] for number in range(3)] == [2, 2, 3]
    assert len(together.kernels) == len(together.calls(together.kernels)) == 2
