"""``Constant``: equality to the bit, and the one value it is filled with."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tvm_eqsat.graph.tensor_graph import Constant

DTYPES = st.sampled_from(["float32", "float16", "int8", "uint8", "int64", "bool", "float64"])
ARRAYS = DTYPES.flatmap(lambda dtype: arrays.arrays(dtype, arrays.array_shapes(min_dims=0, max_side=3, min_side=0)))


@given(ARRAYS)
def test_a_copy_is_equal(array: np.ndarray) -> None:
    a, b = Constant(array), Constant(array.copy())
    assert a == b
    assert hash(a) == hash(b)
    assert a.fill == b.fill


@given(ARRAYS, st.data())
def test_one_other_element_makes_a_difference(array: np.ndarray, data: st.DataObject) -> None:
    if not array.size:
        return
    other = array.copy()
    at = data.draw(st.integers(0, array.size - 1))
    bits = other.reshape(-1).view("uint8")
    bits[at * array.itemsize] ^= 1
    assert Constant(array) != Constant(other)


def test_a_difference_that_the_hash_does_not_see() -> None:
    array = np.zeros(1 << 20, "float32")
    other = array.copy()
    other[-2] = 1
    a, b = Constant(array), Constant(other)
    assert hash(a) == hash(b)
    assert a != b
    assert (a.fill, b.fill) == (0.0, None)


def test_shape_and_dtype_count() -> None:
    array = np.zeros((2, 3), "float32")
    assert Constant(array) != Constant(array.T)
    assert Constant(array) != Constant(array.view("int32"))
    assert Constant(array) != array


@pytest.mark.parametrize(
    ("array", "fill"),
    [
        (np.full((2, 2), 1.5, "float32"), 1.5),
        (np.full(3, 2, "int64"), 2),
        (np.float16(0.5), 0.5),
        (np.ones(3, "bool"), True),
        (np.ones(3, ml_dtypes.bfloat16), 1.0),
        (np.array([1, 2]), None),
        (np.array([0.0, -0.0]), None),
        (np.full(2, np.nan), None),
        (np.full(2, np.inf), np.inf),
        (np.zeros((0, 3)), None),
    ],
)
def test_fill(array: np.ndarray, fill: Any) -> None:
    assert Constant(array).fill == fill


def test_arrays_are_not_copied_unless_they_must_be() -> None:
    array = np.arange(6.0).reshape(2, 3)
    assert np.shares_memory(Constant(array).array, array)
    assert Constant(array.T).array.flags.c_contiguous
    assert Constant(array.T) == Constant(array.T.copy())


def test_repr_is_short() -> None:
    assert repr(Constant(np.ones((2, 3), "float32"))) == "Constant((2, 3) float32, all 1.0)"
    assert repr(Constant(np.arange(3))) == "Constant((3) int64)"
