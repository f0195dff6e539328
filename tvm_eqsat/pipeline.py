"""The pipeline ``relax.get_pipeline("eqsat", target=…)``: our pass, tuned kernels, TVM's own passes."""

from __future__ import annotations

from typing import Any

import tvm
from tvm import IRModule, relax
from tvm.target import Target

from .cost.store import KernelStore
from .lowering import lowering
from .transform import EqSatOptimize, host_target


def eqsat_pipeline(target: Target | str | dict[str, Any] | None = None, **options: Any) -> tvm.transform.Pass:
    """Optimise by equality saturation, then compile as TVM does by default for the target.

    With ``database=DIR``, kernels run as they were tuned there, on this occasion (``trials=N``) or an earlier one.

    Parameters
    ----------
    target : tvm.target.Target, str or dict, optional
        The target; by default the current one when the pipeline runs, else this machine's CPU.
    **options
        As for :class:`~tvm_eqsat.transform.EqSatOptimize`.

    Returns
    -------
    tvm.transform.Pass
        For ``tvm.compile(mod, target, relax_pipeline=…)``.
    """
    optimize: Any = EqSatOptimize(target=target, **options)

    @tvm.transform.module_pass(opt_level=0, name="eqsat_pipeline")
    def pipeline(mod: IRModule, _ctx: tvm.transform.PassContext) -> IRModule:
        chosen = optimize.target or Target.current(allow_none=True) or host_target()
        with chosen:
            mod = optimize(mod)
            if optimize.tuner is not None:
                store = optimize.tuner.store
            elif optimize.database:
                store = KernelStore(optimize.database, chosen)
            else:
                return relax.get_default_pipeline(chosen)(mod)
            return lowering(chosen, store, prepack=optimize.options.prepack)(mod)

    return pipeline
