"""``tvmc tune``: measure schedules of a model's kernels with MetaSchedule."""

from __future__ import annotations

import argparse
import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tvm.s_tir import meta_schedule as ms
from tvm.target import Target

from tvm_eqsat.cost.engine import DEFAULT_CONFIG, IN_PROGRAM
from tvm_eqsat.cost.lower import Kernel, kernel_of
from tvm_eqsat.cost.store import KernelStore, Settings, copy_records
from tvm_eqsat.cost.threads import available_cores, use_threads
from tvm_eqsat.cost.tuning import Batch, KernelTuner, is_tunable
from tvm_eqsat.interrupt import INTERRUPTED, interruptible
from tvm_eqsat.options import EqSatOptions
from tvm_eqsat.progress import Progress
from tvm_eqsat.run_report import TuningReport

from . import frontends, pipeline
from .arguments import add_common_arguments, add_model_arguments, add_rpc_arguments, positive
from .eqsat import add_eqsat_arguments, eqsat_options, optimise
from .errors import TVMCException, explained
from .files import write_text
from .legacy import refuse_legacy_flags
from .measure import builder_and_runner
from .model import TVMCModel
from .records import checked_directory, is_database
from .target import add_target_arguments, as_target, is_generic, num_cores, runs_here, target_from_cli, target_options
from .tasks import filter_tasks, format_tasks
from .tracker import rpc_config

logger = logging.getLogger("TVMC")


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
        "--repeat",
        type=positive,
        help=f"how many times to repeat each measurement. Defaults to {DEFAULT_CONFIG.repeat}",
    )
    parser.add_argument(
        "--number",
        type=positive,
        help="number of runs a single repeat is made of; a kernel runs 1 + number * repeat times. "
        f"Defaults to {DEFAULT_CONFIG.number}",
    )
    parser.add_argument(
        "--min-repeat-ms",
        type=int,
        help="minimum time of one repeat, in milliseconds; 'number' grows until it is met. "
        f"Defaults to {DEFAULT_CONFIG.min_repeat_ms}",
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
    parser.add_argument(
        "--weight-prepack",
        action="store_true",
        help="let kernels choose the layouts of their weights; compile with --weight-prepack then",
    )
    parser.add_argument(
        "--register-tiles",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="try tiles that fit the target's vector registers beside MetaSchedule's own schedules. Defaults to yes",
    )
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
        weight_prepack=args.weight_prepack,
        register_tiles=args.register_tiles,
    )


def tune_model(
    tvmc_model: TVMCModel,
    target: str | Target | None,
    tuning_records: str | Path,
    *,
    prior_records: str | Path | None = None,
    trials: int = 1000,
    repeat: int | None = None,
    number: int | None = None,
    min_repeat_ms: int | None = None,
    timeout: int = 30,
    parallel: int | None = None,
    tasks_filter: str = "all",
    seed: int = 0,
    rpc: ms.runner.RPCConfig | None = None,
    eqsat: EqSatOptions | None = None,
    eqsat_report: str | Path | None = None,
    weight_prepack: bool = False,
    register_tiles: bool = True,
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
    threads = num_cores(tvm_target)
    if rpc is None:
        use_threads(threads)  # warns if there are fewer cores
        threads = min(threads, available_cores())
    directory = Path(tuning_records)
    ours = rpc is None and runs_here(tvm_target)  # the engine measures, not MetaSchedule's workers
    config = _config(IN_PROGRAM if ours else DEFAULT_CONFIG, repeat, number, min_repeat_ms)
    weight_prepack = weight_prepack or (eqsat is not None and eqsat.prepack)
    if weight_prepack:
        pipeline.check_prepack(tvmc_model.mod, tvm_target)
        eqsat = None if eqsat is None else eqsat.with_(prepack=True)
    mod, report = tvmc_model.mod, None
    joint = eqsat if tasks_filter == "all" else None
    if eqsat is not None and joint is None:
        with explained(f"optimising '{tvmc_model.name}'"):
            mod, report = optimise(mod, tvm_target, eqsat, database=directory if is_database(directory) else None)
    kernels: list[Kernel] = []
    if joint is None:
        with explained(f"reading the kernels of '{tvmc_model.name}'"):
            to_tune = pipeline.to_tune(mod, tvm_target, prepack=weight_prepack)
            found = ms.relax_integration.extract_tasks(to_tune, tvm_target)
        tasks, only_list = filter_tasks(found, tasks_filter)
        if only_list:
            print(format_tasks(found))
            return {"tasks": [{"name": task.task_name, "weight": int(task.weight)} for task in found]}
        kernels = _static([kernel_of(task) for task in tasks])

    _open_directory(directory, prior_records)
    store = KernelStore(
        directory,
        tvm_target,
        settings=Settings.of(config, threads),
        host=None if rpc is None else "",  # of a remote device nobody knows
    )
    with tvm_target:
        tools = builder_and_runner(tvm_target, config, rpc=rpc, workers=parallel or available_cores(), timeout=timeout)
    with KernelTuner(store, seed=seed, builder=tools[0], runner=tools[1], tiles=register_tiles) as tuner:
        if joint is not None:
            with explained(f"optimising and tuning '{tvmc_model.name}'"):
                _, report = optimise(mod, tvm_target, joint, trials=trials, tuner=tuner)
            tuning = report.tuning
        else:
            with explained("tuning"):
                tuning = _tune(tuner, kernels, trials)
    if report is not None:
        print(report.summary())
        if eqsat_report is not None:
            write_text(eqsat_report, report.to_json())
    if tuner.trials and tuner.failed == tuner.trials:
        raise TVMCException(f"all {tuner.trials} trials failed; -vv shows why")
    measured = [row["weight"] * row["best_us"] for row in tuning.kernels if row["best_us"] is not None]
    return {
        "output": str(directory),
        "target": str(tvm_target),
        "tasks": tuning.kernels,
        "trials": tuner.trials,
        "failed": tuner.failed,
        "records": len(store),
        "kernels_ms": round(sum(measured) / 1e3, 6) if len(measured) == len(tuning.kernels) else None,
        "seconds": round(time.perf_counter() - started, 3),
        **({"interrupted": True, "exit_code": INTERRUPTED} if tuning.interrupted else {}),
    }


def _config(
    usual: ms.runner.EvaluatorConfig, repeat: int | None, number: int | None, min_repeat_ms: int | None
) -> ms.runner.EvaluatorConfig:
    """How kernels are measured: as usual, but for what was asked for."""
    asked = {"repeat": repeat, "number": number, "min_repeat_ms": min_repeat_ms}
    return usual._replace(**{name: value for name, value in asked.items() if value is not None})


def _tune(tuner: KernelTuner, kernels: Sequence[Kernel], trials: int) -> TuningReport:
    """Tune kernels, with a bar to watch."""
    started = time.perf_counter()
    tuner.plan(trials, len(kernels))
    with interruptible() as stopping, Progress("tuning", trials, "trials") as bar:

        def on_batch(batch: Batch) -> None:
            best = [tuner.store.best(kernel.hash) for kernel in kernels]
            total = sum(kernel.count * known.seconds for kernel, known in zip(kernels, best, strict=True) if known)
            estimate = f"; all kernels {total * 1e3:.3f} ms" if None not in best else ""
            mine = tuner.store.best(batch.kernel.hash)
            latency = f"{mine.seconds * 1e6:.1f} us" if mine is not None else "failed"
            bar.advance(batch.trials, f"{batch.kernel.name} {latency}{estimate}")

        tuner.tune(kernels, trials, on_batch=on_batch, stopping=stopping)
        interrupted = stopping()
    report = TuningReport(tuner.trials, tuner.failed, interrupted=interrupted, seconds=time.perf_counter() - started)
    report.add_kernels(kernels, tuner.store)
    return report


def _static(kernels: Sequence[Kernel]) -> list[Kernel]:
    kept = [kernel for kernel in kernels if is_tunable(kernel)]
    if len(kept) < len(kernels):
        logger.warning("%d kernels have dynamic shapes and stay untuned", len(kernels) - len(kept))
    if not kept:
        raise TVMCException(
            "there is no kernel to tune" + ("; fix the model's dynamic shapes with --input-shapes" if kernels else "")
        )
    return kept


def _open_directory(directory: Path, prior: str | Path | None) -> None:
    """Make a directory for records if need be, with the records of ``prior`` added.

    One with damaged lines is as good as any: they are skipped, and stay as they are.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise TVMCException(f"can't write tuning records to '{directory}': {err.strerror}") from err
    if not os.access(directory, os.W_OK):
        raise TVMCException(f"can't write tuning records to '{directory}': permission denied")
    if prior is not None and Path(prior).resolve() != directory.resolve():
        copied = copy_records(checked_directory(prior), directory)
        logger.info("%d earlier records were taken over", copied.records)
