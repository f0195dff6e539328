"""A fused kernel in numbers, for learning its latency: read from its loops, before any schedule.

Sizes are logarithms to base 2, and the machine's limits are in as ratios, so that equal numbers mean equal behaviour.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from math import ceil, log2, prod
from typing import Any

import numpy as np
import tvm_ffi
from tvm import tirx
from tvm.s_tir import SBlock

from ..graph.types import dtype_bits
from .lanes import lanes
from .loops import Block, blocks_of, factor_of, is_part, mentions, step_of, variables_of
from .lower import Kernel
from .machine import Machine
from .roofline import Kind, in_rows, seconds
from .tile_fit import TILE_FEATURES, tile_fit

_KINDS = tuple(f"kind_{kind.value.replace(' ', '_')}" for kind in Kind)
_OPERANDS = 2  # operands of the heaviest part that are looked at, the largest first
_PER_OPERAND = ("bytes", "reuse", "stride_inner", "stride_second", "stride_sum")
#: Bytes of a core's own first- and second-level caches: what most CPUs have, near enough to compare kernels.
_L1, _L2 = 32 << 10, 512 << 10
_LANES = 8  # elements that fill a vector register; tiles of 16 and 32 are covered by the powers of two
_NOT_AFFINE = -1.0  # in place of a stride

#: What the numbers of a vector are called, in order.
FEATURES: tuple[str, ...] = (
    *("roofline", "intensity", "compute_share", "flops", "bytes", "more_flops", "calls"),
    *("depth", "width", "rows", "bits", *_KINDS),
    *("blocks", "reductions", "before", "after", "after_loads", "transcendental"),
    *("padding", "padding_waste", "conditions", "conditions_inner", "arms", "parts", "divisions"),
    *("uniform", "scattered", "broadcast", "passes"),
    *("lanes_contiguous", "lanes_broadcast", "lanes_strided", "lanes_gathered", "gathering"),
    *("points", "spatial", "reduced", "inner", "inner_power", "inner_fit", "inner_chunk", "second", "second_power"),
    *("outer", "sum_inner", "sum_window", "loads", "stride", "dilation"),
    *("parameter_bytes", "scratch_bytes", "output_bytes", "over_l1", "over_l2", "over_last"),
    *(f"operand{i}_{what}" for i in range(_OPERANDS) for what in _PER_OPERAND),
    *TILE_FEATURES,
)


@dataclass(frozen=True)
class _Key:
    """A kernel by its structure, so that equal ones are analysed once."""

    hash: int
    machine: Machine
    kernel: Kernel = field(compare=False)


def features(kernel: Kernel, machine: Machine) -> np.ndarray:
    """Describe a kernel.

    Parameters
    ----------
    kernel : Kernel
        A kernel that has a ``mod``.
    machine : Machine
        Where it runs.

    Returns
    -------
    numpy.ndarray
        float32, one finite number for each of :data:`FEATURES`. The array is remembered by structural hash and can't
        be written to.

    Raises
    ------
    ValueError
        The kernel has no ``mod``: it isn't TIR, so there is nothing to read.
    """
    if kernel.mod is None:
        raise ValueError(f"{kernel.name} has no features: it isn't TIR")
    return _remembered(_Key(kernel.hash, machine, kernel))


@lru_cache(maxsize=8192)
def _remembered(key: _Key) -> np.ndarray:
    func = key.kernel.mod["main"]  # type: ignore[index]
    blocks = blocks_of(func)
    found = _limits(key.kernel, key.machine) | _sizes(func, key.machine)
    if blocks:  # a sort or a scan has none
        anchor = max(blocks, key=lambda b: (b.contraction, bool(b.reduced), b.points))
        found |= _surroundings(blocks, anchor) | _walks(blocks) | _lanes(blocks) | _loops(anchor) | _access(anchor)
        found |= tile_fit(func)
    vector = np.array([found.get(name, 0.0) for name in FEATURES], np.float32)
    vector.flags.writeable = False
    return vector


def _log(value: float) -> float:
    return log2(max(value, 1.0))


def _limits(kernel: Kernel, machine: Machine) -> dict[str, float]:
    """What the roofline knows."""
    work = kernel.work
    computing = kernel.flops / machine.peak(work.dtype) + work.calls / machine.scalar_calls
    return {
        "roofline": log2(max(seconds(machine, work), 1e-9)),
        "intensity": log2((kernel.flops + 1) / (kernel.nbytes + 1)),
        "compute_share": log2((computing + 1e-9) / (machine.transfer(kernel.nbytes) + 1e-9)),
        "flops": _log(work.flops),
        "bytes": _log(work.nbytes),
        "more_flops": _log(work.more_flops),
        "calls": _log(work.calls),
        "depth": _log(work.depth),
        "width": _log(work.width),
        "rows": float(work.rows),
        "bits": float(dtype_bits(work.dtype)),
        **{name: float(kind is work.kind) for name, kind in zip(_KINDS, Kind, strict=True)},
    }


def _sizes(func: tirx.PrimFunc, machine: Machine) -> dict[str, float]:
    """Footprint: what the kernel is given, what it allocates, and how that fits the caches."""
    buffers = [p for p in func.params if isinstance(p.ty, tirx.BufferType)]
    scratch: list[Any] = []
    tvm_ffi.structural_walk(func.body, (SBlock, lambda b: scratch.extend(b.alloc_buffers)))
    given, allocated = _nbytes(buffers), _nbytes(scratch)
    return {
        "parameter_bytes": _log(given),
        "scratch_bytes": _log(allocated),
        "output_bytes": _log(_nbytes(buffers[-1:])),
        "over_l1": log2((given + allocated + 1) / _L1),
        "over_l2": log2((given + allocated + 1) / _L2),
        "over_last": log2((given + allocated + 1) / machine.cache_bytes),
    }


def _nbytes(buffers: Iterable[Any]) -> float:
    return sum(_elements(b) * dtype_bits(str(b.ty.dtype)) / 8 for b in buffers)


def _elements(buffer: Any) -> float:
    return float(prod(int(d) if isinstance(d, tirx.IntImm) else 1 for d in buffer.ty.shape))


def _surroundings(blocks: list[Block], anchor: Block) -> dict[str, float]:
    """What was fused with the heaviest part: padding, prologue, epilogue."""
    at = blocks.index(anchor)
    padding = [b for b in blocks if b.conditions]
    read = sum(min(_elements(load.source) for load in b.loads) for b in padding if b.loads)
    inner_conditions = [b for b in padding if b.outputs and any(mentions(c, b.outputs[-1]) for c in b.conditions)]
    loads = [(b, load) for b in blocks for load in b.loads]
    return {
        "blocks": float(len(blocks)),
        "reductions": float(sum(bool(b.reduced) for b in blocks)),
        "before": _log(sum(b.points for b in blocks[:at])),
        "after": float(len(blocks) - at - 1),
        "after_loads": float(sum(len(b.loads) for b in blocks[at + 1 :])),
        "transcendental": log2(1 + sum(b.calls * b.points for b in blocks) / anchor.points),
        "padding": float(len(padding)),
        "padding_waste": _log(sum(b.points for b in padding) / read) if read else 0.0,
        "conditions": float(len(anchor.conditions)),
        "conditions_inner": float(bool(inner_conditions)),
        "arms": float(sum(len(b.conditions) for b in padding if len(b.loads) > 1)),
        "parts": float(sum(is_part(load, b.store) for b, load in loads)),
        "divisions": float(sum("//" in str(load.indices) or "%" in str(load.indices) for _, load in loads)),
    }


def _walks(blocks: list[Block]) -> dict[str, float]:
    """How all parts together walk through memory, along their innermost axes."""
    steps: list[tuple[int, float]] = []  # points of a load, and from one of them to the next
    for block in blocks:
        for load in block.loads:
            if block.outputs and not load.source.same_as(block.store.buffer):
                steps.append((block.points, _distance(block, load, block.outputs[-1])))
    total = max(1, sum(points for points, _ in steps))
    return {
        # one loop over everything, whatever the shape
        "uniform": float(all(str(load.indices) == str(b.store.indices) for b in blocks for load in b.loads)),
        "scattered": sum(points for points, step in steps if step not in (0, 1)) / total,
        "broadcast": sum(points for points, step in steps if step == 0) / total,
        "passes": log2(sum(b.points for b in blocks) / blocks[-1].points),
    }


def _lanes(blocks: list[Block]) -> dict[str, float]:
    """What vectors read along the outputs of the last of the largest statements."""
    largest = max(b.points for b in blocks)
    block = [b for b in blocks if b.points == largest][-1]
    found = lanes(block, blocks)
    return {
        **{f"lanes_{how}": float(count) for how, count in found._asdict().items()},
        "gathering": _log(block.points * found.gathered),
    }


def _loops(block: Block) -> dict[str, float]:
    """Iteration space of the heaviest part: what there is to parallelise, tile, vectorise and sum up."""
    outputs = [block.extents[v] for v in block.outputs] or [1]
    sums = [block.extents[v] for v in block.reduced]
    inner, second = outputs[-1], outputs[-2] if len(outputs) > 1 else 1
    return {
        "points": _log(block.points),
        "spatial": _log(prod(outputs)),
        "reduced": _log(prod(sums)),
        "inner": _log(inner),
        "inner_power": _log(_power_of_two(inner)),
        "inner_fit": inner / (ceil(inner / _LANES) * _LANES),
        "inner_chunk": float(in_rows(outputs)),
        "second": _log(second),
        "second_power": _log(_power_of_two(second)),
        "outer": _log(prod(outputs[:-2])),
        "sum_inner": _log(max(sums, default=1)),
        "sum_window": _log(prod(sums) / max(sums, default=1)),
        "loads": float(len(block.loads)),
    }


def _power_of_two(n: int) -> int:
    """The largest power of two that divides ``n``, at most 64."""
    return min(64, n & -n)


def _access(block: Block) -> dict[str, float]:
    """How the heaviest part walks through what it reads."""
    found: dict[str, float] = {}
    reduced = [v for v in block.extents if v in block.reduced and block.extents[v] > 1]
    axes = {
        "stride_inner": block.outputs[-1:],
        "stride_second": block.outputs[-2:-1],
        "stride_sum": reduced[-1:],
    }
    operands = _operands(block)
    for i, load in enumerate(operands[:_OPERANDS]):
        name = f"operand{i}"
        used = set().union(*map(variables_of, load.indices))
        found[f"{name}_bytes"] = _log(_nbytes([load.source]))
        found[f"{name}_reuse"] = _log(block.points / max(1, prod(n for v, n in block.extents.items() if v in used)))
        for what, variables in axes.items():
            if variables:
                found[f"{name}_{what}"] = _distance(block, load, variables[0])
    found["stride"] = _largest_step(operands, block.outputs)
    found["dilation"] = _largest_step(operands, reduced)
    return found


def _operands(block: Block) -> list[Any]:
    """What is read apart from the sum itself, the largest first."""
    own = block.store.buffer
    loads = [load for load in block.loads if not load.source.same_as(own)]
    return sorted(loads, key=lambda load: -_elements(load.source))


def _distance(block: Block, load: Any, axis: Any) -> float:
    """Elements between what two neighbours along an axis read: 0 is the same, 1 the next; logarithmic beyond."""
    step = step_of(block, load, axis)
    if step is not None:
        return float(step if abs(step) <= 1 else 1 + log2(abs(step)))
    where = [i for i, index in enumerate(load.indices) if mentions(index, axis)]
    if len(where) != 1:
        return _NOT_AFFINE
    shape = [int(d) if isinstance(d, tirx.IntImm) else 1 for d in load.source.ty.shape]
    return 1 + _log(prod(shape[where[0] + 1 :]))


def _largest_step(loads: list[Any], axes: list[Any]) -> float:
    """The largest factor of an axis in any index: the stride or the dilation of a window."""
    steps = [factor_of(index, axis) or 0 for load in loads for index in load.indices for axis in axes]
    return float(max(map(abs, steps), default=0))
