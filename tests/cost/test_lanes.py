"""What vectors read after all loops are fused. The latencies are of one Zen 3 core, best of six schedules."""

from __future__ import annotations

import pytest
from tvm.relax import op

from tests.cost.builders import TARGET, module
from tvm_eqsat.cost.lanes import Lanes, lanes
from tvm_eqsat.cost.loops import blocks_of
from tvm_eqsat.cost.lower import kernels


def read(build, *shapes):
    (kernel,) = kernels(module(build, *shapes), TARGET)
    blocks = blocks_of(kernel.mod["main"])
    largest = max(b.points for b in blocks)
    return lanes([b for b in blocks if b.points == largest][-1], blocks)


def relu(e, x):
    return e(op.nn.relu(x))


def added(e, x, y):
    return e(op.nn.relu(e(op.add(x, y))))


def permuted(*axes):
    return lambda e, x: e(op.permute_dims(x, axes))


def heads(e, x):
    return e(op.permute_dims(e(op.reshape(x, (1, 64, 4, 64))), (0, 2, 1, 3)))


def transposed_heads(e, x):
    return e(op.permute_dims(e(op.reshape(x, (1, 64, 4, 64))), (0, 2, 3, 1)))


@pytest.mark.parametrize(
    ("build", "shapes", "expected"),
    [
        (relu, [(1, 56, 56, 64)], Lanes(1, 0, 0, 0)),
        (relu, [(1, 512, 28, 28)], Lanes(1, 0, 0, 0)),  # 3.2 MB in 73 us: no boundary falls between two chunks of 64
        (relu, [(1, 64, 56, 56)], Lanes(0, 0, 0, 1)),  # 1.6 MB in 316 us: they do at 56 × 56, but not at 56
        (added, [(1, 56, 56, 64), (1, 1, 1, 64)], Lanes(2, 0, 0, 0)),
        (added, [(1, 56, 56, 64), (1, 56, 56, 1)], Lanes(1, 1, 0, 0)),
        (added, [(1, 64, 28, 28), (1, 64, 1, 1)], Lanes(1, 0, 0, 1)),
        (permuted(0, 3, 1, 2), [(1, 64, 64, 128)], Lanes(0, 0, 1, 0)),
        (permuted(0, 2, 3, 1), [(1, 128, 64, 64)], Lanes(0, 0, 1, 0)),
        (permuted(0, 2, 1, 3), [(1, 12, 128, 64)], Lanes(1, 0, 0, 0)),
        (heads, [(64, 256)], Lanes(1, 0, 0, 0)),  # through the reshape
        (transposed_heads, [(64, 256)], Lanes(0, 0, 1, 0)),
    ],
)
def test_what_vectors_read(build, shapes, expected):
    assert read(build, *shapes) == expected


def test_a_sum_is_read_along_its_outputs():
    found = read(lambda e, x: e(op.nn.max_pool2d(x, (2, 2), (2, 2), layout="NHWC")), (1, 56, 56, 64))
    assert found == Lanes(1, 0, 0, 0)
    found = read(lambda e, x: e(op.nn.max_pool2d(x, (2, 2), (2, 2))), (1, 64, 128, 128))
    assert found == Lanes(0, 0, 1, 0)
