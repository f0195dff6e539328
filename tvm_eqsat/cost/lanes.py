"""What the lanes of a vector read, when a kernel's loops are fused into one and vectorised.

That is how MetaSchedule schedules elementwise kernels on CPUs: all loops fused, 64 elements at a time. Whether 64
neighbours are read by vector loads, or gathered one by one at ten times the time, depends on whether TVM's arithmetic
can still tell after fusion that their addresses follow each other. So TVM is asked.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple

import tvm
from tvm import tirx

from .loops import Block, extent_of, factor_of

_LANES = 64
_ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "Add": lambda a, b: a + b,
    "Sub": lambda a, b: a - b,
    "Mul": lambda a, b: a * b,
    "FloorDiv": tirx.floordiv,
    "FloorMod": tirx.floormod,
}


class Lanes(NamedTuple):
    """How many loads of one statement, and of those whose results it takes over, go how.

    Attributes
    ----------
    contiguous : int
        Neighbours in the vector are neighbours in memory.
    broadcast : int
        All lanes read the same.
    strided : int
        They read at equal distances.
    gathered : int
        None of these, as far as TVM can tell.
    """

    contiguous: int
    broadcast: int
    strided: int
    gathered: int


def lanes(block: Block, blocks: list[Block]) -> Lanes:
    """How a statement reads along its outputs.

    Parameters
    ----------
    block : Block
        The statement.
    blocks : list of Block
        All statements of the kernel. Those without a sum are taken to be inlined where their result is read.
    """
    vector, lane = tirx.Var("vector", "int64"), tirx.Var("lane", "int64")
    spatial = [v for v in block.extents if v not in block.reduced]
    points = prod(block.extents[v] for v in spatial)
    analyzer = tvm.sym.Analyzer()
    analyzer.bind(vector, tvm.ir.Range(0, max(1, points // _LANES)))
    analyzer.bind(lane, tvm.ir.Range(0, _LANES))
    for v in block.reduced:
        analyzer.bind(v, tvm.ir.Range(0, block.extents[v]))
    values: dict[Any, Any] = {}
    for v in spatial:
        points //= block.extents[v]
        fused = tirx.floordiv(vector * _LANES + lane, points)
        # axis by axis, as TVM does: what it simplifies here may keep it from putting an address together again
        values[v] = analyzer.simplify(tirx.floormod(fused, block.extents[v]))
    makers = {b.store.buffer: b for b in blocks if not b.reduced}
    steps = _steps(block, values, makers, analyzer, lane)
    return Lanes(
        sum(step == 1 for step in steps),
        sum(step == 0 for step in steps),
        sum(step not in (None, 0, 1) for step in steps),
        sum(step is None for step in steps),
    )


def _steps(block: Block, values: dict[Any, Any], makers: dict[Any, Block], analyzer: Any, lane: Any) -> list[Any]:
    """For each load, the distance between neighbours; None if it isn't always the same."""
    found: list[Any] = []
    for load in block.loads:
        if load.source.same_as(block.store.buffer):
            continue  # the sum so far
        indices = [analyzer.simplify(_replaced(index, values)) for index in load.indices]
        maker = makers.get(load.source)
        if maker is not None and all(isinstance(i, tirx.Var) for i in maker.store.indices):
            found += _steps(maker, dict(zip(maker.store.indices, indices, strict=True)), makers, analyzer, lane)
            continue
        address = tirx.IntImm("int64", 0)
        for index, extent in zip(indices, load.source.ty.shape, strict=True):
            address = address * extent_of(extent) + index
        found.append(factor_of(analyzer.simplify(address), lane))
    return found


def _replaced(expr: Any, values: dict[Any, Any]) -> Any:
    """An index with its variables replaced; what isn't integer arithmetic becomes a variable without bounds."""
    if isinstance(expr, tirx.Var):
        return values.get(expr, expr)
    if isinstance(expr, tirx.IntImm):
        return expr
    combine = _ARITHMETIC.get(type(expr).__name__)
    if combine is None:
        return tirx.Var("unknown", "int64")
    return combine(_replaced(expr.a, values), _replaced(expr.b, values))
