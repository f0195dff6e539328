"""What a target can do: peak arithmetic, bandwidths, cache, cost of a call."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from math import floor, log2
from pathlib import Path
from typing import Any

import tvm
from tvm.target import Target, codegen

from ..files import write_atomically
from ..graph.types import dtype_bits, is_float
from .microbench import call_overhead, copy_rate, fma_rate

logger = logging.getLogger("tvm_eqsat.cost.machine")

#: Instruction sets that code may need: a host without them can't run it.
_ISA = ("sse4.2", "avx", "avx2", "fma", "avx512f", "avx512bw", "avx512vl", "neon", "sve", "fullfp16")
#: Cores beyond which main memory gives one program no more: four to six on most desktop and server parts.
_MEMORY_CORES = 4
#: A call through the virtual machine: 0.25 us on Zen 3, whatever the number of threads.
_OVERHEAD = 3e-7
#: Waking and joining two threads on Zen 3: 4.5 us. Entering a kernel without: 0.02 us. These aren't measured: while the
#: machine is busy, threads wake late.
_LAUNCH, _ENTER = 4e-6, 2e-8


@dataclass(frozen=True)
class Machine:
    """Figures of one target with a given number of threads.

    Prices are compared, never added to anything else, so only the ratios of these figures matter. They are rounded
    coarsely (:func:`coarse`) and remembered, so that an extraction doesn't depend on the noise of a measurement.

    Attributes
    ----------
    peak_flops : float
        float32 operations per second that a register-blocked kernel reaches, all threads together.
    bandwidth : float
        Bytes per second, read plus written, from main memory.
    cache_bandwidth : float
        Bytes per second, read plus written, from the last-level cache.
    cache_bytes : int
        Size of the last-level cache.
    scalar_calls : float
        Transcendental functions per second (``exp`` through the C library), all threads together.
    overhead : float
        Seconds that a program adds to each of its kernels to call it. A kernel's measured latency is without them.
    threads : int
        Threads (cores) that the figures are for.
    half_speed : float
        Speed of float16 and bfloat16 arithmetic relative to float32.
    launch : float
        Seconds that a kernel takes, however little it does. They are part of its measured latency.
    """

    peak_flops: float
    bandwidth: float
    cache_bandwidth: float
    cache_bytes: int
    scalar_calls: float
    overhead: float
    threads: int
    half_speed: float = 0.25
    launch: float = 0.0

    def added(self, carried: float) -> float:
        """Seconds by which a kernel takes longer in a program than by itself: to call it, and to fetch its operand.

        What the kernel before has written is partly out of the caches when it is read. Over 60 programs of SqueezeNet
        and ResNet-18 on a shared Zen 3, programs took longer than their kernels by 28 to 38 us for each megabyte of
        first operands, which is half of what main memory takes (``examples/benchmarks/prediction.py``).

        Parameters
        ----------
        carried : float
            Bytes of its first operand, see :class:`~.roofline.Work`.
        """
        return self.overhead + 0.5 * carried / self.bandwidth

    def peak(self, dtype: str) -> float:
        """Operations per second in ``dtype``."""
        bits = max(8, dtype_bits(dtype))
        if is_float(dtype) and bits <= 16:
            return self.peak_flops * self.half_speed
        return self.peak_flops * min(1.0, 32 / bits)

    def transfer(self, nbytes: float) -> float:
        """Seconds to read and write ``nbytes`` altogether; what exceeds the cache comes from main memory."""
        cached = min(nbytes, self.cache_bytes)
        return cached / self.cache_bandwidth + (nbytes - cached) / self.bandwidth


def coarse(value: float) -> float:
    """The positive ``value``, rounded to two significant binary digits (…, 1, 1.5, 2, 3, 4, 6, 8, …)."""
    step = 2.0 ** (floor(log2(value)) - 1)
    return float(floor(value / step + 0.5) * step)  # halves up: 1.25 becomes 1.5, which is nearer by ratio than 1


@lru_cache(maxsize=64)
def machine_for(target: Target, *, measure: bool = True) -> Machine:
    """The figures of a target.

    A CPU target that this host can run is measured once, in about a second, with small kernels compiled for it,
    and remembered in the user's cache directory. Any other target gets figures derived from its attributes.

    Parameters
    ----------
    target : tvm.target.Target
        The target; its ``num-cores`` is the number of threads, TVM's own choice if it has none.
    measure : bool
        Whether to measure or read a measurement at all.

    Returns
    -------
    Machine
        Its figures.
    """
    if target.kind.name not in ("llvm", "c"):
        return accelerator_defaults()
    threads = int(target.attrs.get("num-cores", 0)) or tvm.runtime.num_threads()
    if not (measure and target.kind.name == "llvm" and runs_here(target)):
        return cpu_defaults(target, threads)
    key = {
        "host": f"{platform.machine()} {codegen.llvm_get_system_cpu()} {os.cpu_count()}",
        "target": {k: str(v) for k, v in sorted(dict(target.attrs).items()) if k != "num-cores"},
        "threads": threads,
        "tvm": tvm.__version__,
    }
    path = cache_dir() / f"machine-{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]}.json"
    found = _load(path, key)
    if found is None:
        try:
            found = _measure(target, threads)
        except Exception as err:  # LLVM and the runtime raise many kinds; without figures we still have defaults
            logger.warning("can't measure target %s, default figures are used instead: %s", target, err)
            return cpu_defaults(target, threads)
        _store(path, key, found)
    return found


def accelerator_defaults() -> Machine:
    """Figures of a mid-range discrete GPU: 16 TFLOP/s, 768 GB/s; tensor cores for half precision."""
    return Machine(16e12, 768e9, 2e12, 32 << 20, scalar_calls=2e12, overhead=4e-6, threads=1, half_speed=4.0)


def cpu_defaults(target: Target, threads: int) -> Machine:
    """Figures derived from the vector width: 2.5 GHz, two vector units, per core 32 GB/s cached and 8 GB/s not."""
    lanes, features = _lanes(target), _features(target)
    units = 4 if features & {"fma", "neon"} else 2  # two units, and a fused multiply-add counts twice
    return Machine(
        peak_flops=coarse(threads * 2.5e9 * lanes * units),
        bandwidth=coarse(8e9 * min(threads, _MEMORY_CORES)),
        cache_bandwidth=coarse(32e9 * threads),
        cache_bytes=16 << 20,
        scalar_calls=coarse(4e8 * threads),
        overhead=_OVERHEAD,
        threads=threads,
        half_speed=2.0 if "fullfp16" in features else 0.25,
        launch=_launch(threads),
    )


def runs_here(target: Target) -> bool:
    """Whether this process can run code for a CPU target: same architecture, no instruction set that it lacks."""
    triple = str(target.attrs.get("mtriple", "")) or codegen.llvm_get_system_triple()
    if triple.split("-")[0] != codegen.llvm_get_system_triple().split("-")[0]:
        return False
    host = _features(Target({"kind": "llvm", "mcpu": codegen.llvm_get_system_cpu()}))
    return not (_features(target) & set(_ISA)) - host


def cache_dir() -> Path:
    """Where figures are kept: ``TVM_EQSAT_CACHE``, else ``XDG_CACHE_HOME/tvm-eqsat``, else ``~/.cache/tvm-eqsat``."""
    own = os.environ.get("TVM_EQSAT_CACHE")
    if own:
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "tvm-eqsat"


def _features(target: Target) -> set[str]:
    return {str(f) for f in codegen.llvm_get_cpu_features(target)} if target.kind.name == "llvm" else set()


def _lanes(target: Target) -> int:
    """float32 elements of a vector register (``llvm_get_vector_width`` answers 512 bits for every x86)."""
    features = _features(target)
    return 16 if "avx512f" in features else 8 if "avx" in features else 4


def _measure(target: Target, threads: int) -> Machine:
    """Time one core and scale: timing all of them would time whatever else the machine does, too."""
    lanes, cache = _lanes(target), _cache_bytes()
    near = max(1 << 16, min(1 << 19, cache // 64))  # elements; what layers exchange: more than a core's own cache
    far = max(1 << 22, cache // 4)  # elements; both arrays together are twice the cache
    peak = fma_rate(target, lanes)
    cached = copy_rate(target, lanes, near)
    # Main memory is shared with everyone else on the host: a busy moment must not be remembered as a slow machine.
    memory = min(max(copy_rate(target, lanes, far), cached / 8), cached / 2)
    return Machine(
        peak_flops=coarse(peak * threads),
        bandwidth=coarse(memory * min(threads, _MEMORY_CORES)),
        cache_bandwidth=coarse(cached * threads),
        cache_bytes=cache,
        scalar_calls=coarse(peak * threads / (32 * lanes)),
        overhead=coarse(call_overhead(target)),
        threads=threads,
        half_speed=2.0 if "fullfp16" in _features(target) else 0.25,
        launch=_launch(threads),
    )


def _launch(threads: int) -> float:
    return _LAUNCH if threads > 1 else _ENTER


def _cache_bytes() -> int:
    """Size of the last-level cache; 8 MiB where the system doesn't tell."""
    sizes = [8 << 20]
    for path in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")):
        try:
            text = path.read_text(encoding="ascii").strip()
            sizes.append(int(text.rstrip("KMG")) << {"K": 10, "M": 20, "G": 30}.get(text[-1:], 0))
        except (OSError, ValueError):
            continue
    return sizes[-1]


def _load(path: Path, key: dict[str, Any]) -> Machine | None:
    """The remembered figures; None if there are none, or the file isn't what it should be."""
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
        if saved["key"] != key:
            return None
        return Machine(**{f.name: _positive(f.type, saved["machine"][f.name]) for f in fields(Machine)})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as err:
        logger.info("%s is ignored and written anew: %s", path, err)
        return None


def _positive(kind: Any, value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise ValueError(f"{value!r} is not a positive number")
    return int(value) if kind == "int" else float(value)


def _store(path: Path, key: dict[str, Any], machine: Machine) -> None:
    """Write atomically: another process sees the old file or the new one, never a part."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps({"key": key, "machine": asdict(machine)}, indent=1))
    except OSError as err:
        logger.info("can't remember the figures in %s: %s", path, err)
