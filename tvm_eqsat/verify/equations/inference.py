"""Shapes of all terms of an equation, as far as the equation determines them.

``split_0`` and ``split_1`` undo the last ``concat`` along their axis, however deep it is: every type carries, for each
axis, where it may be cut. ``conv2d`` divides the channels into groups if the weight has fewer input channels than the
data, as ``Cpool`` has.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import prod

import numpy as np

from ...errors import IllTyped
from .sizes import Form, Sizes, combine, number
from .syntax import Equation, Expr
from .terms import SIGNATURES, Typed, TypedEquation

_LARGEST = 50_000  # elements of one tensor


# Where an axis can be cut: alternatives, each with the cuts of both parts and their sizes.
Cut = tuple["Parts", ...]
Parts = tuple[Cut, Cut, Form, Form]


@dataclass(eq=False)
class _Rank:
    value: int | None = None
    least: int = 0  # one more than the largest axis that is named
    same: _Rank | None = None

    def root(self) -> _Rank:
        found = self
        while found.same is not None:
            found = found.same
        return found

    def unite(self, other: _Rank, where: str) -> None:
        a, b = self.root(), other.root()
        if a is b:
            return
        if None not in (a.value, b.value) and a.value != b.value:
            raise IllTyped(f"{where}: a tensor would have rank {a.value} and {b.value}")
        b.value, b.least, a.same = a.value if b.value is None else b.value, max(a.least, b.least), b


@dataclass(eq=False)
class _Node:
    """A term under inference. Equal variables are one node, constants never are."""

    expr: Expr
    args: list[_Node]
    rank: _Rank = field(default_factory=_Rank)
    dims: list[Form] = field(default_factory=list)
    cuts: list[Cut] = field(default_factory=list)
    cut: Form = field(default_factory=dict)


class Inference:
    """Types of all terms of an equation, for one way to divide channels."""

    def __init__(self, equation: Equation, grouping: Iterable[str]) -> None:
        self.sizes = Sizes()
        self.grouping = iter(grouping)
        self.variables: dict[str, _Node] = {}
        self.plain: list[Form] = []
        self.lhs, self.rhs = self._node(equation.lhs), self._node(equation.rhs)
        self.lhs.rank.unite(self.rhs.rank, "the two sides")
        self._infer(self.lhs)
        self._infer(self.rhs)
        self._same(self.lhs.dims, self.rhs.dims, "the two sides")

    @property
    def narrow(self) -> bool:
        """Whether a convolution has a single input channel although its grouping doesn't ask for it."""
        return any(self.sizes.resolve(form) == {0: 1} for form in self.plain)

    def instance(self, rng: np.random.Generator, equal: int) -> TypedEquation:
        """The equation with values for all sizes; raises IllTyped if those that were drawn don't fit."""
        value = self.sizes.choose(rng, equal)

        def read(node: _Node) -> Typed:
            shape = tuple(value(d) for d in node.dims)
            if min(shape, default=1) < 1 or prod(shape) > _LARGEST:
                raise IllTyped(f"{node.expr.name}: no fitting sizes; tried {shape}")
            return Typed(node.expr.name, node.expr.numbers, tuple(map(read, node.args)), shape, value(node.cut))

        return TypedEquation(read(self.lhs), read(self.rhs))

    # -- ranks --

    def _node(self, expr: Expr) -> _Node:
        name = expr.name
        if not expr.args and not expr.numbers and name not in SIGNATURES:
            return self.variables.setdefault(name, _Node(expr, []))
        if name not in SIGNATURES:
            raise IllTyped(f"there is no operator {name!r}")
        numbers, operands = SIGNATURES[name]
        fits = len(expr.args) >= 2 if operands is None else len(expr.args) == operands
        if len(expr.numbers) != numbers or not fits:
            wanted = "two or more" if operands is None else operands
            raise IllTyped(f"{name} takes {numbers} numbers and {wanted} operands, not {expr}")
        node = _Node(expr, [self._node(arg) for arg in expr.args])
        ranks = [arg.rank for arg in node.args]
        if name in ("conv2d", "poolavg", "poolmax", "enlarge", "Cpool", "Iconv"):
            fixed, members = 4, [node.rank, *ranks]
        elif name in ("matmul", "transpose", "Imatmul"):
            fixed, members = 2, [node.rank, *ranks]
        elif name == "smul":
            ranks[1].unite(_Rank(0), name)
            fixed, members = None, [node.rank, ranks[0]]
        else:
            fixed, members = None, [node.rank, *ranks]
        least = expr.numbers[0] + 1 if name in ("concat", "split_0", "split_1") else 0
        for member in members:
            member.unite(_Rank(fixed, least), name)
            member.unite(members[0], name)
        return node

    # -- shapes --

    def _same(self, a: list[Form], b: list[Form], where: str, but: int = -1) -> None:
        for axis, (x, y) in enumerate(zip(a, b, strict=True)):
            if axis != but:
                self.sizes.equate(x, y, where)

    def _infer(self, node: _Node) -> None:
        if node.dims:
            return
        for arg in node.args:
            self._infer(arg)
        rank, name = node.rank.root(), node.expr.name
        if rank.value is None:
            rank.value = max(2, rank.least)
        if rank.least > rank.value:
            raise IllTyped(f"{name}: axis {rank.least - 1} of a tensor of rank {rank.value}")
        node.cuts = [()] * rank.value
        method = getattr(self, f"_{name}", None) if name in SIGNATURES else None
        if method is not None:
            method(node, *node.args)
        elif node.args:  # elementwise
            node.dims, node.cuts = list(node.args[0].dims), list(node.args[0].cuts)
        else:
            node.dims = [self.sizes.fresh() for _ in range(rank.value)]

    def _ewadd(self, node: _Node, x: _Node, y: _Node) -> None:
        self._same(x.dims, y.dims, node.expr.name)
        node.dims, node.cuts = list(x.dims), [a + b for a, b in zip(x.cuts, y.cuts, strict=True)]

    _ewmul = _ewadd

    def _transpose(self, node: _Node, x: _Node) -> None:
        node.dims, node.cuts = x.dims[::-1], x.cuts[::-1]

    def _matmul(self, node: _Node, x: _Node, y: _Node) -> None:
        self.sizes.equate(x.dims[1], y.dims[0], "matmul")
        node.dims, node.cuts = [x.dims[0], y.dims[1]], [x.cuts[0], y.cuts[1]]

    def _concat(self, node: _Node, *xs: _Node) -> None:
        axis = node.expr.numbers[0]
        first = xs[0]
        node.dims, node.cuts = list(first.dims), list(first.cuts)
        for x in xs[1:]:
            self._same(first.dims, x.dims, "concat", but=axis)
            cut: Cut = ((node.cuts[axis], x.cuts[axis], node.dims[axis], x.dims[axis]),)
            node.cuts = [a + b for a, b in zip(node.cuts, x.cuts, strict=True)]
            node.cuts[axis] = cut
            node.dims[axis] = combine(node.dims[axis], x.dims[axis])

    def _split_0(self, node: _Node, x: _Node) -> None:
        axis, side = node.expr.numbers[0], int(node.expr.name[-1])
        cuts = x.cuts[axis]
        if not cuts:
            raise IllTyped(f"{node.expr.name}: there is no concat along axis {axis} to undo")
        left, right = cuts[0][2:]
        for _, _, other, _ in cuts[1:]:
            self.sizes.equate(other, left, node.expr.name)
        node.cut = left
        node.dims, node.cuts = list(x.dims), list(x.cuts)
        node.dims[axis] = right if side else left
        node.cuts[axis] = tuple(inner for parts in cuts for inner in (parts[1] if side else parts[0]))

    _split_1 = _split_0

    def _window(self, size: Form, kernel: Form, stride: int, valid: int) -> Form:
        if stride < 1 or valid not in (0, 1):
            raise IllTyped(
                f"there is no stride {stride} with padding mode {valid}: strides are positive, modes 0 and 1"
            )
        if stride == 1:
            return combine(combine(size, kernel, -1), number(1)) if valid else size
        self.sizes.smallest = 5  # a stride may not leave a single element
        if valid:
            return self.sizes.function(("valid", stride), lambda v: (v[0] - v[1]) // stride + 1, [size, kernel])
        return self.sizes.function(("same", stride), lambda v: -(-v[0] // stride), [size])

    def _poolavg(self, node: _Node, x: _Node) -> None:
        *kernel, high, wide, valid = node.expr.numbers
        if min(kernel) < 1:
            raise IllTyped(f"{node.expr.name}: a window of size {kernel}")
        node.dims = x.dims[:2] + [
            self._window(x.dims[2 + i], number(kernel[i]), stride, valid) for i, stride in enumerate((high, wide))
        ]
        node.cuts = [*x.cuts[:2], (), ()]

    _poolmax = _poolavg

    def _conv2d(self, node: _Node, x: _Node, w: _Node) -> None:
        high, wide, valid, activation = node.expr.numbers
        if activation not in range(4):
            raise IllTyped(f"conv2d: there is no activation {activation}, only 0 (none), 1, 2 (relu) and 3")
        way = next(self.grouping)
        outputs, inputs, *kernel = w.dims
        if way == "plain":
            self.sizes.equate(x.dims[1], inputs, "conv2d")
            self.plain.append(inputs)
        elif way == "depthwise":
            self.sizes.equate(inputs, number(1), "conv2d")
            self.sizes.equate(outputs, x.dims[1], "conv2d")
        else:
            self.sizes.equate(x.dims[1], combine(inputs, inputs), "conv2d in two groups")
            half = self.sizes.fresh()
            self.sizes.equate(outputs, combine(half, half), "conv2d in two groups")
        for length in kernel:
            self.sizes.mark_kernel(length)
        node.dims = [x.dims[0], outputs] + [
            self._window(x.dims[2 + i], kernel[i], stride, valid) for i, stride in enumerate((high, wide))
        ]
        node.cuts = [x.cuts[0], w.cuts[0], (), ()]

    def _enlarge(self, node: _Node, w: _Node) -> None:
        for length, largest in zip(w.dims[2:], node.expr.numbers, strict=True):
            self.sizes.mark_kernel(length, largest)
        node.dims = [*w.dims[:2], *map(number, node.expr.numbers)]
        node.cuts = [*w.cuts[:2], (), ()]

    def _Cpool(self, node: _Node) -> None:
        node.dims = [self.sizes.fresh(), number(1), *map(number, node.expr.numbers)]

    def _Iconv(self, node: _Node) -> None:
        channels = self.sizes.fresh()
        node.dims = [channels, channels, *map(number, node.expr.numbers)]

    def _Imatmul(self, node: _Node) -> None:
        size = self.sizes.fresh()
        node.dims = [size, size]
