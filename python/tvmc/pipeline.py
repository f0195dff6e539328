"""What ``tune`` and ``compile`` do to a module so that they find the same kernels."""

from __future__ import annotations

import tvm
from tvm import relax, tirx
from tvm.ir.transform import PassContext
from tvm.target import Target

from tvm_eqsat.lowering import fusing_passes

from .errors import TVMCException


def to_tune(mod: tvm.IRModule, target: Target, *, prepack: bool = False) -> tvm.IRModule:
    """The module as fused, unscheduled kernels, which compiling finds again; reshapes that cost nothing aren't any.

    With ``prepack``, kernels may choose the layout of their weights (:mod:`tvm_eqsat.cost.prepack`).
    """
    passes = [*fusing_passes(target, prepack=prepack), relax.transform.RewriteDataflowReshape()]
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


def kernels(mod: tvm.IRModule) -> dict[str, tirx.PrimFunc]:
    """The module's kernels, by name."""
    return {gv.name_hint: f for gv, f in mod.functions.items() if isinstance(f, tirx.PrimFunc)}


def is_tuned(kernel: tirx.PrimFunc) -> bool:
    """Whether the kernel has a schedule already."""
    return bool(kernel.attrs and kernel.attrs.get("tirx.is_scheduled", False))
