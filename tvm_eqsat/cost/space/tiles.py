"""A simple model of register tiles: which are worth trying, and which first.

It knows a core that starts two multiply-adds and two loads in a cycle and has each result after four, as cores of x86
and ARM servers do, roughly. A tile of r rows and v vectors a row then needs, for each step of the sum, r·v
multiply-adds, r + v loads, those of the panel from farther away, and r·v + v + 1 registers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product
from math import prod
from typing import NamedTuple

from .contraction import Contraction
from .registers import Registers

_STARTS = 2  # multiply-adds, and loads, in a cycle
_LATENCY = 4  # cycles of a multiply-add
_PANEL = 2  # what a load of a panel costs, which comes from the second-level cache, in other loads
_SPILL = 0.7  # what a tile is worth that needs one or two registers too many
_SHARPNESS = 6  # of the prior: exponent of the modelled speed
_REUSE = 16  # tiles that should be computed from a panel while it is in the nearest cache
_LINE = 256  # bytes of a panel that should be read from one place
_CACHE = 1 << 19  # bytes of a core's own cache
_CHUNKS = 4  # pieces of work for each thread, for balance
_UNEVEN = 0.6  # what a lane is worth in a vector of 3, 5, 6 or 7
_STRIDED = 0.3  # what a lane is worth that is loaded by itself
_RAGGED = 1.08  # how much faster tiles must be that don't divide the rows
_LEAST = 0.02  # tiles that are worth less than this part of the best one aren't tried
#: Vectors in a row, and rows, of a tile are no more than this.
MOST_VECTORS, MOST_ROWS = 8, 32
#: Steps of the sum that are unrolled are no more than this.
MOST_STEPS = 8
#: Sums of so few products are unrolled altogether.
SHORT = 32


class Tile(NamedTuple):
    """The sizes that a register-tiled schedule chooses.

    Attributes
    ----------
    vectors : int
        Vectors in a row of the tile.
    rows : int
        Rows of the tile; where they don't divide the loop, the last tile has fewer.
    across : int
        Tiles side by side whose columns of the panel are copied together.
    block : int
        Iterations of the blocked loop that use a panel while it is cached: tiles, where rows are blocked themselves.
    steps : int
        Steps of the sum's innermost loop that are unrolled.
    """

    vectors: int
    rows: int
    across: int
    block: int
    steps: int


def lanes_of(axes: Contraction, registers: Registers) -> int:
    """Values in a vector: as many as a register holds, or fewer where the columns can't be divided so."""
    full = registers.lanes(axes.bits)
    return max(d for d in divisors(axes.width) if d <= full)


def tiles(axes: Contraction, registers: Registers, threads: int) -> list[tuple[Tile, float]]:
    """Tiles that divide the loops, with probabilities; the likeliest first.

    Parameters
    ----------
    axes : Contraction
        The loops.
    registers : Registers
        Of the target.
    threads : int
        That run the kernel.
    """
    lanes = lanes_of(axes, registers)
    found: dict[Tile, float] = {}
    for v, r in product(_upto(MOST_VECTORS, axes.width // lanes), row_sizes(axes, registers)):
        fast = rate(r, v, axes, registers) ** _SHARPNESS
        if fast == 0:
            continue
        for (across, wide), (steps, good) in product(_across(axes, v * lanes), _steps(axes)):
            for block, shared in _blocks(axes, registers, r, across * v * lanes, threads):
                found[Tile(v, r, across, block, steps)] = fast * wide * shared * good
    largest = max(found.values())
    kept = {tile: weight for tile, weight in found.items() if weight > _LEAST * largest}
    total = sum(kept.values())
    return sorted(((tile, weight / total) for tile, weight in kept.items()), key=lambda item: (-item[1], item[0]))


def best_of(found: Sequence[Contraction], registers: Registers) -> Contraction | None:
    """The one whose tiles are modelled to be the fastest; the first of equals. None of none."""
    return max(found, key=lambda axes: round(_fastest(axes, registers), 3), default=None)


def _fastest(axes: Contraction, registers: Registers) -> float:
    lanes = lanes_of(axes, registers)
    vectors = _upto(MOST_VECTORS, axes.width // lanes)
    best = max(rate(r, v, axes, registers) for r in row_sizes(axes, registers) for v in vectors)
    return best * lanes * (_UNEVEN if lanes & (lanes - 1) else 1.0) * (_STRIDED if axes.stride > 1 else 1.0)


def is_ragged(axes: Contraction, registers: Registers) -> bool:
    """Whether rows of tiles should not divide their loop, because no good number does."""
    if axes.row is None:
        return False
    vectors = _upto(MOST_VECTORS, axes.width // lanes_of(axes, registers))

    def best(rows: Iterable[int]) -> float:
        return max(rate(r, v, axes, registers) for r in rows for v in vectors)

    extent = axes.extents[axes.row]
    return best(range(1, min(MOST_ROWS, extent))) > _RAGGED * best(_upto(MOST_ROWS, extent)) if extent > 1 else False


def row_sizes(axes: Contraction, registers: Registers) -> list[int]:
    """Numbers of rows in a tile: those that divide their loop, or else, if they are all bad, any."""
    if axes.row is None:
        return [1]
    extent = axes.extents[axes.row]
    if is_ragged(axes, registers):
        return [r for r in range(2, min(MOST_ROWS, extent)) if extent % r]
    return _upto(MOST_ROWS, extent)


def rate(rows: int, vectors: int, axes: Contraction, registers: Registers) -> float:
    """Multiply-adds in a cycle, also where the last tile has fewer rows."""
    extent = rows if axes.row is None else axes.extents[axes.row]
    whole, rest = divmod(extent, rows)
    gathered = lanes_of(axes, registers) if axes.stride > 1 else 0
    sizes = ((whole * rows, rows), (rest, rest))
    parts = [(amount, speed(r, vectors, registers, gathered) if r else 1.0) for amount, r in sizes]
    return 0.0 if parts[0][1] == 0 else extent / sum(amount / fast for amount, fast in parts)


def speed(rows: int, vectors: int, registers: Registers, gathered: int = 0) -> float:
    """Multiply-adds in a cycle of a tile, modelled; 0 if it doesn't fit in the registers.

    If ``gathered`` isn't 0, vectors of the panel are loaded in so many pieces, and for each row anew.
    """
    sums = rows * vectors
    loads = rows + (sums * gathered or _PANEL * vectors)
    excess = sums + vectors + 1 - registers.count
    if excess > 2:
        return 0.0
    cycles = max(sums / _STARTS, loads / _STARTS, _LATENCY)
    return sums / cycles * (1 - 0.1 * loads / (sums + loads)) * (_SPILL if excess > 0 else 1.0)


def divisors(extent: int) -> list[int]:
    """All divisors, in order."""
    return [d for d in range(1, extent + 1) if extent % d == 0]


def innermost(axes: Contraction) -> int:
    """The innermost loop of the sum that runs more than once, or the last."""
    return next((i for i in reversed(axes.reduced) if axes.extents[i] > 1), axes.reduced[-1])


def is_short(axes: Contraction) -> bool:
    """Whether the whole sum is unrolled."""
    return prod(axes.extents[i] for i in axes.reduced) <= SHORT


def _across(axes: Contraction, columns: int) -> list[tuple[int, float]]:
    """Numbers of tiles side by side: long reads of a panel, which still fits in a core's own cache."""
    size = columns * axes.bits // 8
    steps = prod(axes.extents[i] for i in axes.reduced)

    def worth(across: int) -> float:
        return _saturating(across * size, _LINE) * _saturating(_CACHE, across * size * steps)

    return [(across, worth(across)) for across in divisors(axes.extents[axes.column] // columns)]


def _blocks(axes: Contraction, registers: Registers, rows: int, columns: int, threads: int) -> list[tuple[int, float]]:
    """Sizes of a block: panels are used often, and there is enough to do side by side."""
    if axes.blocked is None:
        return [(1, 1.0)]
    alone = axes.blocked == axes.row
    across = 1 if alone or axes.row is None else -(-axes.extents[axes.row] // rows)
    extent = -(-axes.extents[axes.blocked] // (rows if alone else 1))
    pieces = prod(axes.extents[i] for i in axes.outer) * (axes.extents[axes.column] // columns)

    def worth(block: int) -> float:
        chunks = pieces * (extent // block)
        even = chunks / (threads * -(-chunks // threads))
        return _saturating(block * across, _REUSE) * _saturating(chunks, _CHUNKS * threads) * even

    # the last tile must be told from the others when the kernel is compiled: not where blocks are shared out
    whole = alone and is_ragged(axes, registers)
    return [(block, worth(block)) for block in ([extent] if whole else divisors(extent))]


def _steps(axes: Contraction) -> list[tuple[int, float]]:
    if is_short(axes):
        return [(1, 1.0)]
    extent = axes.extents[innermost(axes)]
    return [(n, 1 / n) for n in _upto(MOST_STEPS, extent)]  # LLVM unrolls by itself where that helps


def _saturating(amount: float, enough: float) -> float:
    """Nearly in proportion to an amount that is far from enough, nearly 1 for one that is plenty."""
    return (amount / (amount + enough / 2)) ** 2


def _upto(most: int, extent: int) -> list[int]:
    return [d for d in divisors(extent) if d <= most]
