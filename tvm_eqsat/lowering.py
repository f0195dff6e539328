"""From a Relax module to kernels: TVM's own passes for the target, with tuned kernels put in after fusion."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import tvm
from tvm import IRModule, relax
from tvm.ir.transform import Pass, PassContext
from tvm.relax import pipeline as stages
from tvm.s_tir.meta_schedule import Database
from tvm.target import Target

from .cost.prepack import marking_passes, splitting_passes

ModuleHook = Callable[[IRModule], IRModule]


def fusing_passes(target: Target, *, prepack: bool = False) -> list[Pass]:
    """The passes up to fused kernels, which are then tuned, or looked up in a database.

    With ``prepack``, kernels may choose the layout of their weights (:mod:`tvm_eqsat.cost.prepack`).
    """
    return _halves(target)[0] + (marking_passes() if prepack else [])


def _halves(target: Target) -> tuple[list[Pass], list[Pass]]:
    """The passes up to fused kernels, and the target's default schedules (GPUs have some) that come after."""
    passes = stages.library_dispatch_passes(target) + stages.legalize_passes(target)
    fused = 1 + [each.info.name for each in passes].index("FuseTIR")
    return passes[:fused], passes[fused:]


def _lower_passes(target: Target) -> list[Pass]:
    try:
        return stages.dataflow_lower_passes(target)
    except AttributeError:  # TVM 0.27 forgets to export the CPU's, CUDA's and ROCm's, which are these
        transform = relax.transform
        return [
            transform.RewriteDataflowReshape(),
            transform.ToNonDataflow(),
            transform.RemovePurityChecking(),
            transform.CallTIRRewrite(),
        ]


def _unchanged(mod: IRModule) -> IRModule:
    return mod


def lowering(
    target: Target,
    database: Database | None,
    *,
    prepack: bool = False,
    on_kernels: ModuleHook = _unchanged,
    on_lowered: ModuleHook = _unchanged,
) -> Pass:
    """TVM's default pipeline for a target, with tuned kernels.

    Parameters
    ----------
    target : tvm.target.Target
        The target.
    database : tvm.s_tir.meta_schedule.Database, optional
        Tuned kernels to use.
    prepack : bool
        Whether kernels choose the layout of their weights, as they did when they were tuned.
    on_kernels : callable
        Called once with the module of fused (and tuned) kernels; returns the one to go on with.
    on_lowered : callable
        The same, when Relax is lowered to calls of the virtual machine.

    Returns
    -------
    tvm.transform.Pass
        For ``tvm.compile(mod, target, relax_pipeline=…)``.
    """

    @tvm.transform.module_pass(opt_level=0, name="LowerWithTunedKernels")
    def run(mod: IRModule, _: PassContext) -> IRModule:
        sequence = tvm.transform.Sequential
        with target, contextlib.nullcontext() if database is None else database:  # an empty one is false
            mod = sequence(fusing_passes(target, prepack=prepack))(mod)
            if database is not None:
                mod = relax.transform.MetaScheduleApplyDatabase()(mod)
            rewriting = [relax.transform.RewriteDataflowReshape(), *(splitting_passes() if prepack else [])]
            mod = sequence([*rewriting, relax.transform.DeadCodeElimination()])(mod)  # of kernels that became nothing
            mod = on_kernels(sequence(_halves(target)[1])(mod))
            mod = sequence(_lower_passes(target) + stages.finalize_passes(target))(mod)
        return on_lowered(mod)

    return run
