"""MetaSchedule over a whole Relax module: lower it as TVM does, tune its kernels, keep the records in a database."""

from __future__ import annotations

import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tvm
from tvm import IRModule, relax
from tvm.ir.utils import derived_object
from tvm.s_tir import meta_schedule as ms
from tvm.target import Target

from ..errors import MeasurementError
from ..progress import Progress
from .engine import engine

log = logging.getLogger("tvm_eqsat.tuning")

#: Trials that a kernel gets in one turn. Few, so that a small budget reaches every kernel.
TRIALS_PER_TURN = 16


@dataclass(frozen=True)
class TuningRun:
    """What a tuning run did: kernels found, trials made, trials that failed, and where the records are."""

    kernels: int
    trials: int
    failed: int
    database: str


def tune_module(
    mod: IRModule,
    target: Target,
    database: str | Path,
    trials: int,
    *,
    trials_per_kernel: int | None = None,
    seed: int = 0,
    title: str = "tuning",
    quiet: bool = False,
    builder: Any = None,
    runner: Any = None,
    lowered: bool = False,
) -> TuningRun:
    """Tune the kernels of a module with MetaSchedule.

    Records are appended to the database as they come, so an interrupted run loses nothing that was measured, and
    the next one continues from it.

    Parameters
    ----------
    mod : IRModule
        A Relax module.
    target : tvm.target.Target
        The target; its ``num-cores`` is the number of threads that kernels are measured with.
    database : str or Path
        MetaSchedule's database directory; made if it isn't there.
    trials : int
        Candidates to measure, over all kernels.
    trials_per_kernel : int, optional
        Most candidates of one kernel.
    seed : int
        Seed of the search.
    title : str
        What the progress display says.
    quiet : bool
        Show no progress.
    builder, runner : optional
        MetaSchedule's builder and runner; by default this package's engine for local CPU targets, which needs a
        fraction of the time of MetaSchedule's own.
    lowered : bool
        The module went through legalisation and fusion already.

    Raises
    ------
    MeasurementError
        There is nothing to tune, or the database directory can't be used.
    """
    with target:
        if not lowered:
            passes = relax.pipeline.library_dispatch_passes(target) + relax.pipeline.legalize_passes(target)
            mod = tvm.transform.Sequential(passes)(mod)
        tasks = ms.relax_integration.extract_tasks(mod, target)
    if not tasks:
        raise MeasurementError("the module has no kernel to tune: it calls no TIR function after legalisation")
    threads = int(target.attrs.get("num-cores", 0)) or tvm.runtime.num_threads()
    if builder is None or runner is None:
        builder, runner = engine(threads)
    quieten()
    try:
        Path(database).mkdir(parents=True, exist_ok=True)
        records = ms.database.JSONDatabase(work_dir=str(database))
    except Exception as err:  # TVM raises many kinds for a file that it can't open or read
        raise MeasurementError(f"the database directory {database} can't be used: {_last_line(err)}") from err
    with tempfile.TemporaryDirectory(prefix="tvm-eqsat-logs-") as logs, Progress(title, trials, "trials", quiet) as bar:
        contexts, weights = ms.relax_integration.extracted_tasks_to_tune_contexts(
            tasks,
            logs,
            # MetaSchedule's own population of 512 costs more time than measuring what it proposes
            strategy=ms.search_strategy.EvolutionarySearch(population_size=128, genetic_num_iters=3),
            seed=seed + 1,
            num_threads=threads,
        )
        watch = _Watch(bar)
        ms.tune.tune_tasks(
            tasks=contexts,
            task_weights=weights,
            work_dir=logs,
            max_trials_global=trials,
            max_trials_per_task=trials_per_kernel,
            num_trials_per_iter=min(TRIALS_PER_TURN, trials),
            builder=builder,
            runner=runner,
            database=records,
            measure_callbacks=[*ms.measure_callback.MeasureCallback.create("default"), watch],
        )
    return TuningRun(len(tasks), watch.trials, watch.failed, str(database))


def quieten(level: int = logging.WARNING) -> None:
    """MetaSchedule prints a table after every batch unless its loggers are told not to."""
    for name in ("tvm.s_tir.meta_schedule", "tvm.meta_schedule"):
        logging.getLogger(name).setLevel(level)


@derived_object
class _Watch(ms.measure_callback.PyMeasureCallback):  # type: ignore[misc]
    """Counts trials and moves the progress display."""

    def __init__(self, bar: Progress) -> None:
        super().__init__()
        self.bar = bar
        self.trials = 0
        self.failed = 0

    def apply(
        self, task_scheduler: Any, task_id: int, measure_candidates: Any, builder_results: Any, runner_results: Any
    ) -> None:
        """Called after each batch."""
        self.trials += len(measure_candidates)
        self.failed += sum(r.error_msg is not None for r in runner_results)
        name = str(task_scheduler.tasks_[task_id].ctx.task_name)
        self.bar.advance(len(measure_candidates), name[:40])


def _last_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[-1]
