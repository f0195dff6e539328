"""Trials: schedules that are built and run."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Sequence
from typing import Any

import tvm
from tvm.s_tir.meta_schedule.builder import BuilderInput
from tvm.s_tir.meta_schedule.runner import RunnerInput, RunnerResult
from tvm.target import Target


def run_trials(candidates: Sequence[Any], target: Target, builder: Any, runner: Any) -> list[RunnerResult]:
    """Build and run some schedules, and remove what was built.

    Parameters
    ----------
    candidates : sequence of MeasureCandidate
        The schedules.
    target : tvm.target.Target
        What to build for.
    builder, runner : Builder and Runner of MetaSchedule
        E.g. of :func:`~tvm_eqsat.cost.engine.engine`.

    Returns
    -------
    list of RunnerResult
        One for each, with the builder's message where it couldn't be built.
    """
    built = builder.build([BuilderInput(candidate.sch.mod, target) for candidate in candidates])
    device = tvm.device(int(target.get_target_device_type()), 0).__device_type_name__()
    inputs = [
        RunnerInput(done.artifact_path, device, candidate.args_info)
        for candidate, done in zip(candidates, built, strict=True)
        if done.error_msg is None
    ]
    futures = iter(runner.run(inputs) if inputs else [])
    results = [
        next(futures).result() if done.error_msg is None else RunnerResult(None, done.error_msg) for done in built
    ]
    for item in inputs:
        with contextlib.suppress(OSError):
            shutil.rmtree(os.path.dirname(item.artifact_path))
    return results
