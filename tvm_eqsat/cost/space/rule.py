"""A schedule rule of MetaSchedule: tiles of sums that stay in vector registers, for convolutions and matrix products.

The loops become, from outside in::

    parallel over everything else, blocks, and panels of columns
      the columns of a panel, the iterations of a block, rows
        the sum
          rows and vectors of a tile, unrolled; the lanes of a vector

with what follows on the sum (bias, activation) applied to each tile as soon as it is complete. Sums are kept in a
buffer of the tile's size, whose indices are all constants after unrolling: LLVM keeps it in registers. A panel whose
rows lie far apart in memory can be copied first, so that it lies side by side in the cache (Goto and van de Geijn,
"Anatomy of high-performance matrix multiplication", 2008); padding is made for everything at once, or by each block
for itself.
"""

from __future__ import annotations

from tvm.ir.utils import derived_object
from tvm.s_tir import Schedule
from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.schedule import LoopRV, SBlockRV, ScheduleError
from tvm.target import Target

from .contraction import Contraction, contraction_of
from .registers import Registers, registers_of
from .tiles import MOST_ROWS, MOST_STEPS, MOST_VECTORS, Tile, innermost, is_short, lanes_of

#: How MetaSchedule's rules tell each other that a statement is tiled already.
_TILED = "meta_schedule.tiling_structure"
_VALUE = "registers"
_REDUCE = 2  # IterVar.CommReduce


@derived_object
class RegisterTiles(ms.schedule_rule.PyScheduleRule):
    """Tiles sums of products for the vector registers of a CPU; leaves everything else alone.

    It goes after the rules that inline, and before none: what it returns is scheduled completely.

    Parameters
    ----------
    target : tvm.target.Target
        The CPU.
    """

    def __init__(self, target: Target) -> None:
        super().__init__()
        self.target = target
        self.registers = registers_of(target)

    def _initialize_with_tune_context(self, context: ms.TuneContext) -> None:
        """All that it needs, it has."""

    def apply(self, sch: Schedule, block: SBlockRV) -> list[Schedule]:
        """The schedules of a sum of products, with and without a copy of the panel; any other statement as it is."""
        axes = contraction_of(sch.get(block))
        if axes is None or not _is_alone(sch, block):
            return [sch]
        found = []
        padded = bool(sch.get_producers(block))
        for packed in (False, True):
            for near in (False, True) if padded else (False,):
                for fused in (True, False):
                    copy = sch.copy()
                    try:
                        tile(copy, block, axes, self.registers, fused=fused, packed=packed, near=near)
                    except ScheduleError:
                        continue
                    found.append(copy)
                    break
        return found or [sch]

    def clone(self) -> ms.schedule_rule.ScheduleRule:
        """Another one of the same kind."""
        return RegisterTiles(self.target)


def is_tiled(sch: Schedule) -> bool:
    """Whether a schedule is one of :class:`RegisterTiles`."""
    return f'ann_key="{_TILED}", ann_val="{_VALUE}"' in str(sch.trace)


def decisions(tile: Tile, axes: Contraction, registers: Registers) -> list[list[int]]:
    """What the sampling instructions of :func:`tile` have to decide for a tile, in their order."""
    groups = axes.extents[axes.column] // lanes_of(axes, registers)
    found = [[groups // (tile.vectors * tile.across), tile.across, tile.vectors]]
    if axes.row is not None:
        count = axes.extents[axes.row] // tile.rows
        found.append([count // tile.block, tile.block, tile.rows] if axes.blocked == axes.row else [count, tile.rows])
    if axes.blocked is not None and axes.blocked != axes.row:
        found.append([axes.extents[axes.blocked] // tile.block, tile.block])
    if not is_short(axes):
        found.append([axes.extents[innermost(axes)] // tile.steps, tile.steps])
    return found


def tile(
    sch: Schedule,
    block: SBlockRV,
    axes: Contraction,
    registers: Registers,
    *,
    fused: bool,
    packed: bool,
    near: bool,
) -> None:
    """Schedule a sum of products, and all other statements of the kernel.

    Parameters
    ----------
    sch : Schedule
        What is scheduled.
    block : SBlockRV
        The sum.
    axes : Contraction
        Its loops.
    registers : Registers
        Of the target.
    fused : bool
        Whether its only consumer works on a tile at a time; if not, a copy of the tile's sums does.
    packed : bool
        Whether the panel is copied.
    near : bool
        Whether each block makes its padding for itself.

    Raises
    ------
    ScheduleError
        It can't be scheduled so.
    """
    producers = sch.get_producers(block)
    consumers = sch.get_consumers(block)
    lanes = lanes_of(axes, registers)
    panel = sch.cache_read(block, axes.panel, "global") if packed else None
    # not of scope "local": TVM puts small buffers on the stack only where their scope is "global"
    last = consumers[0] if fused and len(consumers) == 1 else sch.cache_write(block, 0, "global")
    sch.annotate(block, _TILED, _VALUE)

    loops = sch.get_loops(block)
    groups, lane = sch.split(loops[axes.column], [None, lanes])
    panels, across, vector = _split(sch, groups, 3, MOST_VECTORS)
    shared, inside, unrolled = [loops[i] for i in axes.outer], [], []
    if axes.row is not None:
        *outside, row = _split(sch, loops[axes.row], 3 if axes.blocked == axes.row else 2, MOST_ROWS)
        inside, unrolled = [outside[-1]], [row]
        shared += outside[:-1]
    if axes.blocked is not None and axes.blocked != axes.row:
        outer, inner = _split(sch, loops[axes.blocked], 2, 0)
        shared.append(outer)
        inside = [inner, *inside]
    summed = {i: [loops[i]] for i in axes.reduced}
    if not is_short(axes):
        summed[innermost(axes)] = _split(sch, loops[innermost(axes)], 2, MOST_STEPS)
        unrolled = [summed[innermost(axes)].pop(), *unrolled]
    steps = [loop for part in summed.values() for loop in part]
    sch.reorder(*shared, panels, across, *inside, *steps, *unrolled, vector, lane)

    place = inside[-1] if inside else across
    sch.reverse_compute_at(last, place, preserve_unit_loops=True)
    finish = sch.get_loops(last)[len(shared) + 2 + len(inside) :]
    _unroll_and_vectorize(sch, finish, lanes)
    sch.vectorize(lane)
    for loop in (*unrolled, vector, *(steps if is_short(axes) else ())):
        sch.unroll(loop)

    if near and shared:
        outermost = sch.fuse(*shared)
        for producer in producers:
            sch.compute_at(producer, outermost, preserve_unit_loops=True)
            _vectorize(sch, sch.get_loops(producer)[-1], lanes)
    else:
        outermost = panels = sch.fuse(*shared, panels)
    if panel is not None:
        sch.compute_at(panel, panels, preserve_unit_loops=True)
        _vectorize(sch, sch.get_loops(panel)[-1], lanes)
    sch.parallel(outermost)
    for other in (*(() if near and shared else producers), *(c for c in consumers if c is not last)):
        *around, innermost_loop = sch.get_loops(other)
        if around:
            sch.parallel(sch.fuse(*around))
        _vectorize(sch, innermost_loop, lanes)


def _split(sch: Schedule, loop: LoopRV, parts: int, most: int) -> list[LoopRV]:
    extent = int(sch.get(loop).extent)
    return list(sch.split(loop, sch.sample_perfect_tile(loop, parts, most or extent)))


def _unroll_and_vectorize(sch: Schedule, loops: list[LoopRV], lanes: int) -> None:
    """A tile's loops: the innermost in vectors, and all others unrolled."""
    vectors, lane = sch.split(loops[-1], [None, lanes])
    sch.vectorize(lane)
    for loop in (*loops[:-1], vectors):
        sch.unroll(loop)


def _vectorize(sch: Schedule, loop: LoopRV, lanes: int) -> None:
    """The innermost loop of a statement, if vectors divide it."""
    if int(sch.get(loop).extent) % lanes == 0:
        sch.vectorize(sch.split(loop, [None, lanes])[1])


def _is_alone(sch: Schedule, block: SBlockRV) -> bool:
    """Whether every other statement of the kernel makes an operand of the sum, or uses its result, without a sum."""
    others = sch.get_child_blocks(sch.get_sblock("root"))
    direct = [*sch.get_producers(block), *sch.get_consumers(block)]
    sums = sum(any(v.iter_type == _REDUCE for v in sch.get(b).iter_vars) for b in others)
    return sums == 1 and len(others) == 1 + len(direct)
