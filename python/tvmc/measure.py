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

    # Nested, so that they travel to the workers by value: those need not be able to import this package.

    def build_kernel(mod: tvm.IRModule, target: Target, _params: Any) -> tvm.runtime.Module:
        # Unlike MetaSchedule's, without importing the tensor intrinsics of every target: the kernel has its schedule.
        from tvm.driver import build
        from tvm.s_tir.transform import RemoveWeightLayoutRewriteBlock

        return build(RemoveWeightLayoutRewriteBlock(skip_tensor_rewrite=True)(mod), target=target)

    def ignore_interrupts() -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent

    threads = num_cores(target)

    def connect(config: Any) -> Any:
        session = config.connect_server()
        session.get_function("runtime.config_threadpool")(1, threads)  # TVM's own choice may be half of the cores
        return session

    if rpc is None:
        runner = ms.runner.LocalRunner(timeout_sec=timeout, evaluator_config=config, initializer=ignore_interrupts)
    else:
        runner = ms.runner.RPCRunner(
            rpc_config=rpc,
            evaluator_config=config,
            f_create_session=connect,
            max_workers=workers,
            initializer=ignore_interrupts,
        )
    builder = ms.builder.LocalBuilder(
        max_workers=workers, timeout_sec=timeout, f_build=build_kernel, initializer=ignore_interrupts
    )
    return builder, runner
