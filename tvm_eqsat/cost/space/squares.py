"""Schedules of kernels that turn data: in squares that stay in the nearest cache.

MetaSchedule's space for CPUs has a single schedule of such a kernel. It walks along the rows of the output, so it jumps
about in an operand whose rows run along another axis, and uses one value of each line of the cache.
"""

from __future__ import annotations

import tvm
from tvm.s_tir import Schedule
from tvm.s_tir.meta_schedule.arg_info import ArgInfo
from tvm.s_tir.meta_schedule.search_strategy import MeasureCandidate
from tvm.s_tir.schedule import ScheduleError
from tvm.target import Target

from ..loops import Block, blocks_of, factor_of, mentions
from .registers import registers_of

#: Rows of a square, in vectors; there are as many proposals.
ROWS = (1, 2)
_CHUNKS = 8  # pieces of work for each thread, at least


class SquareProposals:
    """Proposes schedules of a kernel without sums that turns an operand; none of others.

    Parameters
    ----------
    mod : tvm.IRModule
        The kernel, not scheduled.
    target : tvm.target.Target
        What it is tuned for.
    threads : int
        That run the kernel.
    """

    def __init__(self, mod: tvm.IRModule, target: Target, threads: int) -> None:
        self._open: list[Schedule] = []
        self._proposed: set[str] = set()
        if target.kind.name == "llvm":
            lanes = registers_of(target).lanes(32)
            found = [squares(mod, lanes * rows, lanes, threads) for rows in ROWS]
            self._open = [sch for sch in found if sch is not None]
            self._args = ArgInfo.from_entry_func(mod, remove_preproc=True)

    @property
    def exhausted(self) -> bool:
        """Whether there is nothing left to propose."""
        return not self._open

    def next(self) -> MeasureCandidate | None:
        """Another schedule; None if there is none left."""
        if not self._open:
            return None
        sch = self._open.pop(0)
        self._proposed.add(str(sch.trace))
        return MeasureCandidate(sch, self._args)

    def learn(self, candidate: MeasureCandidate, seconds: float) -> bool:
        """Whether a schedule was proposed here."""
        return str(candidate.sch.trace) in self._proposed


def squares(mod: tvm.IRModule, rows: int, columns: int, threads: int) -> Schedule | None:
    """Schedule a kernel in squares.

    Parameters
    ----------
    mod : tvm.IRModule
        The kernel, not scheduled.
    rows, columns : int
        Of a square: values along the operand's last axis, and along the output's.
    threads : int
        That run the kernel.

    Returns
    -------
    Schedule or None
        None if the kernel doesn't turn anything, isn't made of elementwise statements, or is smaller than a square.
    """
    sch = Schedule(mod)
    if any(block.reduced for block in blocks_of(mod["main"])):
        return None
    *others, last = sch.get_child_blocks(sch.get_sblock("root"))
    try:
        for each in others:
            sch.compute_inline(each)
    except ScheduleError:
        return None
    statements = blocks_of(sch.mod["main"])
    if len(statements) != 1:
        return None
    block = statements[0]
    place, loops = _turned(block), sch.get_loops(last)
    if place is None or len(loops) != len(block.extents):
        return None
    along, across = loops[-1], loops[place]
    extent = int(sch.get(along).extent)
    if extent < columns or int(sch.get(across).extent) < rows:
        return None
    outer_row, row = sch.split(across, [None, rows])
    outer_column, column = sch.split(along, [None, columns])
    outside = [*loops[:place], *loops[place + 1 : -1], outer_row]
    sch.reorder(*outside, outer_column, row, column)
    pieces = sch.fuse(*outside)
    if int(sch.get(pieces).extent) < _CHUNKS * threads:
        pieces = sch.fuse(pieces, outer_column)
    sch.parallel(pieces)
    if extent % columns == 0 and not block.conditions:  # of which TVM 0.27 makes wrong vectors at times
        sch.vectorize(column)
    return sch


def _turned(block: Block) -> int | None:
    """The loop that walks along the rows of an operand, where the one along the output's rows, the last, doesn't."""
    axes, indices = list(block.extents), block.store.indices
    if not indices or not indices[-1].same_as(axes[-1]):
        return None
    analyzer = tvm.sym.Analyzer()  # reshapes leave quotients and remainders
    for axis, extent in block.extents.items():
        analyzer.bind(axis, tvm.ir.Range(0, extent))
    for load in block.loads:
        read = [analyzer.simplify(index) for index in load.indices]
        if not any(mentions(index, axes[-1]) for index in read) or mentions(read[-1], axes[-1]):
            continue
        for place, axis in enumerate(axes[:-1]):
            if factor_of(read[-1], axis) == 1:
                return place
    return None
