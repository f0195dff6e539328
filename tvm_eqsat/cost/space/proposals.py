"""Register-tiled schedules of a kernel, one after another: the likeliest first, then what is near the best."""

from __future__ import annotations

from math import inf
from typing import NamedTuple

import numpy as np
import tvm
from tvm.s_tir import Schedule
from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.meta_schedule.arg_info import ArgInfo
from tvm.s_tir.meta_schedule.search_strategy import MeasureCandidate
from tvm.target import Target

from .contraction import Contraction, contractions_of
from .registers import Registers, registers_of
from .rule import RegisterTiles, decisions, is_tiled
from .tiles import Tile, best_of, tiles

# How much less likely a schedule is tried for each decision in which it differs from the best one so far.
_AFFINITY = 0.3


class _Point(NamedTuple):
    sketch: int
    tile: Tile


def tiled_space(target: Target) -> ms.space_generator.SpaceGenerator:
    """MetaSchedule's generator of register-tiled schedules of a kernel; without sums of products, of nothing useful."""
    rules = ms.schedule_rule
    inline = rules.AutoInline(
        into_producer=False,
        into_consumer=True,
        inline_const_tensor=True,
        disallow_if_then_else=True,
        require_injective=True,
        require_ordered=True,
        disallow_op=["tirx.exp"],
    )
    return ms.space_generator.PostOrderApply(
        sch_rules=[rules.InlineConstantScalars(), inline, RegisterTiles(target)], postprocs="llvm", mutator_probs="llvm"
    )


class TileProposals:
    """Proposes register-tiled schedules of a kernel, each once.

    Parameters
    ----------
    mod : tvm.IRModule
        The kernel, not scheduled.
    target : tvm.target.Target
        What it is tuned for.
    threads : int
        That run the kernel.
    random : numpy.random.RandomState
        Source of all that is random.
    """

    def __init__(self, mod: tvm.IRModule, target: Target, threads: int, random: np.random.RandomState) -> None:
        self.mod = mod
        self._random = random
        self._axes = None
        if target.kind.name == "llvm":
            self._registers = registers_of(target)
            self._axes = _contraction_in(mod, self._registers)
        self._best: tuple[float, _Point | None] = inf, None
        self._proposed: dict[str, _Point] = {}
        self._weights: dict[_Point, float] = {}
        if self._axes is None:
            return
        space = tiled_space(target)
        # the context must outlive its parts
        self._context = ms.TuneContext(mod=mod, target=target, space_generator=space, task_name="tiles", rand_state=1)
        found = [sch for sch in self._context.generate_design_space() if is_tiled(sch)]
        self._sketches = sorted((sch.trace for sch in found), key=lambda trace: (len(trace.insts), str(trace)))
        self._args = ArgInfo.from_entry_func(mod, remove_preproc=True)
        likely = tiles(self._axes, self._registers, threads)
        self._weights = {_Point(i, t): p for t, p in likely for i in range(len(self._sketches))}
        self._first = [_Point(i, likely[0][0]) for i in range(len(self._sketches))][::-1]

    @property
    def exhausted(self) -> bool:
        """Whether there is nothing left to propose."""
        return not self._weights

    def next(self) -> MeasureCandidate | None:
        """Another schedule; None if there is none left."""
        while self._weights:
            point = self._first.pop() if self._first else self._draw()
            del self._weights[point]
            sch = self._schedule(point)
            if sch is not None:
                self._proposed[str(sch.trace)] = point
                return MeasureCandidate(sch, self._args)
        return None

    def learn(self, candidate: MeasureCandidate, seconds: float) -> bool:
        """Take in what was measured of a schedule, infinite if it failed; says whether it was proposed here."""
        point = self._proposed.get(str(candidate.sch.trace))
        if point is not None and seconds < self._best[0]:
            self._best = seconds, point
        return point is not None

    def _draw(self) -> _Point:
        points = list(self._weights)
        weights = np.array([self._weights[point] for point in points])
        best = self._best[1]
        if best is not None:
            weights *= [_AFFINITY ** _differences(point, best) for point in points]
        return points[int(self._random.choice(len(points), p=weights / weights.sum()))]

    def _schedule(self, point: _Point) -> Schedule | None:
        """The schedule of a point; None if MetaSchedule's postprocessors refuse it."""
        assert self._axes is not None
        choices = iter(decisions(point.tile, self._axes, self._registers))
        sch = Schedule(self.mod)
        self._sketches[point.sketch].apply_to_schedule(
            sch,
            remove_postproc=True,
            decision_provider=lambda inst, inputs, attrs, decision: (
                next(choices) if inst.kind.name.startswith("Sample") else decision
            ),
        )
        sch.enter_postproc()
        good = all(postproc.apply(sch) for postproc in self._context.space_generator.postprocs)
        return sch if good else None


def _differences(a: _Point, b: _Point) -> int:
    return (a.sketch != b.sketch) + sum(x != y for x, y in zip(a.tile, b.tile, strict=True))


def _contraction_in(mod: tvm.IRModule, registers: Registers) -> Contraction | None:
    """What the tiles of a kernel's sum of products are made of; None if it has none, or several."""
    sch = Schedule(mod)
    found = [contractions_of(sch.get(block)) for block in sch.get_child_blocks(sch.get_sblock("root"))]
    sums = [axes for axes in found if axes]
    return best_of(sums[0], registers) if len(sums) == 1 else None
