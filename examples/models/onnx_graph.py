"""An ONNX graph while it is built: the words that all example models are written in."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

_OPSET = 17  # the first with LayerNormalization
_IR_VERSION = 8


class Graph:
    """The nodes, initializers, inputs and outputs of an ONNX graph while it is built.

    Tensors are named as PyTorch's exporter names them: ``path.of.module.weight`` for a weight,
    ``path.of.module/Operator_output_0`` for a result.

    Parameters
    ----------
    seed : int
        Seed of the weights; equal seeds and equal calls give equal graphs.
    """

    def __init__(self, seed: int) -> None:
        self.nodes: list[NodeProto] = []
        self.initializers: list[TensorProto] = []
        self.inputs: list[ValueInfoProto] = []
        self.outputs: list[ValueInfoProto] = []
        self.rng = np.random.default_rng(seed)
        self._constants: dict[bytes, str] = {}

    def input(self, name: str, shape: Sequence[int], dtype: int = TensorProto.FLOAT) -> str:
        """Add an input of the model."""
        self.inputs.append(helper.make_tensor_value_info(name, dtype, shape))
        return name

    def output(self, name: str, value: str, shape: Sequence[int]) -> None:
        """Make ``value`` a float32 output of the model, under the name ``name``."""
        self.nodes.append(helper.make_node("Identity", [value], [name], name=name))
        self.outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))

    def op(self, kind: str, *operands: str, name: str, **attrs: Any) -> str:
        """Append a node and return the name of its result."""
        out = f"{name}/{kind}_output_0"
        self.nodes.append(helper.make_node(kind, list(operands), [out], name=f"{name}/{kind}", **attrs))
        return out

    def split(self, x: str, sizes: Sequence[int], *, axis: int, name: str) -> list[str]:
        """Append a ``Split`` into parts of these sizes and return their names."""
        outs = [f"{name}/Split_output_{i}" for i in range(len(sizes))]
        self.nodes.append(helper.make_node("Split", [x, self.constant(sizes)], outs, name=f"{name}/Split", axis=axis))
        return outs

    def store(self, name: str, value: np.ndarray) -> str:
        """Add an initializer."""
        self.initializers.append(numpy_helper.from_array(value, name))
        return name

    def normal(self, name: str, shape: Sequence[int], std: float, mean: float = 0.0) -> str:
        """Add a float32 initializer with normally distributed values."""
        values = self.rng.standard_normal(shape, dtype=np.float32)
        values *= np.float32(std)
        values += np.float32(mean)
        return self.store(name, values)

    def positive(self, name: str, shape: Sequence[int], mean: float) -> str:
        """Add a float32 initializer with values spread evenly between half and one and a half times ``mean``."""
        values = self.rng.random(shape, dtype=np.float32) + np.float32(0.5)
        return self.store(name, values * np.float32(mean))

    def constant(self, value: float | Sequence[int]) -> str:
        """A float32 scalar, or an int64 vector; equal ones are stored once."""
        array = np.array(value, np.float32 if isinstance(value, float) else np.int64)
        key = array.dtype.char.encode() + array.tobytes()
        if key not in self._constants:
            self._constants[key] = self.store(f"onnx::Constant_{len(self._constants)}", array)
        return self._constants[key]

    def matmul(self, x: str, inner: int, outer: int, *, name: str, gain: float = 1.0) -> str:
        """``x @ W``; W multiplies the root mean square of x by ``gain``."""
        return self.op("MatMul", x, self.normal(f"{name}.weight", (inner, outer), gain / sqrt(inner)), name=name)

    def linear(self, x: str, inner: int, outer: int, *, name: str, gain: float = 1.0) -> str:
        """``x @ W + b``; W multiplies the root mean square of x by ``gain``."""
        product = self.matmul(x, inner, outer, name=name, gain=gain)
        return self.op("Add", self.normal(f"{name}.bias", (outer,), 0.1), product, name=name)

    def layer_norm(self, x: str, hidden: int, *, name: str, epsilon: float = 1e-5) -> str:
        """Layer normalisation over the last axis."""
        scale = self.normal(f"{name}.weight", (hidden,), 0.1, mean=1.0)
        bias = self.normal(f"{name}.bias", (hidden,), 0.1)
        return self.op("LayerNormalization", x, scale, bias, name=name, axis=-1, epsilon=epsilon)

    def model(self, name: str) -> ModelProto:
        """The finished model, opset 17."""
        graph = helper.make_graph(self.nodes, name, self.inputs, self.outputs, self.initializers)
        return helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", _OPSET)],
            ir_version=_IR_VERSION,
            producer_name="tvm-eqsat examples",
        )
