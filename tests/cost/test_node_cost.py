"""Marginal prices of e-nodes."""

from __future__ import annotations

import time

import pytest

from tests.cost.builders import MACHINE, TARGET, module
from tests.graph.operand_types import NAMES, cases
from tvm_eqsat.cost.lower import kernels
from tvm_eqsat.cost.node_cost import NodeCost
from tvm_eqsat.cost.node_work import node_work
from tvm_eqsat.cost.roofline import seconds
from tvm_eqsat.graph.operator import OPERATORS, Fusion
from tvm_eqsat.graph.types import Symbol, TensorType, ValueType
from tvm_eqsat.rules.analysis import ACTIVATION, CONSTANT, WEIGHT, Info, TensorAnalysis

COST = NodeCost(MACHINE)


def tensor(*shape, const=ACTIVATION, dtype="float32"):
    return Info(TensorType(shape, dtype), const)


def price(op, *ins, cost=COST, **attrs):
    """Seconds, and the result's data."""
    full = OPERATORS[op].make_attrs(**attrs)
    out = TensorAnalysis().make(op, full, ins)
    assert out is not None, f"{op} doesn't apply"
    return cost(op, full, ins, out), out


def total(*prices):
    return sum(p for p, _ in prices)


def conv(x, filters, size, stride=1, layout="NCHW", groups=1, const=CONSTANT):
    channels = x.type.shape[layout.index("C")]
    shape, kernel = (filters, channels // groups, size, size), "OIHW"
    if layout == "NHWC":
        shape, kernel = (size, size, channels // groups, filters), "HWIO"
    return price(
        "conv2d", x, tensor(*shape, const=const), padding=(size // 2,) * 4, strides=(stride, stride),
        data_layout=layout, kernel_layout=kernel, groups=groups,
    )  # fmt: skip


X = tensor(1, 64, 56, 56)


def test_leaves_and_what_is_known_before_the_first_run_cost_nothing():
    constant, weight = tensor(64, 64, const=CONSTANT), tensor(64, 64, const=WEIGHT)
    assert COST("input", (), (), X) == 0
    assert COST("constant", (), (), constant) == 0
    assert price("add", constant, constant)[0] == 0
    assert price("matmul", weight, constant)[0] == 0
    assert price("add", weight, tensor(64, 64))[0] > 0


def test_a_constant_class_can_have_an_expensive_member():
    out = tensor(64, 64, const=CONSTANT)
    assert COST("matmul", OPERATORS["matmul"].make_attrs(), (tensor(64, 64), tensor(64, 64)), out) > 0


def test_a_constant_above_the_limit_is_computed_at_run_time():
    small = NodeCost(MACHINE, fold_limit=1 << 10)
    a = tensor(64, 64, const=CONSTANT)
    assert price("permute_dims", a, cost=small, axes=(1, 0))[0] > 0
    assert price("permute_dims", tensor(8, 8, const=CONSTANT), cost=small, axes=(1, 0))[0] == 0


def test_an_epilogue_is_cheap_and_reads_its_other_operand():
    convolution = conv(X, 64, 3)[0]
    relu, bias, residual = price("relu", X)[0], price("add", X, tensor(1, 64, 1, 1))[0], price("add", X, X)[0]
    assert 0 < relu < convolution / 100
    assert relu * 0.9 < bias < residual < convolution / 50


def test_transcendental_epilogues_are_not_cheap():
    x = tensor(128, 3072)
    assert price("gelu", x)[0] > 20 * price("relu", x)[0]


def test_views_cost_next_to_nothing():
    assert price("reshape", X, shape=(64, 3136))[0] < 1e-8
    assert price("permute_dims", tensor(1, 64, 1, 1), axes=(0, 2, 3, 1))[0] < 1e-8
    assert price("permute_dims", X, axes=(0, 2, 3, 1))[0] > 1e-5


def test_movement_is_scaled():
    free = NodeCost(MACHINE, movement=0.0)
    for op, attrs in (("permute_dims", {"axes": (0, 2, 3, 1)}), ("slice", {"axis": 1, "begin": 0, "end": 8})):
        assert price(op, X, **attrs)[0] > MACHINE.overhead > 1e-8 > price(op, X, cost=free, **attrs)[0] > 0
    assert conv(X, 64, 3) == conv(X, 64, 3)


def test_symbolic_dimensions_and_foreign_values_have_prices():
    n = Symbol(type("Var", (), {"name": "n"})(), hint=16)
    assert price("matmul", tensor(n, 64), tensor(64, 64))[0] > 0
    foreign = Info(ValueType(0, "object"), ACTIVATION)
    assert COST("opaque", (), (foreign, X), foreign) == MACHINE.overhead
    assert COST("opaque", (), (), foreign) == MACHINE.overhead


# -- decisions that the prices must get right -----------------------------------------------------------------------


def test_batch_norm_is_worth_folding():
    p = tensor(64, const=CONSTANT)
    y = conv(X, 64, 3)
    unfolded = total(y, price("batch_norm", y[1], p, p, p, p, axis=1, epsilon=1e-5))
    folded = total(y, price("add", y[1], tensor(1, 64, 1, 1, const=CONSTANT)))
    assert folded < unfolded


def test_adding_beats_stack_and_sum():
    parts = [X] * 4
    stacked = price("stack", *parts, axis=0)
    by_sum = total(stacked, price("sum", stacked[1], axes=(0,)))
    by_add = 3 * price("add", X, X)[0]
    assert by_add < by_sum


def test_merging_qkv_changes_little_by_itself():
    x = tensor(128, 768)
    three = 3 * price("matmul", x, tensor(768, 768, const=CONSTANT))[0]
    merged, out = price("matmul", x, tensor(768, 2304, const=CONSTANT))
    cuts = [price("slice", out, axis=1, begin=b, end=b + 768)[0] for b in (0, 768, 1536)]
    assert merged < three
    assert 0.97 < (merged + sum(cuts)) / three < 1.03


def test_small_matmuls_are_worth_merging():
    """NasRNN's: eight products of one vector."""
    x = tensor(1, 512)
    eight = 8 * price("matmul", x, tensor(512, 64, const=CONSTANT))[0]
    merged, out = price("matmul", x, tensor(512, 512, const=CONSTANT))
    free = NodeCost(MACHINE, movement=0.0)  # the gates that follow take the slices into their loops
    cuts = sum(price("slice", out, cost=free, axis=1, begin=b, end=b + 64)[0] for b in range(0, 512, 64))
    assert merged + cuts < eight


def test_enlarging_a_large_1x1_convolution_is_never_worth_it():
    one, three = conv(X, 64, 1), conv(X, 64, 3)
    joined = price("concat", one[1], three[1], axis=1)
    assert total(one, three, joined) < conv(X, 128, 3)[0]


def test_splitting_a_1x1_convolution_of_a_concat():
    """conv(concat(a, b)) = conv(a) + conv(b): the concat of whole channels is a fast copy, so it hardly matters."""
    joined = price("concat", X, X, axis=1)
    whole = total(joined, conv(joined[1], 64, 1))
    part = conv(X, 64, 1)
    split = total(part, part, price("add", part[1], part[1]))
    assert 0.9 < split / whole < 1.15


@pytest.mark.parametrize(("size", "stride"), [(3, 1), (3, 2), (7, 2)])
def test_channels_last_convolutions_are_faster(size, stride):
    nhwc = tensor(1, 56, 56, 64)
    assert conv(nhwc, 64, size, stride, "NHWC")[0] < conv(X, 64, size, stride)[0]


def test_one_convolution_pays_for_layout_conversions_only_if_it_is_heavy():
    def converted(channels, size, kernel):
        x = tensor(1, channels, size, size)
        there = price("permute_dims", x, axes=(0, 2, 3, 1))
        y = conv(there[1], channels, kernel, 1, "NHWC")
        back = price("permute_dims", y[1], axes=(0, 3, 1, 2))
        return total(there, y, back) / conv(x, channels, kernel)[0]

    assert converted(64, 56, 3) < 1
    assert converted(16, 56, 1) > 1.5


# -- agreement with the kernels -------------------------------------------------------------------------------------


def types_and_attrs():
    found = []
    for name in NAMES:
        record = OPERATORS[name]
        if record.fusion not in (Fusion.OUT_EWISE_FUSABLE, Fusion.REDUCE, Fusion.INJECTIVE):
            continue
        for types, attrs in cases(name, 3):
            if all(t.static for t in types):
                found.append(pytest.param(name, types, attrs, id=f"{name}-{'-'.join(map(str, types))}"[:60]))
    return found


@pytest.mark.parametrize(("name", "types", "attrs"), types_and_attrs())
def test_an_operator_alone_costs_what_its_kernel_costs(name, types, attrs):
    """The e-node's description agrees with what is read from the loops that TVM makes of it."""
    record = OPERATORS[name]
    out = record.infer(types, attrs)
    work = node_work(name, attrs, types, out)
    if work is None:
        return  # a view: TVM copies only where it is the function's own result, as it would be here
    if any(t.dtype != types[0].dtype for t in types):
        pytest.skip("the module builder gives all parameters one dtype")
    mod = module(lambda emit, *xs: emit(record.emit(list(xs), attrs)), *[t.shape for t in types], dtype=types[0].dtype)
    lowered = kernels(mod, TARGET)
    alone = seconds(MACHINE, work) + MACHINE.overhead
    fused = sum(k.count * (seconds(MACHINE, k.work) + MACHINE.overhead) for k in lowered)
    assert abs(alone - fused) <= 0.5 * MACHINE.overhead + 0.5 * fused


LARGE = [
    ("conv2d", [(1, 64, 28, 28), (64, 64, 3, 3)], {"padding": (1, 1, 1, 1)}),
    ("conv2d", [(1, 64, 28, 28), (64, 64, 3, 3)], {"padding": (1, 1, 1, 1), "strides": (2, 2)}),
    ("conv2d", [(1, 64, 28, 28), (64, 16, 3, 3)], {"padding": (1, 1, 1, 1), "groups": 4}),
    ("conv2d", [(1, 64, 28, 28), (64, 1, 3, 3)], {"padding": (1, 1, 1, 1), "groups": 64}),
    ("conv2d", [(1, 28, 28, 64), (1, 1, 64, 128)], {"data_layout": "NHWC", "kernel_layout": "HWIO"}),
    ("conv2d_transpose", [(1, 64, 14, 14), (64, 32, 2, 2)], {"strides": (2, 2)}),
    ("matmul", [(128, 768), (768, 768)], {}),
    ("matmul", [(1, 128, 768), (768, 64)], {}),
    ("matmul", [(12, 128, 64), (12, 64, 128)], {}),
    ("matmul", [(1, 768), (768, 768)], {}),
    ("softmax", [(12, 128, 128)], {"axis": 2}),
    ("layer_norm", [(128, 768), (768,), (768,)], {"axes": (1,), "epsilon": 1e-5}),
    ("batch_norm", [(1, 64, 56, 56), (64,), (64,), (64,), (64,)], {"axis": 1, "epsilon": 1e-5}),
    ("max_pool2d", [(1, 64, 56, 56)], {"pool_size": (3, 3), "strides": (2, 2)}),
    ("adaptive_avg_pool2d", [(1, 512, 7, 7)], {"output_size": (1, 1)}),
    ("sum", [(64, 56, 56)], {"axes": (1, 2)}),
    ("mean", [(64, 56, 56)], {"axes": (1, 2)}),
    ("concat", [(1, 64, 56, 56), (1, 64, 56, 56)], {"axis": 1}),
    ("concat", [(128, 768), (128, 768)], {"axis": 1}),
    ("slice", [(1, 64, 56, 56)], {"axis": 1, "begin": 8, "end": 40}),
    ("slice", [(128, 2304)], {"axis": 1, "begin": 768, "end": 1536}),
    ("pad", [(1, 64, 56, 56)], {"pad_width": (0, 0, 0, 0, 1, 1, 1, 1)}),
    ("permute_dims", [(1, 64, 56, 56)], {"axes": (0, 2, 3, 1)}),
    ("permute_dims", [(1, 128, 12, 64)], {"axes": (0, 2, 1, 3)}),
]


@pytest.mark.parametrize(("name", "shapes", "attrs"), LARGE, ids=lambda v: str(v)[:40])
def test_large_operators_cost_what_their_kernels_cost(name, shapes, attrs):
    record = OPERATORS[name]
    full = record.make_attrs(**attrs)
    types = [TensorType(s, "float32") for s in shapes]
    work = node_work(name, full, types, record.infer(types, full))
    (kernel,) = kernels(module(lambda emit, *xs: emit(record.emit(list(xs), full)), *shapes), TARGET)
    assert work is not None and work.kind is kernel.work.kind
    assert seconds(MACHINE, work) == pytest.approx(seconds(MACHINE, kernel.work), rel=0.4)


def test_prices_are_quick():
    w = tensor(64, 64, 3, 3, const=CONSTANT)
    attrs, ins = OPERATORS["conv2d"].make_attrs(padding=(1, 1, 1, 1)), (X, w)
    out = TensorAnalysis().make("conv2d", attrs, ins)
    COST("conv2d", attrs, ins, out)
    start = time.perf_counter()
    for _ in range(10_000):
        COST("conv2d", attrs, ins, out)
    assert (time.perf_counter() - start) / 10_000 < 20e-6  # about 1 µs on an idle machine
