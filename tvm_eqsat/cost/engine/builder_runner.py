"""The MetaSchedule side of the engine: a ``Builder`` and a ``Runner`` over one pool of workers."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import tempfile
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tvm.ir import save_json
from tvm.ir.utils import derived_object
from tvm.runtime import Object
from tvm.s_tir.meta_schedule.builder import BuilderInput, BuilderResult, PyBuilder
from tvm.s_tir.meta_schedule.runner import EvaluatorConfig, PyRunner, PyRunnerFuture, RunnerInput, RunnerResult

from ...errors import MeasurementError
from ...ffi_errors import register_errors
from . import host
from .pool import Request, WorkerPool

register_errors()

_NAME = "candidate.engine"
_REMEMBERED = 10_000  # measurements that a runner keeps

#: Seven windows of 5 ms: as good as one of 100 ms where nothing else runs, and better where something does.
DEFAULT_CONFIG = EvaluatorConfig(number=1, repeat=7, min_repeat_ms=5, enable_cpu_cache_flush=False)

#: The same as in a program, where other kernels run between two calls of a kernel: all operands but the first, which
#: was computed just before, come from memory. Kernels that find their operands where the run before left them look much
#: faster than they are (those of SqueezeNet by 12 %; output transforms of Winograd, which move data, by a half).
IN_PROGRAM = DEFAULT_CONFIG._replace(enable_cpu_cache_flush=True)


def engine(
    threads: int,
    *,
    workers: int | None = None,
    build_timeout: float = 30.0,
    run_timeout: float = 30.0,
    config: EvaluatorConfig | None = None,
    memory: int | None = None,
) -> tuple[Object, Object]:
    """A builder and the runner that belongs to it, for ``builder=`` and ``runner=`` of MetaSchedule's tuners.

    Their processes end with :meth:`EngineBuilder.close`, or when both are garbage, or with this process.

    Parameters
    ----------
    threads : int
        Threads that candidates run with: the target's ``num-cores``.
    workers : int, optional
        Processes that compile side by side; one for each physical core by default.
    build_timeout, run_timeout : float
        Seconds after which a candidate counts as failed.
    config : EvaluatorConfig, optional
        How candidates are timed: ``repeat`` windows of at least ``number`` runs and ``min_repeat_ms`` each, after a
        warm-up. Where one run is longer than a window, and for candidates that are much slower than the best of their
        batch, there are fewer windows, of the same kind. With ``enable_cpu_cache_flush``, operands but the first are
        flushed from the caches before each run. :data:`DEFAULT_CONFIG` by default.
    memory : int, optional
        Bytes that a worker may allocate; by default its share of three quarters of this machine's memory.
    """
    workers = workers or host.physical_cores()
    pool = WorkerPool(workers, threads, memory or host.memory_share(workers))
    runner = EngineRunner(pool, build_timeout, run_timeout, config or DEFAULT_CONFIG)
    return EngineBuilder(pool, build_timeout), runner


@dataclass(frozen=True)
class Measurement:
    """What was measured of one candidate.

    Parameters
    ----------
    artifact : str
        Where the builder had put it.
    windows : tuple of float
        Seconds of a run, averaged over each window; empty if it failed.
    error : str or None
        What went wrong.
    """

    artifact: str
    windows: tuple[float, ...]
    error: str | None

    @property
    def median(self) -> float:
        """Seconds of a run: the median over windows."""
        return statistics.median(self.windows)

    @property
    def spread(self) -> float:
        """How far the slowest and the fastest window are apart, relative to the median."""
        return (max(self.windows) - min(self.windows)) / self.median

    def middle(self) -> list[float]:
        """The middle half of the windows, in order.

        MetaSchedule ranks records by the mean of what a runner reports. One window that something else disturbed would
        spoil that; here it is left out, and so is its counterpart at the fast end.
        """
        cut = (len(self.windows) + 1) // 4
        return sorted(self.windows)[cut : len(self.windows) - cut]


@derived_object
class EngineBuilder(PyBuilder):
    """Compiles candidates in the pool's workers, which keep them.

    An artifact is a file with the candidate itself, so that any worker can build it again.
    """

    def __init__(self, pool: WorkerPool, timeout: float) -> None:
        super().__init__()
        self.pool = pool
        self.timeout = timeout

    def build(self, build_inputs: list[BuilderInput]) -> list[BuilderResult]:
        """Compile candidates side by side."""
        artifacts: list[str] = []

        def save() -> Iterator[str]:
            for item in build_inputs:
                artifacts.append(self._save(item))
                yield artifacts[-1]

        if self.pool.closed:
            raise MeasurementError("the measuring engine was closed; make another one")
        with self.pool.lock:
            self.pool.tidy()
            errors = self.pool.build(save(), self.timeout)
        results = []
        for artifact, error in zip(artifacts, errors, strict=True):
            if error is None:
                results.append(BuilderResult(artifact, None))
            else:
                shutil.rmtree(os.path.dirname(artifact), ignore_errors=True)
                results.append(BuilderResult(None, f"EngineBuilder: {error}"))
        return results

    def close(self) -> None:
        """End all processes and remove all artifacts; the runner can't be used any more either."""
        self.pool.close()

    def _save(self, item: BuilderInput) -> str:
        # Each in a folder of its own, since MetaSchedule removes that once the candidate is measured.
        path = Path(tempfile.mkdtemp(dir=self.pool.folder), _NAME)
        path.write_text(json.dumps([save_json(item.mod), str(item.target)]), encoding="utf-8")
        return str(path)


@derived_object
class EngineRunner(PyRunner):
    """Times what :class:`EngineBuilder` compiled, one candidate at a time.

    Reports the middle half of the windows: see :meth:`Measurement.middle`.

    Attributes
    ----------
    measurements : deque of Measurement
        The last ones, in order, with all windows.
    """

    def __init__(self, pool: WorkerPool, build_timeout: float, timeout: float, config: EvaluatorConfig) -> None:
        super().__init__()
        self.pool = pool
        self.build_timeout = build_timeout
        self.timeout = timeout
        self.config = config
        self.measurements: deque[Measurement] = deque(maxlen=_REMEMBERED)

    def run(self, runner_inputs: list[RunnerInput]) -> list[Any]:
        """Time each candidate alone."""
        requests = [_request(item) for item in runner_inputs]
        outcomes = self.pool.time(requests, self.config, self.build_timeout, self.timeout)
        found = [Measurement(request.artifact, *outcome) for request, outcome in zip(requests, outcomes, strict=True)]
        self.measurements.extend(found)
        return [_Done(measurement) for measurement in found]

    def close(self) -> None:
        """End all processes and remove all artifacts; the builder can't be used any more either."""
        self.pool.close()


@derived_object
class _Done(PyRunnerFuture):
    """A finished measurement."""

    def __init__(self, measurement: Measurement) -> None:
        super().__init__()
        self.measurement = measurement

    def done(self) -> bool:
        """Always: candidates are timed one after the other."""
        return True

    def result(self) -> RunnerResult:
        """The measured seconds, or what went wrong."""
        if self.measurement.error is not None:
            return RunnerResult(None, f"EngineRunner: {self.measurement.error}")
        return RunnerResult(self.measurement.middle(), None)


def _request(item: RunnerInput) -> Request:
    artifact = str(item.artifact_path)
    if os.path.basename(artifact) != _NAME:
        raise MeasurementError("EngineRunner runs only what EngineBuilder built: pass both to the tuner")
    return Request(artifact, tuple(_plain(info.as_json()) for info in item.args_info))


def _plain(info: Any) -> tuple[str, str, tuple[int, ...]]:
    """An argument description without TVM objects: (kind, dtype, shape)."""
    kind, dtype, shape = info
    return str(kind), str(dtype), tuple(int(d) for d in shape)
