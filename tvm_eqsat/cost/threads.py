"""The number of threads that TVM's kernels run on.

Left alone, TVM takes *half* of the cores on x86 (it assumes hyper-threading), so two virtual cores become one thread,
silently. Its pool belongs to the calling thread, is sized when a kernel first needs it and never grows; and it pins
the caller to the first cores of the machine, which every process and thread started later inherits.
"""

from __future__ import annotations

import logging
import os

import tvm_ffi

from ..errors import OptionError

logger = logging.getLogger("tvm_eqsat.cost.threads")

# Asked at import, before a pool of TVM's can narrow the answer.
_CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def available_cores() -> int:
    """The number of cores that this process may run on."""
    return _CORES


def use_threads(n: int) -> int:
    """Let TVM's kernels, here and in processes started from here, run on ``n`` threads.

    Never more threads than :func:`available_cores`: TVM's workers spin, so two of them on one core wait for each other.
    Threads aren't pinned, unless ``TVM_BIND_THREADS=1`` is set.

    Parameters
    ----------
    n : int
        The number of threads, at least 1.

    Returns
    -------
    int
        The number of threads in force. A warning tells when it is less than ``n``.

    Raises
    ------
    OptionError
        ``n`` is less than 1.
    """
    if n < 1:
        raise OptionError(f"{n} threads were asked for; the least is 1")
    wanted = min(n, _CORES)
    os.environ["TVM_NUM_THREADS"] = str(wanted)
    os.environ.setdefault("TVM_BIND_THREADS", "0")
    tvm_ffi.get_global_func("runtime.config_threadpool")(1, wanted)
    in_force = int(tvm_ffi.get_global_func("runtime.NumThreads")())
    if in_force < wanted:
        logger.warning(
            "TVM runs on %d of the %d threads asked for: its thread pool was made earlier, and smaller; set "
            "TVM_NUM_THREADS=%d before the process first runs a kernel",
            in_force,
            n,
            wanted,
        )
    elif in_force < n:
        logger.warning("TVM runs on %d of the %d threads asked for: this process may use no more cores", in_force, n)
    return in_force
