"""Exact evaluation in a prime field."""

from __future__ import annotations

import numpy as np
import pytest

from tests.graph.operand_types import cases, values
from tvm_eqsat.errors import IllTyped
from tvm_eqsat.graph.ops import OPERATORS
from tvm_eqsat.graph.tensor_graph import Constant, TensorGraph
from tvm_eqsat.graph.types import TensorType, is_float
from tvm_eqsat.verify.field import PRIME, evaluate, random_leaves


class Program:
    """A ``TensorGraph`` under construction, with short names."""

    def __init__(self):
        self.graph = TensorGraph()

    def input(self, index, *shape, dtype="float32"):
        return self.graph.add("input", (), OPERATORS["input"].make_attrs(index=index, type=TensorType(shape, dtype)))

    def constant(self, value):
        return self.graph.add("constant", (), OPERATORS["constant"].make_attrs(value=Constant(np.asarray(value))))

    def __getattr__(self, op):
        return lambda *nodes, **attrs: self.graph.add(op, nodes, OPERATORS[op].make_attrs(**attrs))

    def value(self, *outputs, seed=0, field=True):
        self.graph.outputs = list(outputs)
        return evaluate(self.graph, random_leaves(self.graph, seed, field=field), field=field)


def test_associativity_is_exact():
    left, right = Program(), Program()
    (a, b, c), (d, e, f) = [[p.input(0, 4, 9), p.input(1, 9, 5), p.input(2, 5, 3)] for p in (left, right)]
    (x,) = left.value(left.matmul(left.matmul(a, b), c))
    (y,) = right.value(right.matmul(d, right.matmul(e, f)))
    assert x.dtype == object and x.shape == (4, 3)
    assert np.array_equal(x, y)
    assert all(0 <= v < PRIME for v in x.flat)


def test_a_small_error_is_found():
    right, wrong = Program(), Program()
    (x,) = right.value(right.conv2d(right.input(0, 1, 2, 6, 6), right.input(1, 3, 2, 3, 3), padding=(1, 1, 1, 1)))
    turned = wrong.permute_dims(wrong.input(1, 3, 2, 3, 3), axes=(0, 1, 3, 2))
    (y,) = wrong.value(wrong.conv2d(wrong.input(0, 1, 2, 6, 6), turned, padding=(1, 1, 1, 1)))
    assert not np.array_equal(x, y)


def test_enlarging_a_kernel_with_zeros_is_exact():
    small, large = Program(), Program()
    (x,) = small.value(small.conv2d(small.input(0, 1, 3, 5, 5), small.input(1, 4, 3, 1, 1)))
    padded = large.pad(large.input(1, 4, 3, 1, 1), pad_width=(0, 0, 0, 0, 1, 1, 1, 1))
    (y,) = large.value(large.conv2d(large.input(0, 1, 3, 5, 5), padded, padding=(1, 1, 1, 1)))
    assert np.array_equal(x, y)


def test_fractions_have_exact_counterparts():
    left, right = Program(), Program()
    x = left.input(0, 3)
    parts = [left.multiply(x, left.constant(np.float32(factor))) for factor in (0.375, 0.625)]
    (a,) = left.value(left.add(*parts))
    assert np.array_equal(a, random_leaves(left.graph)[0])
    y = right.input(0, 3)
    (b,) = right.value(right.multiply(y, right.constant(np.float32(0.1))))
    assert not np.array_equal(b, random_leaves(right.graph)[0] // 10)


def test_elementwise_operators_are_unknown_functions():
    """They commute with movement, and with nothing else."""
    left, right = Program(), Program()
    x, y = left.input(0, 2, 3), left.input(1, 2, 3)
    (a,) = left.value(left.relu(left.concat(x, y, axis=0)))
    x, y = right.input(0, 2, 3), right.input(1, 2, 3)
    (b,) = right.value(right.concat(right.relu(x), right.relu(y), axis=0))
    (c,) = right.value(right.concat(right.sigmoid(x), right.relu(y), axis=0))
    (d,) = right.value(right.relu(right.relu(right.concat(x, y, axis=0))))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c) and not np.array_equal(a, d)


def test_indices_stay_indices():
    p = Program()
    table, rows = p.input(0, 4, 3), p.input(1, 5, dtype="int64")
    p.graph.outputs = [p.take(table, rows, axis=0)]
    leaves = random_leaves(p.graph)
    assert set(leaves[1].tolist()) <= {0, 1}
    (found,) = evaluate(p.graph, leaves, field=True)
    assert np.array_equal(found, leaves[0][leaves[1]])


def test_equal_seeds_give_equal_inputs_and_others_do_not():
    p = Program()
    p.graph.outputs = [p.add(p.input(0, 4), p.input(7, 4))]
    a, b, c = random_leaves(p.graph, 1), random_leaves(p.graph, 1), random_leaves(p.graph, 2)
    assert set(a) == {0, 7}
    assert np.array_equal(a[7], b[7]) and not np.array_equal(a[7], c[7]) and not np.array_equal(a[0], a[7])


def test_floating_point_follows_the_table():
    p = Program()
    x = p.input(0, 3, 4)
    (found,) = p.value(p.softmax(x, axis=1), field=False)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-6)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda p: p.softmax(p.input(0, 3, 4), axis=1), "neither linear nor elementwise"),
        (lambda p: p.pad(p.input(0, 3), pad_width=(1, 1), value=1.0), "neither linear nor elementwise"),
        (lambda p: p.add(p.input(0, 3), p.constant(np.float32(np.inf))), "no counterpart"),
    ],
)
def test_what_has_no_exact_value_is_refused(build, message):
    p = Program()
    with pytest.raises(IllTyped, match=message):
        p.value(build(p))


def test_missing_values_and_opaque_operators_are_refused():
    p = Program()
    p.graph.outputs = [p.relu(p.input(3, 2))]
    with pytest.raises(IllTyped, match="input 3 has no value"):
        evaluate(p.graph, {})
    attrs = OPERATORS["opaque"].make_attrs(key=0, type=TensorType((2,), "float32"))
    p.graph.outputs = [p.graph.add("opaque", (), attrs)]
    with pytest.raises(IllTyped, match="opaque"):
        evaluate(p.graph, {})


@pytest.mark.parametrize("op", [name for name, record in OPERATORS.items() if record.linear_in])
def test_every_linear_operator_keeps_its_meaning(op):
    """With small integers nothing overflows, so NumPy's result in int64 modulo the prime is the field's."""
    record, compared = OPERATORS[op], 0
    for number, (types, attrs) in enumerate(cases(op)):
        if not record.linear_if(attrs):
            continue
        arrays = values(op, number)
        small = [
            np.round(4 * a).astype(np.int64) if is_float(t.dtype) else a for a, t in zip(arrays, types, strict=True)
        ]
        p = Program()
        nodes = [p.input(i, *t.shape, dtype=t.dtype) for i, t in enumerate(types)]
        p.graph.outputs = [p.graph.add(op, nodes, attrs)]
        (found,) = evaluate(p.graph, dict(enumerate(small)), field=True)
        wide = [a.astype(np.int64) if i in record.linear_in or record.arity is None else a for i, a in enumerate(small)]
        expected = np.asarray(record.numpy(wide, attrs))
        assert np.array_equal(found.astype(np.int64), expected.astype(np.int64) % PRIME)
        compared += 1
    assert compared
