"""The best schedules of a database, measured again: what kernels take now, beside the programs made of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import tvm
from tvm.s_tir import Schedule
from tvm.target import Target

from tvm_eqsat.cost.intrinsics import load_intrinsics
from tvm_eqsat.cost.lower import Kernel
from tvm_eqsat.cost.store import KernelStore

from .timing import side_by_side


def kernel_seconds(wanted: Iterable[Kernel], target: Target, database: Path, rounds: int) -> dict[int, float]:
    """Seconds of one call of each kernel with its best schedule, by the kernel's hash.

    The call goes through Python instead of Relax's virtual machine, which takes about as long.

    Parameters
    ----------
    wanted : iterable of Kernel
        Kernels with a ``mod``, of static shape. Those that the database has no schedule for are left out.
    target : tvm.target.Target
        The target of the records.
    database : pathlib.Path
        The directory of a MetaSchedule database.
    rounds : int
        How often the turn comes to each.
    """
    load_intrinsics()
    store = KernelStore(database, target)
    runs: dict[str, Callable[[], object]] = {}
    with target:
        for kernel in wanted:
            records = store.get_top_k(store.commit_workload(kernel.mod), 1)
            if records:
                schedule = Schedule(records[0].workload.mod)  # the names in the trace are its names
                records[0].trace.apply_to_schedule(schedule, remove_postproc=False)
                runs[str(kernel.hash)] = _call(tvm.tirx.build(schedule.mod, target=target), kernel)
    times = side_by_side(runs, rounds=rounds, seconds_per_turn=0.01)
    return {int(name): timing.median_ms / 1e3 for name, timing in times.items()}


def _call(built: tvm.runtime.Module, kernel: Kernel) -> Callable[[], object]:
    assert kernel.mod is not None
    types = [parameter.ty for parameter in kernel.mod["main"].params]
    rng = np.random.default_rng(0)
    # 0 and 1 are legal indices and truth values, too
    arrays = [rng.integers(0, 2, [int(dim) for dim in ty.shape]).astype(str(ty.dtype)) for ty in types]
    function, tensors = built["main"], [tvm.runtime.tensor(array) for array in arrays]
    return lambda: function(*tensors)
