"""A schedule rule of MetaSchedule: tiles of sums that stay in vector registers, for convolutions and matrix products.

The loops become, from outside in::

    parallel over everything else, blocks, and panels of columns
      the columns of a panel, the iterations of a block, rows
        the sum
          rows and vectors of a tile, unrolled; the lanes of a vector

with what follows on the sum (bias, activation) applied to each tile as soon as it is complete. Sums are kept in a
buffer of the tile's size, whose indices are all constants after unrolling: LLVM keeps it in registers. A panel whose
rows lie far apart in memory can be copied first, so that it lies side by side in the cache (Goto and van de Geijn,
"Anatomy of high-performance matrix multiplication", 2008); padding is made for everything at once, by each block
for itself, or, for short sums, where it is read.

Columns need not be neighbours in the output: a convolution in NCHW is computed in vectors of filters, as in NHWC, and
each tile is turned when it is stored. Its input can be copied with channels last first, in the course of padding.
"""

from __future__ import annotations

from itertools import product

from tvm.ir.utils import derived_object
from tvm.s_tir import Schedule
from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.schedule import LoopRV, SBlockRV, ScheduleError
from tvm.target import Target

from .contraction import Contraction, contractions_of
from .registers import Registers, registers_of
from .tiles import (
    MOST_ROWS,
    MOST_STEPS,
    MOST_VECTORS,
    Tile,
    best_of,
    innermost,
    is_ragged,
    is_short,
    lanes_of,
    row_sizes,
)

#: How MetaSchedule's rules tell each other that a statement is tiled already.
_TILED = "meta_schedule.tiling_structure"
_VALUE = "registers"
# Tells TVM to compile a loop's last iteration by itself, where the others need no conditions.
_PARTITION = "pragma_loop_partition_hint"
_REDUCE = 2  # IterVar.CommReduce
#: Where padding is made, see :func:`tile`.
FIRST, NEAR, INLINE = "first", "near", "inline"


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
        """The schedules of a sum of products, with and without copies of its operands; any other statement as it is."""
        axes = best_of(contractions_of(sch.get(block)), self.registers)
        if axes is None or not _is_alone(sch, block):
            return [sch]
        found = []
        padded = bool(sch.get_producers(block))
        for packed, fed in product(_packings(sch, block, axes), (True, False) if axes.scattered else (False,)):
            # a long sum reads its padding too often to ask each time where it is
            places = [FIRST, NEAR, *([INLINE] if is_short(axes) and not fed else [])] if padded or fed else [FIRST]
            for padding in places:
                for fused in (True, False):
                    copy = sch.copy()
                    try:
                        tile(copy, block, axes, self.registers, fused=fused, packed=packed, fed=fed, padding=padding)
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


def decisions(tile: Tile, axes: Contraction, registers: Registers) -> list[list[int] | int]:
    """What the sampling instructions of :func:`tile` have to decide for a tile, in their order."""
    groups = axes.extents[axes.column] // lanes_of(axes, registers)
    found: list[list[int] | int] = [[groups // (tile.vectors * tile.across), tile.across, tile.vectors]]
    if axes.row is not None and is_ragged(axes, registers):
        found.append(row_sizes(axes, registers).index(tile.rows))
    elif axes.row is not None:
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
    fed: bool,
    padding: str,
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
    fed : bool
        Whether the other operand is copied into the order in which the sum walks through it.
    padding : str
        Whether padding, or this copy, is made first; by each block for itself; or padding not at all: whoever reads it
        sees to it.

    Raises
    ------
    ScheduleError
        It can't be scheduled so.
    """
    if fed:
        _feed(sch, block, axes)
    if padding == INLINE:
        for producer in sch.get_producers(block):
            sch.compute_inline(producer)
    producers = sch.get_producers(block)
    consumers = sch.get_consumers(block)
    lanes = lanes_of(axes, registers)
    panel = sch.cache_read(block, axes.panel, "global") if packed else None
    if panel is not None and axes.gathered:
        _reorder(sch, panel, axes.panel_order)
    # not of scope "local": TVM puts small buffers on the stack only where their scope is "global"
    last = consumers[0] if fused and len(consumers) == 1 else sch.cache_write(block, 0, "global")
    if axes.turned:
        _reorder(sch, block, axes.order)
    sch.annotate(block, _TILED, _VALUE)

    loops = sch.get_loops(block)
    groups, lane = sch.split(loops[axes.column], [None, lanes])
    panels, across, vector = _split(sch, groups, 3, MOST_VECTORS)
    shared, inside, unrolled = [loops[i] for i in axes.outer], [], []
    if axes.row is not None and is_ragged(axes, registers):
        sizes = row_sizes(axes, registers)
        size = sch.sample_categorical(sizes, [1 / len(sizes)] * len(sizes))
        tiled, row = sch.split(loops[axes.row], [None, size])
        sch.annotate(tiled, _PARTITION, True)
        inside, unrolled = [tiled], [row]
    elif axes.row is not None:
        *outside, row = _split(sch, loops[axes.row], 3 if axes.blocked == axes.row else 2, MOST_ROWS)
        inside, unrolled = [outside[-1]], [row]
        shared += outside[:-1]
    if axes.blocked is not None and axes.blocked != axes.row:
        outer, inner = _split(sch, loops[axes.blocked], 2, 0)
        shared.append(outer)
        inside = [inner, *inside]
    summed = {i: [loops[i]] for i in axes.reduced}  # in their order
    if not is_short(axes):
        summed[innermost(axes)] = _split(sch, loops[innermost(axes)], 2, MOST_STEPS)
        unrolled = [summed[innermost(axes)].pop(), *unrolled]
    steps = [loop for part in summed.values() for loop in part]
    sch.reorder(*shared, panels, across, *inside, *steps, *unrolled, vector, lane)

    place = inside[-1] if inside else across
    sch.reverse_compute_at(last, place, preserve_unit_loops=True)
    finish = sch.get_loops(last)[len(shared) + 2 + len(inside) :]
    if axes.turned:
        for loop in finish:  # LLVM makes vectors of it, turned as they must be
            sch.unroll(loop)
    else:
        _unroll_and_vectorize(sch, finish, lanes)
    sch.vectorize(lane)
    for loop in (*unrolled, vector, *(steps if is_short(axes) else ())):
        sch.unroll(loop)

    near = padding == NEAR and bool(shared)
    if near:
        outermost = sch.fuse(*shared)
        for producer in producers:
            sch.compute_at(producer, outermost, preserve_unit_loops=True)
            if fed and _is_feed(sch, producer, block, axes):
                _walk(sch, producer, axes)
            _vectorize(sch, sch.get_loops(producer)[-1], lanes)
    else:
        outermost = panels = sch.fuse(*shared, panels)
    if panel is not None:
        sch.compute_at(panel, panels, preserve_unit_loops=True)
        _vectorize(sch, sch.get_loops(panel)[-1], lanes)
    sch.parallel(outermost)
    for other in (*(() if near else producers), *(c for c in consumers if c is not last)):
        *around, innermost_loop = sch.get_loops(other)
        if fed and _is_feed(sch, other, block, axes):
            _walk(sch, other, axes)
            *around, _, innermost_loop = sch.get_loops(other)
        if around:
            sch.parallel(sch.fuse(*around))
        _vectorize(sch, innermost_loop, lanes)


def _feed(sch: Schedule, block: SBlockRV, axes: Contraction) -> None:
    """Copy the other operand into the order in which the sum walks through it; padding is such a copy already."""
    padding = [producer for producer in sch.get_producers(block) if _is_feed(sch, producer, block, axes)]
    _reorder(sch, padding[0] if padding else sch.cache_read(block, axes.feed, "global"), axes.feed_order)


def _is_feed(sch: Schedule, producer: SBlockRV, block: SBlockRV, axes: Contraction) -> bool:
    """Whether a statement makes the other operand."""
    return bool(sch.get(producer).writes[0].source.same_as(sch.get(block).reads[axes.feed].source))


def _walk(sch: Schedule, feed: SBlockRV, axes: Contraction) -> None:
    """Turn a copy in pieces that fit in the nearest cache: along its new last axis, and its old one."""
    loops = sch.get_loops(feed)[-len(axes.feed_order) :]
    *others, old, new = axes.feed_order
    sch.reorder(*(loops[i] for i in others), loops[new], loops[old])


def _split(sch: Schedule, loop: LoopRV, parts: int, most: int) -> list[LoopRV]:
    extent = int(sch.get(loop).extent)
    return list(sch.split(loop, sch.sample_perfect_tile(loop, parts, most or extent)))


def _reorder(sch: Schedule, block: SBlockRV, order: tuple[int, ...]) -> None:
    """Keep what a statement writes in another order of its axes."""
    sch.transform_layout(block, ("write", 0), lambda *axes: [axes[i] for i in order])


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


def _packings(sch: Schedule, block: SBlockRV, axes: Contraction) -> tuple[bool, ...]:
    """Whether to copy the panel: both ways are tried where both are good."""
    if not axes.gathered:
        return False, True
    func = sch.mod["main"]
    free = [func.params[int(i)] for i in func.attrs.get("layout_free_buffers", [])]
    panel = sch.get(block).reads[axes.panel].source
    return (False,) if any(buffer.same_as(panel) for buffer in free) else (True,)


def _is_alone(sch: Schedule, block: SBlockRV) -> bool:
    """Whether every other statement of the kernel makes an operand of the sum, or uses its result, without a sum."""
    others = sch.get_child_blocks(sch.get_sblock("root"))
    direct = [*sch.get_producers(block), *sch.get_consumers(block)]
    sums = sum(any(v.iter_type == _REDUCE for v in sch.get(b).iter_vars) for b in others)
    return sums == 1 and len(others) == 1 + len(direct)
