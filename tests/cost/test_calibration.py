"""Roofline prices scaled by what was measured."""

from __future__ import annotations

from dataclasses import replace
from math import inf, nan

import pytest
from tvm.relax import op
from tvm.s_tir import Schedule
from tvm.s_tir import meta_schedule as ms

from tests.cost.builders import MACHINE, TARGET, conv, module
from tvm_eqsat.cost.calibration import Calibration
from tvm_eqsat.cost.database import index_of
from tvm_eqsat.cost.lower import kernels
from tvm_eqsat.cost.node_cost import NodeCost
from tvm_eqsat.cost.predict import Records
from tvm_eqsat.cost.roofline import EFFICIENCY, Kind, Work, seconds
from tvm_eqsat.graph.operator import OPERATORS
from tvm_eqsat.graph.types import TensorType
from tvm_eqsat.rules.analysis import Info, TensorAnalysis


def dense(width, depth=64.0, rows=3136, **more):
    nbytes = 4.0 * (rows * depth + rows * width + depth * width)
    return Work(Kind.DENSE, nbytes, 2.0 * rows * depth * width, depth, width, **more)


def took(work, factor):
    return work, factor * seconds(MACHINE, work)


SLIDING = replace(dense(56), kind=Kind.SLIDING)
STREAM = Work(Kind.STREAM, 8e6)


def factor(work, *pairs):
    return Calibration(pairs).factor(work, MACHINE)


def test_without_measurements_the_roofline_stands():
    assert factor(STREAM) == 1
    assert factor(STREAM, (STREAM, inf), (STREAM, 0.0), (STREAM, nan)) == 1


def test_what_was_measured_is_known():
    found = Calibration([took(dense(64), 2.0), took(dense(1024), 0.8), took(STREAM, 3.0)])
    assert len(found) == 3
    for work, expected in ((dense(64), 2.0), (dense(1024), 0.8), (STREAM, 3.0)):
        assert found.factor(work, MACHINE) == pytest.approx(expected, rel=0.06)


def test_the_same_operator_with_another_epilogue_decides():
    work = dense(64)
    fused = replace(work, nbytes=1.4 * work.nbytes, more_flops=4e5)  # a sum with another tensor, too
    others = [took(dense(w, d), 4.0) for w in (96, 128, 48) for d in (32.0, 288.0)]
    assert factor(work, took(fused, 1.0), *others) == pytest.approx(1.0, abs=0.25)


def test_the_nearer_of_two_kernels_counts_more():
    pairs = took(dense(32), 1.0), took(dense(512), 3.0)
    found = [factor(dense(width), *pairs) for width in (32, 64, 256, 512)]
    assert found == sorted(found) and found[0] < 1.3 and found[-1] > 2.3


def test_far_away_the_mean_of_the_kind_decides():
    pairs = [took(dense(64, 64.0 * 2**i), f) for i, f in enumerate((2.0, 4.0, 2.0, 4.0))]
    far = Work(Kind.DENSE, 1e3, 1e3, 4, 4)
    assert factor(far, *pairs) == pytest.approx(8**0.5, rel=0.2)


def test_a_kind_that_was_never_measured_is_no_bargain():
    pairs = [took(dense(64, 64.0 * 2**i), 3.0) for i in range(8)]
    assert factor(SLIDING, *pairs) == pytest.approx(3.0, rel=0.2)
    assert 1 < factor(SLIDING, pairs[0]) < 2  # a single kernel doesn't prove it


def test_kernels_that_take_no_time_tell_little():
    tiny = Work(Kind.STREAM, 64.0), 1e-6  # a thousand times its roofline
    assert factor(Work(Kind.STREAM, 4e6), tiny, took(STREAM, 1.0)) == pytest.approx(1.0, rel=0.2)


def test_it_is_the_same_in_any_order():
    pairs = [took(dense(32 * i), 1 + i / 10) for i in range(1, 12)]
    assert factor(dense(100), *pairs) == pytest.approx(factor(dense(100), *reversed(pairs)), rel=1e-12)


# -- prices of e-nodes -------------------------------------------------------------------------------------------------


def node_price(cost, name, *shapes, **attrs):
    full = OPERATORS[name].make_attrs(**attrs)
    ins = [Info(TensorType(shape, "float32"), 0) for shape in shapes]
    return cost(name, full, ins, TensorAnalysis().make(name, full, ins))


def test_a_nodes_roofline_time_is_scaled_but_not_its_call():
    slow = Calibration([took(dense(64, 64.0 * 2**i), 3.0) for i in range(8)])
    plain, scaled = NodeCost(MACHINE), NodeCost(MACHINE, calibration=slow)
    price, three = (node_price(cost, "matmul", (3136, 64), (64, 64)) for cost in (plain, scaled))
    assert three - MACHINE.overhead == pytest.approx(3 * (price - MACHINE.overhead), rel=0.1)
    for name, shapes, attrs in (
        ("relu", [(3136, 64)], {}),
        ("add", [(3136, 64), (64,)], {}),
        ("reshape", [(3136, 64)], {"shape": (56, 56, 64)}),
    ):
        assert node_price(scaled, name, *shapes, **attrs) == node_price(plain, name, *shapes, **attrs)


CONVS = [
    (conv_layout, size)
    for conv_layout, size in (("NCHW", 56), ("NHWC", 56), ("NCHW", 28), ("NHWC", 28))
]  # fmt: skip


def _conv(layout, size):
    data = (1, 64, size, size) if layout == "NCHW" else (1, size, size, 64)
    weight = (64, 64, 3, 3) if layout == "NCHW" else (3, 3, 64, 64)
    return data, weight


def _attrs(layout):
    kernel = "OIHW" if layout == "NCHW" else "HWIO"
    return {"padding": (1, 1, 1, 1), "data_layout": layout, "kernel_layout": kernel}


def test_a_database_turns_the_choice_of_layout(tmp_path):
    """The roofline prefers channels last; this database says that it is four times as slow as was thought."""
    database = ms.database.JSONDatabase(work_dir=str(tmp_path))
    for layout, size in CONVS[:2]:
        mod = module(lambda e, x, w, lay=layout: e(op.nn.relu(conv(e, x, w, layout=lay))), *_conv(layout, size))
        (kernel,) = kernels(mod, TARGET)
        measured = seconds(MACHINE, kernel.work) * {"NCHW": 1.0, "NHWC": 4.0}[layout]
        trace, arguments = Schedule(kernel.mod).trace, ms.arg_info.ArgInfo.from_entry_func(kernel.mod)
        workload = database.commit_workload(kernel.mod)
        database.commit_tuning_record(ms.database.TuningRecord(trace, workload, [measured], TARGET, arguments))
    samples = Records(index_of(tmp_path, TARGET)).samples()
    calibration = Calibration((s.kernel.work, s.best()) for s in samples)
    assert len(calibration) == 2
    for size in (56, 28):  # the second was never measured, but it is nearly the same
        price = {
            (name, layout): node_price(cost, "conv2d", *_conv(layout, size), **_attrs(layout))
            for name, cost in (("before", NodeCost(MACHINE)), ("after", NodeCost(MACHINE, calibration=calibration)))
            for layout in ("NCHW", "NHWC")
        }
        assert EFFICIENCY[Kind.DENSE] > EFFICIENCY[Kind.SLIDING]
        assert price["before", "NHWC"] < price["before", "NCHW"]
        assert price["after", "NHWC"] > price["after", "NCHW"]
