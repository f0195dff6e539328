"""The loops of a kernel that isn't scheduled yet: its statements, and how they walk through memory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any

import tvm
import tvm_ffi
from tvm import tirx
from tvm.ir.expr import TensorLoad
from tvm.s_tir import SBlock

#: Transcendental functions, in units of one ``exp`` (see the measurements in :mod:`.roofline`).
CALLS = {
    "exp": 1, "log": 1, "exp2": 1, "log2": 1, "log10": 1, "log1p": 1, "sigmoid": 1, "erf": 2, "tanh": 2, "sin": 2,
    "cos": 2, "tan": 2, "sinh": 2, "cosh": 2, "asin": 2, "acos": 2, "atan": 2, "asinh": 2, "acosh": 2, "atanh": 2,
    "pow": 2,
}  # fmt: skip
_REDUCE = 2  # IterVar.CommReduce


@dataclass(frozen=True)
class Block:
    """One statement of a kernel: ``store[indices] = value`` for every point of an iteration space.

    Attributes
    ----------
    extents : dict of Var to int
        The iteration variables, outermost first; a symbolic extent counts as 1.
    reduced : frozenset of Var
        Those that are summed over.
    store : tvm.tirx.BufferStore
        The statement.
    loads : list of TensorLoad
        What its value reads.
    calls : float
        Transcendental functions at each point, in units of one ``exp``.
    conditions : list of PrimExpr
        Conditions of conditional expressions in its value.
    """

    extents: dict[Any, int]
    reduced: frozenset[Any]
    store: Any
    loads: list[Any]
    calls: float
    conditions: list[Any]

    @property
    def points(self) -> int:
        """How often the statement runs."""
        return prod(self.extents.values())

    @property
    def outputs(self) -> list[Any]:
        """Iteration variables that index the output, of more than one value, outermost first."""
        return [v for v, n in self.extents.items() if n > 1 and v not in self.reduced]

    @property
    def keeps_rows(self) -> bool:
        """Whether something keeps the loops from being fused, so that vectors stay inside of rows.

        A conditional (padding, concatenation) does, and so does a part of a tensor, such as a slice.
        """
        return bool(self.conditions) or any(is_part(load, self.store) for load in self.loads)

    @property
    def contraction(self) -> bool:
        """Whether it sums products of two tensors."""
        value = self.store.value
        if not self.reduced or type(value).__name__ != "Add":
            return False
        sources = [through_casts(x) for x in factors(value.b)]
        return len(sources) == 2 and all(isinstance(x, TensorLoad) for x in sources)


def blocks_of(func: tirx.PrimFunc) -> list[Block]:
    """All statements of a kernel that isn't scheduled yet, in their order."""
    found: list[Block] = []

    def visit(block: SBlock) -> None:
        if not block.iter_vars:
            return  # the function's root
        stores: list[Any] = []
        tvm_ffi.structural_walk(block.body, (tirx.BufferStore, stores.append))
        extents = {v.var: extent_of(v.dom.extent) for v in block.iter_vars}
        reduced = frozenset(v.var for v in block.iter_vars if v.iter_type == _REDUCE)
        for store in stores:
            loads: list[Any] = []
            calls: list[Any] = []
            tvm_ffi.structural_walk(store.value, [(TensorLoad, loads.append), (tvm.ir.Call, calls.append)])
            names = [str(getattr(c.op, "name", "")).rpartition(".")[2] for c in calls]
            conditions = [c.args[0] for c, name in zip(calls, names, strict=True) if name == "if_then_else"]
            found.append(Block(extents, reduced, store, loads, sum(CALLS.get(n, 0) for n in names), conditions))

    tvm_ffi.structural_walk(func.body, (SBlock, visit))
    return found


def extent_of(extent: Any) -> int:
    """The value of an extent; 1 if it is symbolic."""
    return int(extent) if isinstance(extent, tirx.IntImm) else 1


def is_part(load: Any, store: Any) -> bool:
    """Whether ``load`` reads, axis by axis, a part of a larger tensor."""
    if len(load.indices) != len(store.indices):
        return False
    if any(variables_of(i) - variables_of(j) for i, j in zip(load.indices, store.indices, strict=True)):
        return False
    sizes, shape = ([extent_of(d) for d in buffer.ty.shape] for buffer in (load.source, store.buffer))
    return any(size > extent for size, extent in zip(sizes, shape, strict=True))


def factors(value: Any) -> list[Any]:
    """What a product multiplies, casts left aside."""
    value = through_casts(value)
    return [value.a, value.b] if type(value).__name__ == "Mul" else [value]


def through_casts(value: Any) -> Any:
    """What is cast."""
    while type(value).__name__ == "Cast":
        value = value.value
    return value


def step_of(block: Block, load: Any, var: Any) -> int | None:
    """0 if ``var`` doesn't index ``load``, its factor if it does so in the last index only, else None."""
    where = [i for i, index in enumerate(load.indices) if mentions(index, var)]
    if not where:
        return 0
    last = len(load.indices) - 1
    if where == [last] and (factor := factor_of(load.indices[last], var)) is not None:
        return factor
    # a reshape divides and takes remainders that the extents make trivial
    analyzer = tvm.sym.Analyzer()
    for v, extent in block.extents.items():
        analyzer.bind(v, tvm.ir.Range(0, extent))
    indices = [analyzer.simplify(index) for index in load.indices]
    if any(mentions(index, var) for index in indices[:last]):
        return None
    return factor_of(indices[last], var)


def mentions(expr: Any, var: Any) -> bool:
    """Whether a variable stands in an expression."""
    return var in variables_of(expr)


@lru_cache(maxsize=4096)
def variables_of(expr: Any) -> frozenset[Any]:
    """The variables of an expression."""
    found: set[Any] = set()
    tvm_ffi.structural_walk(expr, (tirx.Var, found.add))
    return frozenset(found)


def factor_of(expr: Any, var: Any) -> int | None:
    """The factor of ``var`` in an affine index; None if the index isn't affine in it."""
    if not mentions(expr, var):
        return 0
    kind = type(expr).__name__
    if kind == "Var":
        return 1
    if kind in ("Add", "Sub"):
        a, b = factor_of(expr.a, var), factor_of(expr.b, var)
        return None if a is None or b is None else (a + b if kind == "Add" else a - b)
    if kind == "Mul" and isinstance(expr.b, tirx.IntImm):
        a = factor_of(expr.a, var)
        return None if a is None else a * int(expr.b)
    return None
