"""From a Relax module to kernels: TVM's own passes for the target, with tuned kernels put in after fusion."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import tvm
from tvm import relax, tirx
from tvm.ir.transform import Pass, PassContext
from tvm.relax import pipeline as stages
from tvm.s_tir.meta_schedule import Database
from tvm.target import Target

from tvm_eqsat.cost.prepack import marking_passes, splitting_passes

from .errors import TVMCException

ModuleHook = Callable[[tvm.IRModule], tvm.IRModule]


def _fusing_passes(target: Target) -> tuple[list[Pass], list[Pass]]:
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


def to_tune(mod: tvm.IRModule, target: Target, *, prepack: bool = False) -> tvm.IRModule:
    """The module as fused, unscheduled kernels, which compiling finds again; reshapes that cost nothing aren't any.

    With ``prepack``, kernels may choose the layout of their weights (:mod:`tvm_eqsat.cost.prepack`).
    """
    passes = [*_fusing_passes(target)[0], *(marking_passes() if prepack else [])]
    passes.append(relax.transform.RewriteDataflowReshape())
    with target, PassContext(opt_level=3):
        return tvm.transform.Sequential(passes)(mod)


def check_prepack(mod: tvm.IRModule, target: Target) -> None:
    """Make sure that kernels of a model can choose the layout of their weights.

    Raises
    ------
    TVMCException
        MetaSchedule chooses no layouts for that target, or some weights aren't known yet.
    """
    if target.kind.name != "llvm":
        raise TVMCException(f"--weight-prepack is for CPUs: MetaSchedule chooses no layouts for {target.kind.name}")
    main = mod["main"]
    inputs = int(main.attrs["num_input"]) if main.attrs and "num_input" in main.attrs else len(main.params)
    if inputs < len(main.params):
        raise TVMCException(
            f"--weight-prepack needs the values of all weights, but {len(main.params) - inputs} of them are parameters "
            "of 'main'; TVMCModel(mod, params) makes them constants"
        )


def lowering(
    target: Target,
    database: Database | None,
    on_kernels: ModuleHook,
    on_lowered: ModuleHook,
    *,
    prepack: bool = False,
) -> Pass:
    """A pipeline for :func:`tvm.compile`.

    Parameters
    ----------
    target : Target
        The target.
    database : Database, optional
        Tuned kernels to use.
    on_kernels : callable
        Called once with the module of fused (and tuned) kernels; returns the one to go on with.
    on_lowered : callable
        The same, when Relax is lowered to calls of the virtual machine.
    prepack : bool
        Whether kernels choose the layout of their weights, as they did when they were tuned.
    """

    @tvm.transform.module_pass(opt_level=0, name="TVMC")
    def run(mod: tvm.IRModule, _: PassContext) -> tvm.IRModule:
        sequence = tvm.transform.Sequential
        fusing, scheduling = _fusing_passes(target)
        fusing += marking_passes() if prepack else []
        with target, contextlib.nullcontext() if database is None else database:  # an empty one is false
            mod = sequence(fusing)(mod)
            if database is not None:
                mod = relax.transform.MetaScheduleApplyDatabase()(mod)
            rewriting = [relax.transform.RewriteDataflowReshape(), *(splitting_passes() if prepack else [])]
            mod = sequence([*rewriting, relax.transform.DeadCodeElimination()])(mod)  # of kernels that became nothing
            mod = on_kernels(sequence(scheduling)(mod))
            mod = sequence(_lower_passes(target) + stages.finalize_passes(target))(mod)
        return on_lowered(mod)

    return run


def kernels(mod: tvm.IRModule) -> dict[str, tirx.PrimFunc]:
    """The module's kernels, by name."""
    return {gv.name_hint: f for gv, f in mod.functions.items() if isinstance(f, tirx.PrimFunc)}


def is_tuned(kernel: tirx.PrimFunc) -> bool:
    """Whether the kernel has a schedule already."""
    return bool(kernel.attrs and kernel.attrs.get("tirx.is_scheduled", False))
