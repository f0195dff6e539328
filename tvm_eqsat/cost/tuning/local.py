"""A tuner for the machine that this process runs on."""

from __future__ import annotations

from pathlib import Path

from tvm.target import Target

from ...errors import OptionError
from ..engine import IN_PROGRAM
from ..machine import runs_here
from ..store import KernelStore, Settings
from ..threads import available_cores, use_threads
from .tuner import KernelTuner


def local_tuner(target: Target, work_dir: str | Path, seed: int = 0) -> KernelTuner:
    """A tuner for this machine's CPU, with this package's engine, into a directory.

    Raises
    ------
    OptionError
        Code for the target doesn't run here, or the directory can't be used.
    """
    if target.kind.name != "llvm" or not runs_here(target):
        raise OptionError(
            f"kernels for {target.kind.name} can't be measured on this machine's CPU: pass tuner=KernelTuner(store, "
            "builder=…, runner=…) with a runner that reaches the device, or use tvmc tune with --rpc-tracker"
        )
    threads = use_threads(int(target.attrs.get("num-cores", available_cores())))
    return KernelTuner(KernelStore(work_dir, target, settings=Settings.of(IN_PROGRAM, threads)), seed=seed)
