"""What kernels do, read from their loops."""

from __future__ import annotations

import pytest
import tvm
from tvm.relax import op

from tests.cost.builders import MACHINE, TARGET, constant, conv, module
from tvm_eqsat.cost.lower import kernels
from tvm_eqsat.cost.roofline import Kind, in_rows, seconds

X, W = (1, 16, 32, 32), (16, 16, 3, 3)
HWC, HWIO = (1, 32, 32, 16), (3, 3, 16, 16)


def only(build, *shapes, **kw):
    (found,) = kernels(module(build, *shapes, **kw), TARGET)
    return found


@pytest.mark.parametrize(
    ("build", "shapes", "kind"),
    [
        (lambda e, x, w: e(op.matmul(x, w)), ((8, 32), (32, 64)), Kind.DENSE),
        (lambda e, x, w: e(op.matmul(x, w)), ((4, 8, 32), (4, 32, 64)), Kind.DENSE),
        (lambda e, x, w: e(op.matmul(x, w)), ((1, 32), (32, 64)), Kind.NO_REUSE),
        (lambda e, x, w: e(op.matmul(x, w)), ((64, 32), (32, 1)), Kind.NO_REUSE),
        (conv, (X, W), Kind.SLIDING),
        (lambda e, x, w: conv(e, x, w, strides=2), (X, W), Kind.STRIDED),
        (lambda e, x, w: conv(e, x, w, padding=0), (X, (16, 16, 1, 1)), Kind.SLIDING),
        (lambda e, x, w: conv(e, x, w, layout="NHWC"), (HWC, HWIO), Kind.DENSE),
        (lambda e, x, w: conv(e, x, w, layout="NHWC", strides=2), (HWC, HWIO), Kind.DENSE),
        (lambda e, x, w: e(op.nn.conv2d(x, w, data_layout="NHWC", kernel_layout="OHWI")), (HWC, (8, 3, 3, 16)),
         Kind.TRANSPOSED),
        (lambda e, x, w: conv(e, x, w, groups=16), (X, (16, 1, 3, 3)), Kind.NO_REUSE),
        (lambda e, x, w: conv(e, x, w, groups=16, layout="NHWC"), (HWC, (3, 3, 1, 16)), Kind.NO_REUSE),
        (lambda e, x, w: conv(e, x, w, groups=4), (X, (16, 4, 3, 3)), Kind.GROUPED),
        (lambda e, x: e(op.nn.max_pool2d(x, (2, 2))), (X,), Kind.REDUCE),
        (lambda e, x: e(op.nn.softmax(x)), ((8, 64),), Kind.REDUCE),
        (lambda e, x: e(op.sum(x, [1])), ((8, 64),), Kind.REDUCE),
        (lambda e, x: e(op.nn.relu(x)), (X,), Kind.STREAM),
        (lambda e, x, y: e(op.add(x, y)), (X, (16, 1, 1)), Kind.STREAM),
        (lambda e, x: e(op.strided_slice(x, [1], [4], [8])), (X,), Kind.STREAM),
        (lambda e, x: e(op.nn.pad(x, [0, 0, 0, 0, 1, 1, 1, 1])), (X,), Kind.STREAM),
        (lambda e, x, y: e(op.concat([x, y], 1)), (X, X), Kind.STREAM),
        (lambda e, x, y: e(op.concat([x, y], 3)), (X, X), Kind.SHUFFLE),
        (lambda e, x: e(op.permute_dims(x, (0, 2, 3, 1))), (X,), Kind.SHUFFLE),
        (lambda e, x: e(op.permute_dims(e(op.reshape(x, (8, 4, 16))), (1, 0, 2))), ((8, 64),), Kind.STREAM),
    ],
)  # fmt: skip
def test_kind(build, shapes, kind):
    assert only(build, *shapes).work.kind is kind


def test_arithmetic_and_traffic_of_a_fused_convolution():
    found = only(lambda e, x, w, b: e(op.nn.relu(e(op.add(conv(e, x, w), b)))), X, W, (1, 16, 1, 1))
    outputs = 16 * 32 * 32
    assert found.work.flops == 2 * outputs * 16 * 9
    assert found.work.depth == 16 * 9 and found.work.width == 32
    assert found.work.more_flops == 2 * outputs
    assert found.nbytes == 4 * (2 * outputs + 16 * 16 * 9 + 16)
    assert found.work.carried == 4 * outputs
    assert MACHINE.added(found.work.carried) > MACHINE.added(0.0) == MACHINE.overhead


def test_a_slice_reads_only_what_it_takes():
    found = only(lambda e, x: e(op.strided_slice(x, [1], [768], [1536])), (128, 2304))
    assert found.nbytes == 2 * 4 * 128 * 768
    assert found.work.carried == 4 * 128 * 768


def test_transcendental_functions_are_counted():
    assert only(lambda e, x: e(op.exp(x)), (64, 64)).work.calls == 64 * 64
    assert only(lambda e, x: e(op.nn.gelu(x)), (64, 64)).work.calls == 2 * 64 * 64
    assert only(lambda e, x: e(op.nn.relu(x)), (64, 64)).work.calls == 0


@pytest.mark.parametrize(
    "build", [lambda e, x: e(op.sort(x, 1)), lambda e, x: e(op.argsort(x, 1)), lambda e, x: e(op.cumsum(x, 1))]
)
def test_loops_that_are_not_made_of_blocks_still_move_their_data(build):
    found = only(build, (64, 64))
    assert found.nbytes >= 4 * 2 * 64 * 64 and seconds(MACHINE, found.work) > 0


def test_symbolic_shapes_count_as_one():
    found = only(lambda e, x, w: e(op.matmul(x, w)), (tvm.tirx.Var("n", "int64"), 32), (32, 64))
    assert found.work.flops == 2 * 32 * 64


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((1, 56, 56, 64), True), ((128, 768), True), ((1, 64, 32, 32), True), ((8, 4, 2), True), ((200_704,), True),
        ((1, 64, 56, 56), False), ((1, 56, 56, 96), False), ((1, 512, 7, 7), False), ((), True), ((1, 1), True),
    ],
)  # fmt: skip
def test_in_rows(shape, expected):
    assert in_rows(shape) is expected


#: Best of 32–64 MetaSchedule trials on one core of an EPYC (Zen 3), in microseconds; see ``roofline.py``.
MEASURED = [
    (lambda e, x, w: conv(e, x, w, layout="NHWC"), ((1, 56, 56, 64), (3, 3, 64, 64)), 2615),
    (lambda e, x, w: conv(e, x, w, padding=0, layout="NHWC"), ((1, 56, 56, 64), (1, 1, 64, 256)), 1800),
    (lambda e, x, w: conv(e, x, w, padding=0), ((1, 64, 56, 56), (256, 64, 1, 1)), 2003),
    (lambda e, x, w: conv(e, x, w, padding=0), ((1, 512, 28, 28), (128, 512, 1, 1)), 2881),
    (lambda e, x, w: conv(e, x, w, strides=2), ((1, 128, 56, 56), (128, 128, 3, 3)), 6123),
    (lambda e, x, w: conv(e, x, w, groups=144), ((1, 144, 56, 56), (144, 1, 3, 3)), 857),
    (lambda e, x, w: e(op.matmul(x, w)), ((128, 768), (768, 768)), 2612),
    (lambda e, x, w: e(op.matmul(x, w)), ((128, 768), (768, 2304)), 8024),
    (lambda e, x, w: e(op.matmul(x, w)), ((1, 2048), (2048, 1000)), 308),
    (lambda e, x, y: e(op.nn.relu(e(op.add(x, y)))), ((1, 64, 56, 56),) * 2, 306),
    (lambda e, x, y: e(op.nn.relu(e(op.add(x, y)))), ((1, 56, 56, 64),) * 2, 41),
    (lambda e, x, y: e(op.concat([x, y], 1)), ((1, 64, 56, 56),) * 2, 44),
    (lambda e, x, y: e(op.concat([x, y], 3)), ((1, 56, 56, 64),) * 2, 182),
    (lambda e, x: e(op.strided_slice(x, [1], [768], [1536])), ((128, 2304),), 16),
    (lambda e, x: e(op.strided_slice(x, [1], [32], [64])), ((1, 64, 56, 56),), 10),
    (lambda e, x: e(op.permute_dims(x, (0, 2, 3, 1))), ((1, 64, 56, 56),), 46),
    (lambda e, x: e(op.permute_dims(x, (0, 3, 1, 2))), ((1, 56, 56, 64),), 188),
    (lambda e, x: e(op.permute_dims(x, (1, 0))), ((768, 768),), 845),
    (lambda e, x, y, z: e(op.concat([x, y, z], 1)), ((128, 768),) * 3, 461),
    (lambda e, x: e(op.nn.gelu(x)), ((128, 3072),), 1877),
    # kernels of SqueezeNet
    (conv, ((1, 16, 55, 55), (64, 16, 3, 3)), 2104),
    (lambda e, x, w: conv(e, x, w, layout="NHWC"), ((1, 55, 55, 16), (3, 3, 16, 64)), 912),
    (conv, ((1, 48, 13, 13), (192, 48, 3, 3)), 1002),
    (lambda e, x, w: conv(e, x, w, layout="NHWC"), ((1, 13, 13, 48), (3, 3, 48, 192)), 659),
    (lambda e, x, w: conv(e, x, w, padding=0), ((1, 16, 55, 55), (64, 16, 1, 1)), 299),
    (lambda e, x, w: conv(e, x, w, padding=0, layout="NHWC"), ((1, 55, 55, 16), (1, 1, 16, 64)), 126),
    (lambda e, x, w: conv(e, x, w, padding=0, strides=2), ((1, 3, 224, 224), (64, 3, 3, 3)), 1156),
    (lambda e, x: e(op.nn.max_pool2d(x, (3, 3), (2, 2))), ((1, 64, 111, 111),), 126),
    (lambda e, x: e(op.mean(x, [2, 3])), ((1, 1000, 13, 13),), 13),
]


def test_prices_rank_measured_kernels():
    """Rank correlation over kernels from 16 µs to 8 ms, and no price off by more than a factor of three."""
    prices = [2 * seconds(MACHINE, only(build, *shapes).work) for build, shapes, _ in MEASURED]
    times = [t * 1e-6 for *_, t in MEASURED]
    ratios = [p / t for p, t in zip(prices, times, strict=True)]
    assert all(1 / 3 < r < 3 for r in ratios), ratios
    order = [(i, j) for i in range(len(times)) for j in range(len(times)) if 1.5 * times[i] < times[j]]
    assert sum(prices[i] < prices[j] for i, j in order) > 0.95 * len(order)


def test_scalar_constants_do_not_confuse_the_anchor():
    found = only(lambda e, x: conv(e, x, constant(16, 16, 3, 3)), X)
    assert found.work.kind is Kind.SLIDING
