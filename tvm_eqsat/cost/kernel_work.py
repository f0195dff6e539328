"""What a fused ``PrimFunc`` does, read from its loops: works for any kernel, whichever operator it came from."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import tvm
import tvm_ffi
from tvm import tirx
from tvm.ir.expr import TensorLoad
from tvm.s_tir import SBlock

from ..graph.types import dtype_bits
from .roofline import Kind, Work, in_rows

#: Transcendental functions, in units of one ``exp`` (see the measurements in :mod:`.roofline`).
CALLS = {
    "exp": 1, "log": 1, "exp2": 1, "log2": 1, "log10": 1, "log1p": 1, "sigmoid": 1, "erf": 2, "tanh": 2, "sin": 2,
    "cos": 2, "tan": 2, "sinh": 2, "cosh": 2, "asin": 2, "acos": 2, "atan": 2, "asinh": 2, "acosh": 2, "atanh": 2,
    "pow": 2,
}  # fmt: skip
_REDUCE = 2  # IterVar.CommReduce


@dataclass(frozen=True)
class _Block:
    """One statement of a kernel: ``store[indices] = value`` for every point of an iteration space."""

    extents: dict[Any, int]  # iteration variables
    reduced: frozenset[Any]  # those that are summed over
    store: Any
    loads: list[Any]
    calls: float
    conditions: list[Any]  # of conditional expressions

    @property
    def points(self) -> int:
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
        return bool(self.conditions) or any(_is_part(load, self.store) for load in self.loads)

    @property
    def contraction(self) -> bool:
        """Whether it sums products of two tensors."""
        value = self.store.value
        if not self.reduced or type(value).__name__ != "Add":
            return False
        sources = [_through_casts(x) for x in _factors(value.b)]
        return len(sources) == 2 and all(isinstance(x, TensorLoad) for x in sources)


def work_of(func: tirx.PrimFunc) -> Work:
    """Analyse one kernel.

    Parameters
    ----------
    func : tvm.tirx.PrimFunc
        A kernel as TVM's FuseTIR leaves it, not scheduled yet. A symbolic extent counts as 1.

    Returns
    -------
    Work
        Its arithmetic and traffic, and the kind of its heaviest part.
    """
    blocks = _blocks(func)
    calls = sum(b.points * b.calls for b in blocks)
    touched = _touched(func, blocks)
    nbytes = sum(count * dtype_bits(str(p.ty.dtype)) / 8 for p, count in touched.items())
    total = _flops(func, blocks)
    reductions = [b for b in blocks if b.reduced]
    if not blocks:  # loops that aren't made of blocks: a sort, a scan, a call of something else
        return Work(Kind.REDUCE, nbytes, flops=total)
    if not reductions:
        large = max(b.points for b in blocks) // 4  # the others prepare scales, masks, …
        main = [b for b in blocks if b.points >= large]
        return Work(
            Kind.STREAM if all(_straight(b) for b in main) else Kind.SHUFFLE,
            nbytes,
            more_flops=total,
            calls=calls,
            rows=any(b.keeps_rows for b in main) or all(in_rows(list(b.extents.values())) for b in main),
        )
    anchor = max(reductions, key=lambda b: (b.contraction, b.points))
    dtype = str(anchor.store.buffer.ty.dtype)
    if not anchor.contraction:
        return Work(Kind.REDUCE, nbytes, flops=total, calls=calls, dtype=dtype)
    flops = 2.0 * anchor.points
    return Work(
        _contraction_kind(anchor),
        nbytes,
        flops,
        depth=prod(anchor.extents[v] for v in anchor.reduced),
        width=anchor.extents[anchor.outputs[-1]] if anchor.outputs else 1,
        more_flops=max(0.0, total - flops),
        calls=calls,
        dtype=dtype,
    )


def _flops(func: tirx.PrimFunc, blocks: list[_Block]) -> float:
    try:
        return float(tvm.s_tir.analysis.estimate_tir_flops(tvm.IRModule({"main": func})))
    except Exception:  # TVM refuses some hand-written loops, with errors of many kinds
        return float(sum(b.points for b in blocks))


def _blocks(func: tirx.PrimFunc) -> list[_Block]:
    found: list[_Block] = []

    def visit(block: SBlock) -> None:
        if not block.iter_vars:
            return  # the function's root
        stores: list[Any] = []
        tvm_ffi.structural_walk(block.body, (tirx.BufferStore, stores.append))
        extents = {v.var: _extent(v.dom.extent) for v in block.iter_vars}
        reduced = frozenset(v.var for v in block.iter_vars if v.iter_type == _REDUCE)
        for store in stores:
            loads: list[Any] = []
            calls: list[Any] = []
            tvm_ffi.structural_walk(store.value, [(TensorLoad, loads.append), (tvm.ir.Call, calls.append)])
            names = [str(getattr(c.op, "name", "")).rpartition(".")[2] for c in calls]
            conditions = [c.args[0] for c, name in zip(calls, names, strict=True) if name == "if_then_else"]
            found.append(_Block(extents, reduced, store, loads, sum(CALLS.get(n, 0) for n in names), conditions))

    tvm_ffi.structural_walk(func.body, (SBlock, visit))
    return found


def _extent(extent: Any) -> int:
    return int(extent) if isinstance(extent, tirx.IntImm) else 1


def _touched(func: tirx.PrimFunc, blocks: list[_Block]) -> dict[Any, float]:
    """For each buffer parameter, how many of its elements are read or written: a slice doesn't read all.

    One that no block mentions is used in a way that isn't seen here, so all of it counts.
    """
    touched = {p: 0.0 for p in func.params if isinstance(p.ty, tirx.BufferType)}
    for block in blocks:
        for access in [block.store.buffer, *(load.source for load in block.loads)]:
            if access in touched:
                touched[access] += block.points
    sizes = {p: float(prod(_extent(d) for d in p.ty.shape)) for p in touched}
    return {p: min(count or sizes[p], sizes[p]) for p, count in touched.items()}


def _is_part(load: Any, store: Any) -> bool:
    """Whether ``load`` reads, axis by axis, a part of a larger tensor."""
    if len(load.indices) != len(store.indices):
        return False
    if any(_variables(i) - _variables(j) for i, j in zip(load.indices, store.indices, strict=True)):
        return False
    sizes, shape = ([_extent(d) for d in buffer.ty.shape] for buffer in (load.source, store.buffer))
    return any(size > extent for size, extent in zip(sizes, shape, strict=True))


def _factors(value: Any) -> list[Any]:
    value = _through_casts(value)
    return [value.a, value.b] if type(value).__name__ == "Mul" else [value]


def _through_casts(value: Any) -> Any:
    while type(value).__name__ == "Cast":
        value = value.value
    return value


def _straight(block: _Block) -> bool:
    """Whether the innermost output axis runs along the last axis of every operand that it appears in."""
    if not block.outputs:
        return True
    inner = block.outputs[-1]
    if len(block.loads) > 1 and any(_mentions(c, inner) for c in block.conditions):
        return False  # a concatenation along this axis chooses its operand element by element
    return all(_stride(block, load, inner) in (0, 1) for load in block.loads)


def _stride(block: _Block, load: Any, var: Any) -> int | None:
    """0 if ``var`` doesn't index ``load``, its factor if it does so in the last index only, else None."""
    where = [i for i, index in enumerate(load.indices) if _mentions(index, var)]
    if not where:
        return 0
    last = len(load.indices) - 1
    if where == [last] and (factor := _factor(load.indices[last], var)) is not None:
        return factor
    # a reshape divides and takes remainders that the extents make trivial
    analyzer = tvm.sym.Analyzer()
    for v, extent in block.extents.items():
        analyzer.bind(v, tvm.ir.Range(0, extent))
    indices = [analyzer.simplify(index) for index in load.indices]
    if any(_mentions(index, var) for index in indices[:last]):
        return None
    return _factor(indices[last], var)


def _mentions(expr: Any, var: Any) -> bool:
    return var in _variables(expr)


def _variables(expr: Any) -> set[Any]:
    found: set[Any] = set()
    tvm_ffi.structural_walk(expr, (tirx.Var, found.add))
    return found


def _factor(expr: Any, var: Any) -> int | None:
    """The factor of ``var`` in an affine index; None if the index isn't affine in it."""
    if not _mentions(expr, var):
        return 0
    kind = type(expr).__name__
    if kind == "Var":
        return 1
    if kind in ("Add", "Sub"):
        a, b = _factor(expr.a, var), _factor(expr.b, var)
        return None if a is None or b is None else (a + b if kind == "Add" else a - b)
    if kind == "Mul" and isinstance(expr.b, tirx.IntImm):
        a = _factor(expr.a, var)
        return None if a is None else a * int(expr.b)
    return None


def _contraction_kind(block: _Block) -> Kind:
    outputs = block.outputs
    operands = [_through_casts(x) for x in _factors(block.store.value.b)]
    used = [set().union(*map(_variables, load.indices)) for load in operands]
    if any("//" in str(index) for load in operands for index in load.indices):
        return Kind.GROUPED
    if not outputs or any(all(v in variables for v in outputs) for variables in used):
        return Kind.NO_REUSE
    inner = outputs[-1]
    load = operands[0] if inner in used[0] else operands[1]
    stride = _stride(block, load, inner)
    if stride is None:
        return Kind.TRANSPOSED
    if stride > 1:
        return Kind.STRIDED
    # Weights and the right side of a matmul have one output axis of their own; image data has several.
    own = (used[0] ^ used[1]) & set(outputs) & set().union(*map(_variables, load.indices))
    return Kind.DENSE if own == {inner} else Kind.SLIDING
