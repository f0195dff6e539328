"""What a compiled function takes and returns, and tensors to run it on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ml_dtypes  # noqa: F401  lets NumPy know bfloat16 and float8 by name
import numpy as np
import tvm
from tvm import relax, tirx

from .errors import TVMCException

FILL_MODES = ("zeros", "ones", "random")


@dataclass(frozen=True)
class TensorSpec:
    """Name and type of one input or output.

    ``shape`` has an integer or the name of a symbol per dimension; None is an unknown rank. ``dtype`` is a data
    type's name or, for what isn't a tensor, the Relax type as text.
    """

    name: str
    shape: tuple[int | str, ...] | None
    dtype: str

    def __str__(self) -> str:
        dims = "?" if self.shape is None else ",".join(map(str, self.shape))
        return f"{self.name}: {self.dtype}[{dims}]"

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {"name": self.name, "shape": None if self.shape is None else list(self.shape), "dtype": self.dtype}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> TensorSpec:
        """What :meth:`to_json` gave."""
        shape = data["shape"]
        return TensorSpec(str(data["name"]), None if shape is None else tuple(shape), str(data["dtype"]))


def signature(function: relax.Function, names: Sequence[str]) -> tuple[list[TensorSpec], list[TensorSpec]]:
    """Inputs, called ``names``, and outputs, called output_0 and so on as they come flattened."""
    inputs = [_spec(name, var.ty) for name, var in zip(names, function.params, strict=True)]
    leaves = _leaves(function.ret_ty)
    return inputs, [_spec(f"output_{i}", ty) for i, ty in enumerate(leaves)]


def _leaves(ty: Any) -> list[Any]:
    if isinstance(ty, tvm.ir.TupleType):
        return [leaf for field in ty.fields for leaf in _leaves(field)]
    return [ty]


def _spec(name: str, ty: Any) -> TensorSpec:
    if not isinstance(ty, relax.TensorType):
        return TensorSpec(name, None, str(ty))
    shape = None
    if isinstance(ty.shape, relax.ShapeExpr):
        shape = tuple(int(dim) if isinstance(dim, tirx.IntImm) else str(dim) for dim in ty.shape.values)
    return TensorSpec(name, shape, str(ty.dtype))


def make_inputs(
    specs: Sequence[TensorSpec], given: Mapping[str, np.ndarray], fill_mode: str = "random", seed: int = 0
) -> dict[str, np.ndarray]:
    """A tensor for every input: the given one, else one that is filled.

    Random floats lie in [-1, 1), 8-bit integers in [0, 128); wider integers are 0 or 1, which also serve as indices.

    Raises
    ------
    TVMCException
        A given tensor has a wrong name, shape or dtype, or an input that wasn't given can't be filled.
    """
    expected = "expected inputs: " + ("; ".join(map(str, specs)) or "none")
    names = [spec.name for spec in specs]
    for name in given:
        if name not in names:
            raise TVMCException(f"the input tensor '{name}' is not in the graph; {expected}")
    rng = np.random.default_rng(seed)
    tensors = {}
    for spec in specs:
        if spec.name in given:
            tensors[spec.name] = _checked(spec, np.asarray(given[spec.name]), expected)
        else:
            tensors[spec.name] = _filled(spec, fill_mode, rng)
    return tensors


def _checked(spec: TensorSpec, value: np.ndarray, expected: str) -> np.ndarray:
    fits = spec.shape is None or (
        len(spec.shape) == value.ndim
        and all(isinstance(want, str) or want == have for want, have in zip(spec.shape, value.shape, strict=True))
    )
    if not fits or value.dtype.name != spec.dtype:
        shape = ",".join(map(str, value.shape))
        raise TVMCException(f"the input tensor '{spec.name}' is {value.dtype.name}[{shape}]; {expected}")
    return np.ascontiguousarray(value)


def _filled(spec: TensorSpec, fill_mode: str, rng: np.random.Generator) -> np.ndarray:
    try:
        dtype = np.dtype(spec.dtype)
    except TypeError as err:
        raise TVMCException(f"input '{spec.name}' is a {spec.dtype}, and tvmc feeds tensors only") from err
    if spec.shape is None or any(isinstance(dim, str) for dim in spec.shape):
        raise TVMCException(
            f"input '{spec}' has no fixed shape to fill; give the tensor with --inputs, or compile with --input-shapes"
        )
    shape = tuple(int(dim) for dim in spec.shape)
    if fill_mode == "zeros":
        return np.zeros(shape, dtype)
    if fill_mode == "ones":
        return np.ones(shape, dtype)
    if fill_mode != "random":
        raise TVMCException(f"unknown fill-mode: {fill_mode}; choose from: {', '.join(FILL_MODES)}")
    if dtype.kind in "iu":
        return rng.integers(128 if dtype.itemsize == 1 else 2, size=shape).astype(dtype)
    if dtype.kind == "b":
        return rng.integers(2, size=shape).astype(dtype)
    return rng.uniform(-1, 1, size=shape).astype(dtype)
