"""NumPy helpers shared by the operators' reference meanings.

Arrays come in the operand's dtype and leave in the inferred one. Where an operator is linear, arrays may also hold
exact numbers instead (integers, or objects such as :class:`fractions.Fraction`): these are never converted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import ml_dtypes  # noqa: F401  registers bfloat16 and float8 with NumPy
import numpy as np

from ._shapes import FLOAT, dtype_word

Array = np.ndarray[Any, Any]


def numpy_dtype(dtype: str) -> np.dtype[Any]:
    """NumPy's dtype for TVM's."""
    return np.dtype(dtype)


def accumulate_in(array: Array, dtype: str) -> Array:
    """``array`` in the accumulator's dtype (empty: as it is), unless it is exact arithmetic."""
    if not dtype or array.dtype.kind == "O" or (array.dtype.kind in "iu" and dtype_word(dtype) in FLOAT):
        return array
    wide = numpy_dtype(dtype)
    return array if array.dtype.itemsize >= wide.itemsize else array.astype(wide)


def trunc_divide(a: Array, b: Array) -> Array:
    """Quotient as TVM computes it: integers round towards zero."""
    if a.dtype.kind not in "iu":
        return np.asarray(np.true_divide(a, b))
    quotient = np.floor_divide(a, b)
    return np.asarray(quotient + ((quotient * b != a) & ((a < 0) != (b < 0))).astype(a.dtype))


def in_float32(function: Callable[..., Any]) -> Callable[..., Array]:
    """``function`` computed in single precision for narrower operands, and rounded back."""

    def wrapped(x: Array, *rest: Any) -> Array:
        wide = x if x.dtype.itemsize >= 4 else x.astype(np.float32)
        return np.asarray(function(wide, *rest)).astype(x.dtype, copy=False)

    return wrapped


def along(vector: Array, axis: int, rank: int) -> Array:
    """A vector as a tensor that broadcasts along one axis of a tensor of this rank."""
    return vector.reshape([-1 if i == axis else 1 for i in range(rank)])


def windows(x: Array, kernel: Sequence[int], strides: Sequence[int], dilation: Sequence[int]) -> Array:
    """View of the sliding windows over the trailing dimensions of ``x``.

    Parameters
    ----------
    x : numpy.ndarray, shape (..., *spatial)
        Padded data.

    Returns
    -------
    numpy.ndarray, shape (..., *positions, *kernel)
    """
    n = len(kernel)
    axes = tuple(range(x.ndim - n, x.ndim))
    span = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    view = np.lib.stride_tricks.sliding_window_view(x, span, axes)
    steps: Any = (..., *(slice(None, None, s) for s in (*strides, *dilation)))
    return view[steps]
