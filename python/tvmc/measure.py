"""Who builds and runs the trials of ``tvmc tune``: this package's engine on this CPU, else MetaSchedule's workers."""

from __future__ import annotations

import signal
from typing import Any

import tvm
from tvm.s_tir import meta_schedule as ms
from tvm.target import Target

from tvm_eqsat.cost.engine import engine

from .target import num_cores, runs_here


def builder_and_runner(
    target: Target, config: ms.runner.EvaluatorConfig, *, rpc: ms.runner.RPCConfig | None, workers: int, timeout: int
) -> tuple[Any, Any]:
    """A builder of ``workers`` processes and a runner, each with ``timeout`` seconds a trial.

    Parameters
    ----------
    target : Target
        What kernels are built for.
    config : EvaluatorConfig
        How often a kernel runs.
    rpc : RPCConfig, optional
        Where remote devices are to be had; without it kernels run here.
    workers : int
        Kernels that are built at a time, and remote devices.
    timeout : int
        Seconds.
    """
    if rpc is None and runs_here(target):
        return engine(num_cores(target), workers=workers, build_timeout=timeout, run_timeout=timeout, config=config)
    builder = ms.builder.LocalBuilder(
        max_workers=workers, timeout_sec=timeout, f_build=build_kernel, initializer=ignore_interrupts
    )
    if rpc is not None:
        return builder, ms.runner.RPCRunner(rpc_config=rpc, evaluator_config=config, max_workers=workers)
    runner = ms.runner.LocalRunner(timeout_sec=timeout, evaluator_config=config, initializer=ignore_interrupts)
    return builder, runner


def build_kernel(mod: tvm.IRModule, target: Target, _params: Any) -> tvm.runtime.Module:
    """Build one scheduled kernel, in a worker process.

    Like MetaSchedule's own function, but without importing the tensor intrinsics of every target first: a kernel has
    its schedule when it gets here.
    """
    from tvm.driver import build
    from tvm.s_tir.transform import RemoveWeightLayoutRewriteBlock

    return build(RemoveWeightLayoutRewriteBlock(skip_tensor_rewrite=True)(mod), target=target)


def ignore_interrupts() -> None:
    """Leave Ctrl-C to the parent; runs in a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
