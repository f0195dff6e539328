"""Random arguments for a Relax function."""

from __future__ import annotations

from math import prod, sqrt
from typing import Any

import ml_dtypes  # noqa: F401  registers bfloat16 and float8 with NumPy
import numpy as np
import tvm
from tvm import relax, tirx

#: Values of symbolic dimensions, in the order in which they are met: small, and different from each other.
_SIZES = (3, 5, 7, 2, 11, 13)


def random_arguments(func: relax.Function, seed: int) -> list[Any] | None:
    """Arguments that keep the values inside a network in a sensible range.

    Floating-point numbers are standard normal for inputs; weights (parameters from ``num_input`` on) of two or more
    dimensions are scaled by their fan-in, so that no layer's output explodes; vectors (biases, scales, variances)
    lie between 0.5 and 1.5, as square roots are taken of some. Integers are 0 or 1: legal as indices of anything.

    Parameters
    ----------
    func : relax.Function
        The function.
    seed : int
        Seed.

    Returns
    -------
    list or None
        A TVM tensor, shape or (nested) list of them for each parameter; None if a parameter has another type.
    """
    weights_from = int(func.attrs["num_input"]) if func.attrs and "num_input" in func.attrs else len(func.params)
    rng = np.random.default_rng(seed)
    sizes: dict[Any, int] = {}
    try:
        return [_value(p.ty, i >= weights_from, sizes, rng) for i, p in enumerate(func.params)]
    except TypeError:
        return None


def _value(ty: Any, weight: bool, sizes: dict[Any, int], rng: np.random.Generator) -> Any:
    if isinstance(ty, relax.TupleType):
        return [_value(field, weight, sizes, rng) for field in ty.fields]
    if isinstance(ty, relax.ShapeType) and ty.values is not None:
        return tvm.runtime.ShapeTuple([_size(d, sizes) for d in ty.values])
    if not isinstance(ty, relax.TensorType) or not isinstance(ty.shape, relax.ShapeExpr):
        raise TypeError(f"no random value for {ty}")
    shape = [_size(d, sizes) for d in ty.shape.values]
    return tvm.runtime.tensor(_array(shape, str(ty.dtype), weight, rng))


def _size(dim: Any, sizes: dict[Any, int]) -> int:
    if isinstance(dim, tirx.IntImm):
        return int(dim)
    if not isinstance(dim, tirx.Var):
        raise TypeError(f"no value for the dimension {dim}")
    return sizes.setdefault(dim, _SIZES[len(sizes) % len(_SIZES)])


def _array(shape: list[int], dtype: str, weight: bool, rng: np.random.Generator) -> np.ndarray[Any, Any]:
    if dtype.startswith(("float", "bfloat")):
        if len(shape) <= 1:
            values = rng.uniform(0.5, 1.5, shape)
        else:
            values = rng.standard_normal(shape) / (sqrt(max(1, prod(shape[1:]))) if weight else 1.0)
        return values.astype(np.dtype(dtype))
    return rng.integers(0, 2, shape).astype(np.dtype(dtype))
