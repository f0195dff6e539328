"""The MetaSchedule side of the engine: a ``Builder`` and a ``Runner`` over one pool of workers."""

from __future__ import annotations

import json
import os
import tempfile
from typing import Any

from tvm.ir import save_json
from tvm.ir.utils import derived_object
from tvm.runtime import Object
from tvm.s_tir.meta_schedule.builder import BuilderInput, BuilderResult, PyBuilder
from tvm.s_tir.meta_schedule.runner import EvaluatorConfig, PyRunner, PyRunnerFuture, RunnerInput, RunnerResult
from tvm.target import Target

from ...errors import MeasurementError
from .pool import WorkerPool

_PREFIX = "tvm-eqsat-engine-"


def engine(
    threads: int,
    *,
    workers: int | None = None,
    build_timeout: float = 30.0,
    run_timeout: float = 30.0,
    config: EvaluatorConfig | None = None,
) -> tuple[Object, Object]:
    """A builder and the runner that belongs to it, for ``builder=`` and ``runner=`` of MetaSchedule's tuners.

    Parameters
    ----------
    threads : int
        Threads that candidates run with: the target's ``num-cores``.
    workers : int, optional
        Processes that compile side by side; one for each core by default.
    build_timeout, run_timeout : float
        Seconds after which a candidate counts as failed.
    config : EvaluatorConfig, optional
        How often a candidate runs; by default one repeat of at least 40 ms after a warm-up.
    """
    pool = WorkerPool(workers or len(os.sched_getaffinity(0)), threads)
    config = config or EvaluatorConfig(number=1, repeat=1, min_repeat_ms=40, enable_cpu_cache_flush=False)
    return EngineBuilder(pool, build_timeout), EngineRunner(pool, run_timeout, config)


@derived_object
class EngineBuilder(PyBuilder):
    """Compiles candidates in the pool's workers, which keep them."""

    def __init__(self, pool: WorkerPool, timeout: float) -> None:
        super().__init__()
        self.pool = pool
        self.timeout = timeout

    def build(self, build_inputs: list[BuilderInput]) -> list[BuilderResult]:
        """Compile candidates side by side; the artifact path says where each one is kept."""
        jobs = []
        for number, item in enumerate(build_inputs):
            worker = number % len(self.pool.workers)
            self.pool.tokens += 1
            jobs.append(self.pool.executor.submit(self._one, worker, self.pool.tokens, item))
        return [job.result() for job in jobs]

    def _one(self, worker: int, token: int, item: BuilderInput) -> BuilderResult:
        target = json.dumps(_target_dict(item.target))
        ok, answer = self.pool.workers[worker].ask(self.timeout, "build", token, save_json(item.mod), target)
        if ok:
            # MetaSchedule removes an artifact's folder once it is measured, so there has to be one.
            return BuilderResult(os.path.join(tempfile.mkdtemp(prefix=_PREFIX), f"{worker}.{token}"), None)
        return BuilderResult(None, f"EngineBuilder: {answer}")


@derived_object
class EngineRunner(PyRunner):
    """Times what :class:`EngineBuilder` compiled, one candidate at a time."""

    def __init__(self, pool: WorkerPool, timeout: float, config: EvaluatorConfig) -> None:
        super().__init__()
        self.pool = pool
        self.timeout = timeout
        self.config = config

    def run(self, runner_inputs: list[RunnerInput]) -> list[Any]:
        """Time each candidate alone."""
        return [_Done(*self._one(item)) for item in runner_inputs]

    def _one(self, item: RunnerInput) -> tuple[list[float] | None, str | None]:
        folder, name = os.path.split(str(item.artifact_path))
        if not os.path.basename(folder).startswith(_PREFIX):
            raise MeasurementError("EngineRunner runs only what EngineBuilder built: pass both to the tuner")
        worker, token = name.split(".")
        arguments = [_plain(a.as_json()) for a in item.args_info]
        ok, answer = self.pool.workers[int(worker)].ask(
            self.timeout, "time", int(token), arguments, self.config._asdict()
        )
        return (answer, None) if ok else (None, f"EngineRunner: {answer}")


@derived_object
class _Done(PyRunnerFuture):
    """A finished measurement."""

    def __init__(self, seconds: list[float] | None, error: str | None) -> None:
        super().__init__()
        self.seconds = seconds
        self.error = error

    def done(self) -> bool:
        """Always: candidates are timed one after the other."""
        return True

    def result(self) -> RunnerResult:
        """The measured seconds, or what went wrong."""
        return RunnerResult(self.seconds, self.error)


def _target_dict(target: Target) -> dict[str, Any]:
    return dict(json.loads(str(target)))


def _plain(info: Any) -> tuple[str, str, tuple[int, ...]]:
    """An argument description without TVM objects: (kind, dtype, shape)."""
    kind, dtype, shape = info
    return str(kind), str(dtype), tuple(int(d) for d in shape)
