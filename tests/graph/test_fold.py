"""Constant folding."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from tvm_eqsat.graph.fold import fold_constants
from tvm_eqsat.graph.operator import OPERATORS
from tvm_eqsat.graph.tensor_graph import Constant, TensorGraph
from tvm_eqsat.graph.types import TensorType, ValueType


class Graph(TensorGraph):
    """A graph with shorter ways to add leaves."""

    def constant(self, value: Any) -> int:
        return self.add("constant", (), OPERATORS["constant"].make_attrs(value=Constant(np.asarray(value))))

    def input(self, *shape: int) -> int:
        attrs = OPERATORS["input"].make_attrs(index=0, type=TensorType(shape, "float32"))
        return self.add("input", (), attrs)


ONES = np.ones((2, 3), "float32")


def test_only_the_values_that_are_needed_remain() -> None:
    g = Graph()
    c = g.constant(ONES)
    a = g.add("add", (c, c))
    b = g.add("exp", (a,))
    d = g.add("multiply", (a, b))
    e = g.add("add", (d, g.input(2, 3)))
    g.add("tanh", (c,))  # dead
    g.outputs = [e, b]
    folded = fold_constants(g, 1000)
    assert set(folded) == {b, d}
    np.testing.assert_allclose(folded[d].array, 2 * np.exp(2 * ONES), rtol=1e-6)


def test_a_value_used_by_an_output_and_a_folded_node_remains() -> None:
    g = Graph()
    a = g.add("exp", (g.constant(ONES),))
    b = g.add("add", (a, a))
    g.outputs = [a, b]
    assert set(fold_constants(g, 1000)) == {a, b}


def test_constants_and_inputs_are_not_folded() -> None:
    g = Graph()
    opaque = OPERATORS["opaque"].make_attrs(key=0, field=0, type=ValueType(1, "Object"))
    g.outputs = [g.constant(ONES), g.input(4), g.add("opaque", (), opaque)]
    assert fold_constants(g, 1000) == {}


@pytest.mark.parametrize(("limit", "expected"), [(24, True), (23, False)])
def test_the_limit_is_in_bytes(limit: int, expected: bool) -> None:
    g = Graph()
    g.outputs = [g.add("exp", (g.constant(ONES),))]
    assert bool(fold_constants(g, limit)) is expected


def test_users_of_a_value_above_the_limit_stay() -> None:
    g = Graph()
    large = g.add("broadcast_to", (g.constant(np.float32(1)),), OPERATORS["broadcast_to"].make_attrs(shape=(100,)))
    g.outputs = [g.add("sum", (large,), OPERATORS["sum"].make_attrs(axes=(0,), keepdims=False))]
    assert fold_constants(g, 399) == {}
    assert set(fold_constants(g, 400)) == set(g.outputs)


def test_operators_without_operands_are_constants() -> None:
    g = Graph()
    full = g.add("full", (), OPERATORS["full"].make_attrs(value=2.0, shape=(3,), dtype="float32"))
    g.outputs = [g.add("exp", (full,))]
    np.testing.assert_allclose(fold_constants(g, 12)[g.outputs[0]].array, np.exp(np.full(3, 2.0)), rtol=1e-6)


def test_results_keep_their_dtype() -> None:
    g = Graph()
    c = g.constant(np.ones(3, ml_dtypes.bfloat16))
    g.outputs = [g.add("add", (c, c)), g.add("cast", (c,), OPERATORS["cast"].make_attrs(dtype="int8"))]
    folded = fold_constants(g, 1000)
    assert [str(folded[i].array.dtype) for i in g.outputs] == ["bfloat16", "int8"]


@pytest.mark.parametrize(
    "numpy",
    [
        lambda arrays, a: arrays[0].astype("float64"),
        lambda arrays, a: arrays[0][:1],
        lambda arrays, a: arrays[0] + "text",
        lambda arrays, a: arrays[0].reshape(7),
        lambda arrays, a: 1 // 0,
        lambda arrays, a: arrays[0][5],
    ],
)
def test_a_meaning_that_fails_or_disagrees_is_not_used(numpy: Any) -> None:
    g = Graph()
    g.outputs = [g.add("exp", (g.constant(ONES),))]
    record = OPERATORS["exp"]
    meaning = record.numpy
    object.__setattr__(record, "numpy", numpy)
    try:
        assert fold_constants(g, 1000) == {}
    finally:
        object.__setattr__(record, "numpy", meaning)


def test_no_warnings_about_numbers() -> None:
    g = Graph()
    zero = g.constant(np.zeros(2, "float32"))
    g.outputs = [g.add("divide", (zero, zero)), g.add("log", (zero,))]
    with np.errstate(all="raise"):
        folded = fold_constants(g, 1000)
    assert np.isnan(folded[g.outputs[0]].array).all()
    assert np.isneginf(folded[g.outputs[1]].array).all()
