"""The best schedules of databases, all timed again in one run.

Records of several tunings were measured at several times, and a machine that others use, too, isn't equally fast at all
times: kernels of one tuning differ by a common factor from those of another. Timed again in turn they can be compared.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from math import inf
from pathlib import Path
from statistics import fmean
from typing import Any

from tvm.s_tir.meta_schedule.database import Workload
from tvm.target import Target

from tvm_eqsat.cost.engine import IN_PROGRAM, engine
from tvm_eqsat.cost.predict import Sample
from tvm_eqsat.cost.store import KernelStore
from tvm_eqsat.cost.threads import use_threads
from tvm_eqsat.cost.tuning import run_trials
from tvm_eqsat.errors import FormatError
from tvm_eqsat.files import write_atomically
from tvm_eqsat.interrupt import interruptible
from tvm_eqsat.progress import Progress

log = logging.getLogger("tvm_eqsat.benchmarks")

_BATCH = 16


def times_again(
    samples: Sequence[Sample], folders: Sequence[str | Path], target: Target, file: Path
) -> dict[int, float] | None:
    """Time the best schedule of each kernel once more.

    Parameters
    ----------
    samples : sequence of Sample
        The kernels, in the order in which they have their turns.
    folders : sequence of str or pathlib.Path
        The databases that hold their schedules.
    target : tvm.target.Target
        The target of the records.
    file : pathlib.Path
        Where the times are kept. What it holds isn't measured again.

    Returns
    -------
    dict of int to float, or None
        Seconds by structural hash, of kernels that could be timed. None if Ctrl-C ended it; the same call goes on.

    Raises
    ------
    FormatError
        The file isn't what this writes.
    """
    known = _read(file)
    stores = [KernelStore(folder, target) for folder in folders]
    missing = [sample for sample in samples if sample.kernel.hash not in known]
    threads = use_threads(int(target.attrs["num-cores"]))
    builder, runner = engine(threads, config=IN_PROGRAM)  # as kernels are tuned
    try:
        with interruptible() as stopping, Progress("timing again", len(missing), "kernels") as bar:
            for begin in range(0, len(missing), _BATCH):
                if stopping():
                    return None
                batch = missing[begin : begin + _BATCH]
                known |= _timed(batch, stores, target, builder, runner)
                write_atomically(file, json.dumps({str(key): seconds for key, seconds in known.items()}))
                bar.advance(len(batch))
    finally:
        builder.close()
    return {key: seconds for key, seconds in known.items() if seconds < inf}


def _read(file: Path) -> dict[int, float]:
    try:
        text = file.read_text(encoding="utf-8") if file.is_file() else "{}"
        return {int(key): float(seconds) for key, seconds in json.loads(text).items()}
    except (OSError, ValueError, TypeError, AttributeError) as err:
        raise FormatError(f"{file} doesn't hold times of kernels: {err}; give another name") from err


def _timed(
    batch: Sequence[Sample], stores: Sequence[KernelStore], target: Target, builder: Any, runner: Any
) -> Mapping[int, float]:
    """Seconds by structural hash, infinite for what failed."""
    found = {sample.kernel.hash: inf for sample in batch}
    candidates = {}
    for sample in batch:
        records = [r for store in stores for r in store.get_top_k(Workload(sample.kernel.mod), 1)]
        if records:
            best = min(records, key=lambda record: fmean(map(float, record.run_secs)))
            candidates[sample.kernel.hash] = best.as_measure_candidate()
    for key, result in zip(candidates, run_trials(list(candidates.values()), target, builder, runner), strict=True):
        found[key] = fmean(map(float, result.run_secs)) if result.run_secs else inf
    failed = sum(seconds == inf for seconds in found.values())
    if failed:
        log.warning("%d of %d kernels couldn't be timed again", failed, len(found))
    return found
