"""``tvmc tune``: measure schedules of a model's kernels with MetaSchedule."""

from __future__ import annotations

import argparse
import logging
import math
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tvm import tirx
from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.meta_schedule.utils import fork_seed
from tvm.target import Target

from tvm_eqsat.cost.intrinsics import load_intrinsics
from tvm_eqsat.cost.scheduler import BatchScheduler, Outlook, callbacks
from tvm_eqsat.cost.store import KernelStore, Settings, copy_records
from tvm_eqsat.cost.threads import available_cores, use_threads
from tvm_eqsat.options import EqSatOptions
from tvm_eqsat.progress import Progress

from . import frontends, pipeline, records
from .arguments import add_common_arguments, add_model_arguments, add_rpc_arguments, positive
from .eqsat import add_eqsat_arguments, eqsat_options, optimise
from .errors import TVMCException, explained
from .files import write_text
from .interrupt import INTERRUPTED, interruptible
from .legacy import refuse_legacy_flags
from .measure import builder_and_runner
from .model import TVMCModel
from .target import add_target_arguments, as_target, is_generic, num_cores, target_from_cli, target_options
from .tasks import filter_tasks, format_tasks
from .tracker import rpc_config

logger = logging.getLogger("TVMC")

# MetaSchedule's learned model guesses at random until it has seen this many trials, but is trained after every batch.
_LEARNING_STARTS = 100
# A kernel with fewer trials than this is measured before there is anything to learn from.
_LEARNING_TRIALS = 16


def add_tune_parser(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser("tune", help="auto-tune a model", allow_abbrev=False)
    parser.set_defaults(func=drive_tune)
    add_common_arguments(parser)
    add_model_arguments(parser)
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="DIR",
        help="directory of the tuning records (a MetaSchedule database); records that it holds already are kept",
    )
    parser.add_argument(
        "--trials", type=positive, default=1000, help="the maximum number of tuning trials to perform. Defaults to 1000"
    )
    parser.add_argument(
        "--repeat", type=positive, default=1, help="how many times to repeat each measurement. Defaults to 1"
    )
    parser.add_argument(
        "--number",
        type=positive,
        default=3,
        help="number of runs a single repeat is made of; a kernel runs 1 + number * repeat times. Defaults to 3",
    )
    parser.add_argument(
        "--min-repeat-ms",
        type=int,
        default=100,
        help="minimum time of one repeat, in milliseconds; 'number' grows until it is met. Defaults to 100",
    )
    parser.add_argument(
        "--timeout",
        type=positive,
        default=30,
        help="seconds that building, or running, a trial may take. Defaults to 30",
    )
    parser.add_argument(
        "--parallel",
        type=positive,
        default=available_cores(),
        help="how many kernels to build at a time, and remote devices to use. Defaults to the number of cores",
    )
    parser.add_argument("--tuning-records", metavar="DIR", help="directory of earlier tuning records to start from")
    parser.add_argument("--tasks", default="all", help="kernels to tune, e.g. 0 or 0,2 or 3-5 or all; list shows them")
    parser.add_argument("--seed", type=int, default=0, help="seed of the search. Defaults to 0")
    add_rpc_arguments(parser)
    add_target_arguments(parser)
    add_eqsat_arguments(parser)
    refuse_legacy_flags(parser, "tune")


def drive_tune(args: argparse.Namespace) -> dict[str, Any]:
    """Tune as the command line says; return what there is to tell."""
    rpc = rpc_config(args.rpc_tracker, args.rpc_key, args.timeout)
    options = eqsat_options(args)
    target = target_from_cli(args.target, target_options(args))
    model = frontends.load_model(args.FILE, args.model_format, args.input_shapes)
    return tune_model(
        model,
        target,
        args.output,
        prior_records=args.tuning_records,
        trials=args.trials,
        repeat=args.repeat,
        number=args.number,
        min_repeat_ms=args.min_repeat_ms,
        timeout=args.timeout,
        parallel=args.parallel,
        tasks_filter=args.tasks,
        seed=args.seed,
        rpc=rpc,
        eqsat=options,
        eqsat_report=args.eqsat_report,
    )


def tune_model(
    tvmc_model: TVMCModel,
    target: str | Target | None,
    tuning_records: str | Path,
    *,
    prior_records: str | Path | None = None,
    trials: int = 1000,
    repeat: int = 1,
    number: int = 3,
    min_repeat_ms: int = 100,
    timeout: int = 30,
    parallel: int | None = None,
    tasks_filter: str = "all",
    seed: int = 0,
    rpc: ms.runner.RPCConfig | None = None,
    eqsat: EqSatOptions | None = None,
    eqsat_report: str | Path | None = None,
) -> dict[str, Any]:
    """Tune a model's kernels and add the records to ``tuning_records``; the arguments are those of the command line.

    Ctrl-C ends the tuning after the batch that is being measured; what was measured is kept. A second one ends it at
    once.

    Returns
    -------
    dict
        What was done: kernels, trials, failures and the estimated latency of the model in milliseconds.

    Raises
    ------
    EqSatError
        Something about the arguments or the model is wrong.
    """
    started = time.perf_counter()
    tvm_target = as_target(target)
    if is_generic(tvm_target):
        logger.warning("the target names no CPU; to tune for this machine, use --target 'llvm -mcpu=native'")
    if rpc is None:
        use_threads(num_cores(tvm_target))
    mod = tvmc_model.mod
    with explained(f"optimising '{tvmc_model.name}'"):
        if eqsat is not None:
            mod, report = optimise(mod, tvm_target, eqsat)
            print(report.summary())
            if eqsat_report is not None:
                write_text(eqsat_report, report.to_json())
        found = ms.relax_integration.extract_tasks(pipeline.to_tune(mod, tvm_target), tvm_target)
    tasks, only_list = filter_tasks(found, tasks_filter)
    if only_list:
        print(format_tasks(found))
        return {"tasks": [{"name": task.task_name, "weight": int(task.weight)} for task in found]}
    tasks = _static(tasks)
    directory = Path(tuning_records)
    config = ms.runner.EvaluatorConfig(number=number, repeat=repeat, min_repeat_ms=min_repeat_ms)
    settings = Settings.of(config, num_cores(tvm_target))
    host = None if rpc is None else ""  # of a remote device nobody knows
    database = _open_database(
        directory, prior_records, lambda: KernelStore(directory, tvm_target, settings=settings, host=host)
    )
    workers = parallel or available_cores()

    load_intrinsics()
    batch = batch_size(trials, len(tasks))
    learning = trials > max(_LEARNING_STARTS, _LEARNING_TRIALS * len(tasks))
    with explained("preparing to tune"), tvm_target:
        contexts = [
            ms.TuneContext(
                mod=task.dispatched[0],
                target=tvm_target,
                space_generator="post-order-apply",
                search_strategy=_strategy(batch, learning),
                task_name=task.task_name,
                rand_state=rand_state,
                num_threads=available_cores(),
            )
            for task, rand_state in zip(tasks, fork_seed(seed, len(tasks)), strict=True)
        ]
        builder, runner = builder_and_runner(tvm_target, config, rpc=rpc, workers=workers, timeout=timeout)
    names, weights = [task.task_name for task in tasks], [int(task.weight) for task in tasks]
    if trials < len(tasks):
        logger.warning("%d trials are too few for %d kernels: some stay untuned", trials, len(tasks))

    outlook = Outlook(weights)
    done = failed = 0
    with interruptible() as stopping, Progress("tuning", trials, "trials") as bar, explained("tuning"), tvm_target:

        def on_batch(i: int, results: Sequence[ms.runner.RunnerResult]) -> None:
            nonlocal done, failed
            errors = [result.error_msg for result in results if result.error_msg is not None]
            done, failed = done + len(results), failed + len(errors)
            for error in errors:
                logger.debug("%s: %s", names[i], error)
            total = outlook.total()
            estimate = f"; all kernels {total * 1e3:.3f} ms" if total < math.inf else ""
            bar.advance(len(results), f"{names[i]} {outlook.time(i) * 1e6:.1f} us{estimate}")

        ms.tune.tune_tasks(
            tasks=contexts,
            task_weights=weights,
            work_dir=str(directory),
            max_trials_global=trials,
            max_trials_per_task=trials,
            num_trials_per_iter=batch,
            builder=builder,
            runner=runner,
            database=database,
            cost_model="xgb" if learning else ms.cost_model.RandomModel(seed=seed),
            measure_callbacks=callbacks(outlook, on_batch),
            task_scheduler=BatchScheduler(outlook, stopping),
        )
        interrupted = stopping()
    if done and failed == done:
        raise TVMCException(f"all {done} trials failed; -vv shows why")
    return {
        "output": str(directory),
        "target": str(tvm_target),
        "tasks": [
            {"name": name, "weight": weight, "best_us": _finite(outlook.time(i) * 1e6)}
            for i, (name, weight) in enumerate(zip(names, weights, strict=True))
        ],
        "trials": done,
        "failed": failed,
        "records": len(database),
        "kernels_ms": _finite(outlook.total() * 1e3),
        "seconds": round(time.perf_counter() - started, 3),
        **({"interrupted": True, "exit_code": INTERRUPTED} if interrupted else {}),
    }


def _finite(number: float) -> float | None:
    return round(number, 6) if number < math.inf else None


def batch_size(trials: int, tasks: int) -> int:
    """Trials measured at a time: at most half of a kernel's share, so that results steer the other half.

    A batch of less than 8 spends more time on searching than on measuring.
    """
    share = trials // tasks
    return max(1, min(32, share, max(8, share // 2)))


def _strategy(batch: int, learning: bool) -> ms.search_strategy.SearchStrategy:
    """How schedules to measure are proposed.

    Without a learned model, evolution would select by chance: random schedules are as good, and come at once. With
    one, its population (512 in MetaSchedule) is kept in proportion to what is measured, or it costs more than that.
    """
    if not learning:
        return ms.search_strategy.ReplayTrace()
    return ms.search_strategy.EvolutionarySearch(population_size=max(32, min(512, 8 * batch)), genetic_num_iters=3)


def _static(tasks: Sequence[ms.ExtractedTask]) -> list[ms.ExtractedTask]:
    def fixed(task: ms.ExtractedTask) -> bool:
        types = [p.ty for f in task.dispatched[0].functions.values() for p in f.params]
        shapes = [ty.shape for ty in types if isinstance(ty, tirx.BufferType)]
        return all(isinstance(dim, tirx.IntImm) for shape in shapes for dim in shape)

    kept = [task for task in tasks if fixed(task)]
    if len(kept) < len(tasks):
        logger.warning("%d kernels have dynamic shapes and stay untuned", len(tasks) - len(kept))
    if not kept:
        raise TVMCException(
            "there is no kernel to tune" + ("; fix the model's dynamic shapes with --input-shapes" if tasks else "")
        )
    return kept


def _open_database(directory: Path, prior: str | Path | None, store: Callable[[], KernelStore]) -> KernelStore:
    """The database in ``directory``, made if need be, with the records of ``prior`` added.

    A directory with damaged lines is as good as any: they are skipped, and stay as they are.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise TVMCException(f"can't write tuning records to '{directory}': {err.strerror}") from err
    if not os.access(directory, os.W_OK):
        raise TVMCException(f"can't write tuning records to '{directory}': permission denied")
    if prior is not None and Path(prior).resolve() != directory.resolve():
        copied = copy_records(records.checked_directory(prior), directory)
        logger.info("%d earlier records were taken over", copied.records)
    return store()
