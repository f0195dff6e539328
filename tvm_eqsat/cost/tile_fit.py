"""How well a kernel's sum of products fits register tiles, for learning its latency.

Such sums are tuned with tiles that fill the vector registers (:mod:`.space`). The model that orders the tiles tells how
fast the best one can be: less where the columns don't fill vectors, or the rows can't be divided well.
"""

from __future__ import annotations

from itertools import product
from math import log2, prod

import tvm_ffi
from tvm import tirx
from tvm.s_tir import SBlock

from .space.contraction import contractions_of
from .space.registers import Registers
from .space.tiles import MOST_VECTORS, best_of, divisors, lanes_of, rate, row_sizes

#: What the numbers are called, in order; all are 0 for a kernel without a sum of products, or with several.
TILE_FEATURES: tuple[str, ...] = ("tiled", "tile_lanes", "tile_speed", "tile_vectors", "tile_rows", "tile_count")
#: Registers that most CPUs have, near enough to compare kernels.
_REGISTERS = Registers(256, 16)
_FASTEST = 2.0  # multiply-adds of vectors in a cycle


def tile_fit(func: tirx.PrimFunc) -> dict[str, float]:
    """Describe the best register tile of a kernel.

    Parameters
    ----------
    func : tvm.tirx.PrimFunc
        The kernel, not scheduled.

    Returns
    -------
    dict of str to float
        Some of :data:`TILE_FEATURES`. Sizes are logarithms to base 2; ``tile_lanes`` and ``tile_speed`` are those of
        full vectors and of the core's peak, so 0 at best.
    """
    blocks: list[SBlock] = []
    tvm_ffi.structural_walk(func.body, (SBlock, blocks.append))
    sums = [found for block in blocks if block.iter_vars and (found := contractions_of(block))]
    axes = best_of(sums[0], _REGISTERS) if len(sums) == 1 else None
    if axes is None:
        return {}
    lanes, full = lanes_of(axes, _REGISTERS), _REGISTERS.lanes(axes.bits)
    vectors = [v for v in divisors(axes.width // lanes) if v <= MOST_VECTORS]
    sizes = {(r, v): rate(r, v, axes, _REGISTERS) for r, v in product(row_sizes(axes, _REGISTERS), vectors)}
    (rows, wide), fast = max(sizes.items(), key=lambda item: item[1])
    outputs = prod(n for i, n in enumerate(axes.extents) if i not in axes.reduced)
    return {
        "tiled": 1.0,
        "tile_lanes": log2(lanes / full),
        "tile_speed": log2(fast * lanes / (_FASTEST * full)),
        "tile_vectors": float(wide),
        "tile_rows": log2(rows),
        "tile_count": log2(outputs / (rows * wide * lanes)),
    }
