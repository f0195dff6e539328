"""Kernels that turn data, in squares."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from tvm.relax import op

from tests.cost.builders import TARGET, module
from tvm_eqsat.cost.lower import kernels
from tvm_eqsat.cost.space import SquareProposals
from tvm_eqsat.cost.space.squares import squares


def kernel(build, *shapes):
    (found,) = kernels(module(build, *shapes), TARGET)
    return found.mod


def turn(*axes):
    return lambda e, x: e(op.permute_dims(x, list(axes)))


def turn_and_add(e, x, y):
    return e(op.nn.relu(e(op.add(e(op.permute_dims(x, [0, 2, 3, 1])), y))))


def turn_and_pad(e, x):
    return e(op.nn.pad(e(op.permute_dims(x, [0, 2, 1])), [0, 0, 0, 0, 4, 4]))


def heads(e, x):
    return e(op.permute_dims(e(op.reshape(x, (1, 24, 4, 16))), [0, 2, 3, 1]))


def run(mod, *arrays):
    out = tvm.runtime.empty([int(n) for n in mod["main"].params[-1].ty.shape], "float32")
    tvm.compile(mod, target=TARGET)(*map(tvm.runtime.tensor, arrays), out)
    return out.numpy()


@pytest.mark.parametrize("rows", [8, 16])
@pytest.mark.parametrize(
    ("build", "shapes", "expected"),
    [
        (turn(0, 2, 3, 1), [(1, 24, 5, 32)], lambda x: x.transpose(0, 2, 3, 1)),
        (turn(0, 3, 1, 2), [(1, 7, 21, 19)], lambda x: x.transpose(0, 3, 1, 2)),
        (turn(1, 0), [(40, 17)], lambda x: x.T),
        (turn(0, 2, 1), [(3, 16, 24)], lambda x: x.transpose(0, 2, 1)),
        (heads, [(1, 24, 64)], lambda x: x.reshape(1, 24, 4, 16).transpose(0, 2, 3, 1)),
        (turn_and_pad, [(2, 24, 40)], lambda x: np.pad(x.transpose(0, 2, 1), [(0, 0), (0, 0), (4, 4)])),
        (
            turn_and_add,
            [(1, 24, 3, 17), (1, 3, 17, 24)],
            lambda x, y: np.maximum(x.transpose(0, 2, 3, 1) + y, 0),
        ),
    ],
)
def test_they_move_every_value_where_it_belongs(build, shapes, expected, rows) -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape).astype("float32") for shape in shapes]
    sch = squares(kernel(build, *shapes), rows, 8, 2)
    assert sch is not None
    np.testing.assert_array_equal(run(sch.mod, *arrays), expected(*arrays))


@pytest.mark.parametrize(
    ("build", "shapes"),
    [
        (turn(1, 0, 2), [(16, 24, 32)]),  # rows stay rows
        (lambda e, x: e(op.nn.relu(x)), [(64, 64)]),
        (turn(1, 0), [(64, 4)]),  # smaller than a square
        (lambda e, x: e(op.sum(x, axis=[0])), [(64, 64)]),
        (lambda e, x: e(op.nn.softmax(x)), [(64, 64)]),
    ],
)
def test_other_kernels_have_none(build, shapes) -> None:
    assert squares(kernel(build, *shapes), 8, 8, 2) is None


def test_each_is_proposed_once() -> None:
    mod = kernel(turn(1, 0), (48, 64))
    proposals = SquareProposals(mod, TARGET, 2)
    found = [proposals.next(), proposals.next()]
    assert len({str(candidate.sch.trace) for candidate in found}) == 2 and proposals.exhausted
    assert proposals.next() is None and all(proposals.learn(candidate, 1e-3) for candidate in found)
    assert not SquareProposals(mod, TARGET, 2).learn(found[0], 1e-3)
    assert SquareProposals(mod, tvm.target.Target("cuda", host="llvm"), 2).exhausted
