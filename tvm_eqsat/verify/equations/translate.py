"""TASO's operators in terms of the operator table.

``Iconv``, ``Imatmul`` and ``Iewmul`` are the neutral elements of convolution, matrix product and elementwise product;
``Cpool`` is the kernel whose convolution is the average pool. ``enlarge`` puts zeros around a kernel, so that its
middle stays the middle. ``smul`` multiplies by a tensor of rank 0. Averages count the padding.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import IllTyped
from ...graph.ops import OPERATORS
from ...graph.tensor_graph import Constant, TensorGraph
from ...graph.types import TensorType
from .terms import Typed, TypedEquation

_DTYPE = "float64"
_ACTIVATION = ("", "sigmoid", "relu", "tanh")


def translate(equation: TypedEquation) -> TensorGraph:
    """One graph with two outputs, the sides of the equation; a variable is the same input in both."""
    return _Translation().graph_of(equation)


class _Translation:
    def __init__(self) -> None:
        self.graph = TensorGraph()
        self.variables: dict[str, int] = {}

    def graph_of(self, equation: TypedEquation) -> TensorGraph:
        self.graph.outputs = [self.node(equation.lhs), self.node(equation.rhs)]
        return self.graph

    def add(self, op: str, *inputs: int, **attrs: Any) -> int:
        return self.graph.add(op, inputs, OPERATORS[op].make_attrs(**attrs))

    def node(self, term: Typed) -> int:
        method = getattr(self, f"_{term.name}", None) if term.args or term.name in _CONSTANTS else self._variable
        node: int = method(term, *map(self.node, term.args)) if method else self._elementwise(term)
        made = self.graph.nodes[node].type
        if made != TensorType(term.shape, _DTYPE):
            raise IllTyped(f"{term.name} makes {made}, not {term.shape}: this is a bug in the shape inference")
        return node

    def _variable(self, term: Typed) -> int:
        index = self.variables.setdefault(term.name, len(self.variables))
        return self.add("input", index=index, type=TensorType(term.shape, _DTYPE))

    def _constant(self, value: np.ndarray) -> int:
        return self.add("constant", value=Constant(value.astype(_DTYPE)))

    def _elementwise(self, term: Typed) -> int:
        return self.add(term.name, *map(self.node, term.args))

    def _ewadd(self, term: Typed, x: int, y: int) -> int:
        return self.add("add", x, y)

    def _ewmul(self, term: Typed, x: int, y: int) -> int:
        return self.add("multiply", x, y)

    _smul = _ewmul

    def _matmul(self, term: Typed, x: int, y: int) -> int:
        return self.add("matmul", x, y)

    def _transpose(self, term: Typed, x: int) -> int:
        return self.add("permute_dims", x, axes=(1, 0))

    def _concat(self, term: Typed, *xs: int) -> int:
        return self.add("concat", *xs, axis=term.numbers[0])

    def _split_0(self, term: Typed, x: int) -> int:
        return self.add("slice", x, axis=term.numbers[0], begin=0, end=term.cut)

    def _split_1(self, term: Typed, x: int) -> int:
        axis, end = term.numbers[0], term.args[0].shape[term.numbers[0]]
        return self.add("slice", x, axis=axis, begin=term.cut, end=end)

    def _conv2d(self, term: Typed, x: int, w: int) -> int:
        high, wide, valid, activation = term.numbers
        data, weight = (arg.shape for arg in term.args)
        attrs = {
            "strides": (high, wide),
            "padding": _padding(data[2:], weight[2:], (high, wide), valid),
            "groups": data[1] // weight[1],
        }
        out = self.add("conv2d", x, w, **attrs)
        return self.add(_ACTIVATION[activation], out) if activation else out

    def _poolavg(self, term: Typed, x: int) -> int:
        return self._pool("avg_pool2d", term, x, count_include_pad=True)

    def _poolmax(self, term: Typed, x: int) -> int:
        return self._pool("max_pool2d", term, x)

    def _pool(self, op: str, term: Typed, x: int, **attrs: Any) -> int:
        *kernel, high, wide, valid = term.numbers
        padding = _padding(term.args[0].shape[2:], tuple(kernel), (high, wide), valid)
        return self.add(op, x, pool_size=tuple(kernel), strides=(high, wide), padding=padding, **attrs)

    def _enlarge(self, term: Typed, w: int) -> int:
        room = [new - old for new, old in zip(term.shape, term.args[0].shape, strict=True)]
        if min(room) < 0:
            raise IllTyped(f"enlarge can't make a kernel of {term.args[0].shape[2:]} smaller")
        return self.add("pad", w, pad_width=tuple(n for r in room for n in (r // 2, r - r // 2)))

    def _Cpool(self, term: Typed) -> int:
        return self._constant(np.full(term.shape, 1 / (term.shape[2] * term.shape[3])))

    def _Iconv(self, term: Typed) -> int:
        channels, _, height, width = term.shape
        kernel = np.zeros(term.shape)
        kernel[np.arange(channels), np.arange(channels), height // 2, width // 2] = 1
        return self._constant(kernel)

    def _Imatmul(self, term: Typed) -> int:
        return self._constant(np.eye(term.shape[0]))

    def _Iewmul(self, term: Typed) -> int:
        return self._constant(np.ones(term.shape))


_CONSTANTS = ("Cpool", "Iconv", "Imatmul", "Iewmul")


def _padding(
    size: tuple[int, ...], kernel: tuple[int, ...], strides: tuple[int, int], valid: int
) -> tuple[int, int, int, int]:
    """Top, left, bottom, right: none, or as much as keeps the size (divided by the stride, rounded up)."""
    if valid:
        return (0, 0, 0, 0)
    total = [max((-(-n // s) - 1) * s + k - n, 0) for n, k, s in zip(size, kernel, strides, strict=True)]
    return (total[0] // 2, total[1] // 2, total[0] - total[0] // 2, total[1] - total[1] // 2)
