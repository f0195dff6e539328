"""Relax types read as :class:`TensorType` where they are fully known, else as :class:`ValueType`; constant tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm import ir, relax, runtime, tirx

from .tensor_graph import Constant
from .types import Dim, Symbol, TensorType, ValueType

_CPU = 1  # DLDeviceType.kDLCPU


class TypeReader:
    """Reads the types and constants of one region: a shape variable is the same :class:`Symbol` everywhere in it."""

    def __init__(self) -> None:
        self._symbols: dict[Any, Symbol] = {}
        self._values = 0

    def tensor(self, ty: ir.Type) -> TensorType | None:
        """The type of a tensor with known rank and dtype, and dimensions that are numbers or single variables.

        None for anything else, and for tensors that are bound to a device: operators on these stay where they are.
        """
        if not isinstance(ty, relax.TensorType) or ty.dtype is None or ty.vdevice is not None:
            return None
        shape = ty.shape
        if not isinstance(shape, relax.ShapeExpr):
            return None
        dims = [self._dim(value) for value in shape.values]
        return None if None in dims else TensorType(tuple(dims), str(ty.dtype.dtype))  # type: ignore[arg-type]

    def any(self, ty: ir.Type) -> TensorType | ValueType:
        """The type of any value; one that isn't such a tensor is equal to no other."""
        tensor = self.tensor(ty)
        if tensor is not None:
            return tensor
        self._values += 1
        return ValueType(self._values, type(ty).__name__)

    def constant(self, expr: ir.GenericConst) -> Constant | None:
        """A constant tensor, not copied if NumPy has its dtype; None if it isn't in this process's memory."""
        value: Any = expr.value
        if self.tensor(expr.ty) is None or not isinstance(value, runtime.Tensor):
            return None
        if value.device.dlpack_device_type() != _CPU:
            return None
        try:
            array = np.from_dlpack(value)
        except RuntimeError:  # NumPy's DLPack has no bfloat16 or float8
            array = value.numpy()
        array.flags.writeable = False
        dtype = str(value.dtype)
        return Constant(array, dtype, expr) if str(array.dtype) == dtype else None

    def _dim(self, value: Any) -> Dim | None:
        if isinstance(value, tirx.IntImm):
            return int(value.value)
        if not isinstance(value, ir.Var):
            return None
        symbol = self._symbols.get(value)
        if symbol is None:
            symbol = self._symbols[value] = Symbol(value)
        return symbol
