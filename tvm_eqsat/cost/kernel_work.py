"""What a fused ``PrimFunc`` does, read from its loops: works for any kernel, whichever operator it came from."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

import tvm
from tvm import tirx

from ..graph.types import dtype_bits
from .lanes import lanes
from .loops import Block, blocks_of, extent_of, factors, mentions, step_of, through_casts, variables_of
from .roofline import Kind, Work, in_rows


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
    blocks = blocks_of(func)
    nbytes = [count * dtype_bits(str(p.ty.dtype)) / 8 for p, count in _touched(func, blocks).items()]
    return replace(_work_of(func, blocks, sum(nbytes)), carried=nbytes[0] if len(nbytes) > 1 else 0.0)


def _work_of(func: tirx.PrimFunc, blocks: list[Block], nbytes: float) -> Work:
    calls = sum(b.points * b.calls for b in blocks)
    total = _flops(func, blocks)
    reductions = [b for b in blocks if b.reduced]
    if not blocks:  # loops that aren't made of blocks: a sort, a scan, a call of something else
        return Work(Kind.REDUCE, nbytes, flops=total)
    if not reductions:
        large = max(b.points for b in blocks) // 4  # the others prepare scales, masks, …
        main = [b for b in blocks if b.points >= large]
        read = lanes(main[-1], blocks)
        by_vectors = not read.gathered and not any(b.conditions for b in main)
        return Work(
            Kind.STREAM if (by_vectors and not read.strided) or all(_straight(b) for b in main) else Kind.SHUFFLE,
            nbytes,
            more_flops=total,
            calls=calls,
            rows=by_vectors or any(b.keeps_rows for b in main) or all(in_rows(list(b.extents.values())) for b in main),
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


def _flops(func: tirx.PrimFunc, blocks: list[Block]) -> float:
    try:
        return float(tvm.s_tir.analysis.estimate_tir_flops(tvm.IRModule({"main": func})))
    except Exception:  # TVM refuses some hand-written loops, with errors of many kinds
        return float(sum(b.points for b in blocks))


def _touched(func: tirx.PrimFunc, blocks: list[Block]) -> dict[Any, float]:
    """For each buffer parameter, how many of its elements are read or written: a slice doesn't read all.

    One that no block mentions is used in a way that isn't seen here, so all of it counts.
    """
    touched = {p: 0.0 for p in func.params if isinstance(p.ty, tirx.BufferType)}
    for block in blocks:
        for access in [block.store.buffer, *(load.source for load in block.loads)]:
            if access in touched:
                touched[access] += block.points
    sizes = {p: float(prod(extent_of(d) for d in p.ty.shape)) for p in touched}
    return {p: min(count or sizes[p], sizes[p]) for p, count in touched.items()}


def _straight(block: Block) -> bool:
    """Whether the innermost output axis runs along the last axis of every operand that it appears in."""
    if not block.outputs:
        return True
    inner = block.outputs[-1]
    if len(block.loads) > 1 and any(mentions(c, inner) for c in block.conditions):
        return False  # a concatenation along this axis chooses its operand element by element
    return all(step_of(block, load, inner) in (0, 1) for load in block.loads)


def _contraction_kind(block: Block) -> Kind:
    outputs = block.outputs
    operands = [through_casts(x) for x in factors(block.store.value.b)]
    used = [set().union(*map(variables_of, load.indices)) for load in operands]
    if any("//" in str(index) for load in operands for index in load.indices):
        return Kind.GROUPED
    if not outputs or any(all(v in variables for v in outputs) for variables in used):
        return Kind.NO_REUSE
    inner = outputs[-1]
    load = operands[0] if inner in used[0] else operands[1]
    step = step_of(block, load, inner)
    if step is None:
        return Kind.TRANSPOSED
    if step > 1:
        return Kind.STRIDED
    # Weights and the right side of a matmul have one output axis of their own; image data has several.
    own = (used[0] ^ used[1]) & set(outputs) & set().union(*map(variables_of, load.indices))
    return Kind.DENSE if own == {inner} else Kind.SLIDING
