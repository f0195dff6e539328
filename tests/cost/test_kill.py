"""A tuning run that is killed again and again, at random points: nothing that was measured is lost, nothing is left."""

from __future__ import annotations

import math
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tvm.relax import op
from tvm.s_tir.meta_schedule.runner import EvaluatorConfig

from tests.cost.builders import module
from tests.cost.engine.candidates import TARGET
from tests.cost.engine.processes import descendants, gone
from tvm_eqsat.cost.lower import Kernel, kernels
from tvm_eqsat.cost.store import KernelStore, Settings
from tvm_eqsat.cost.tuning import KernelTuner, Outlook

KILLS = int(os.environ.get("TVM_EQSAT_KILLS", "5"))  # 20 make a thorough test
TRIALS = 12  # of a run that isn't killed
CONFIG = EvaluatorConfig(number=1, repeat=3, min_repeat_ms=0, enable_cpu_cache_flush=False)
SETTINGS = Settings.of(CONFIG, threads=1)


def model() -> list[Kernel]:
    product = module(lambda e, x, w: e(op.matmul(x, w)), (64, 64), (64, 64))
    row_sums = module(lambda e, x: e(op.sum(x, axis=1)), (64, 64))
    return [kernel for mod in (product, row_sums) for kernel in kernels(mod, TARGET)]


def open_store(folder: Path) -> KernelStore:
    return KernelStore(folder, TARGET, settings=SETTINGS)


def tune(folder: Path, found: Sequence[Kernel], seed: int, trials: int = TRIALS) -> Outlook:
    with KernelTuner(open_store(folder), seed=seed, workers=2) as tuner:
        tuner.plan(TRIALS, len(found))
        outlook = tuner.tune(found, trials)
    assert tuner.trials == trials and tuner.failed == 0
    return outlook


def tune_and_tell(folder: Path, found: Sequence[Kernel], seed: int, scratch: Path, tell: Callable[[str], None]) -> None:
    """Tune, with all temporary files in a folder, and tell of each record once the store has it."""
    tempfile.tempdir = str(scratch)
    commit = KernelStore._cls.commit_tuning_record

    def commit_and_tell(store: Any, record: Any) -> None:
        commit(store, record)
        tell(described(record))

    KernelStore._cls.commit_tuning_record = commit_and_tell
    tune(folder, found, seed, trials=10 * TRIALS)  # it won't get that far


def described(record: Any) -> str:
    return f"{[float(seconds) for seconds in record.run_secs]} {record.trace}"


def kill(pid: int) -> list[int]:
    """Kill a process; returns those below it, which nobody has told to end."""
    os.kill(pid, signal.SIGSTOP)  # so that it starts no other one now
    below = descendants(pid)
    os.kill(pid, signal.SIGKILL)
    return below


def test_killed_tuning_runs_lose_no_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Only targets with special instructions need the intrinsics, and loading them takes longer than the rest.
    monkeypatch.setitem(sys.modules, "tvm.s_tir.tensor_intrin", ModuleType("tvm.s_tir.tensor_intrin"))
    folder, scratch = tmp_path / "database", tmp_path / "scratch"
    scratch.mkdir()
    found, rng = model(), random.Random(0)
    context = multiprocessing.get_context("fork")  # TVM is loaded here already
    told: set[str] = set()
    kept = 0
    for seed in range(KILLS):
        receiver, sender = context.Pipe(duplex=False)
        tuner = context.Process(target=tune_and_tell, args=(folder, found, seed, scratch, sender.send), daemon=True)
        tuner.start()
        sender.close()
        # Anywhere: before the first trial, between two of a batch, while the next batch is built or timed.
        for _ in range(rng.randrange(TRIALS)):
            told.add(receiver.recv())
        time.sleep(rng.random() * 0.3)
        assert tuner.pid is not None
        orphans = kill(tuner.pid)
        tuner.join()
        assert tuner.exitcode == -signal.SIGKILL
        assert gone(orphans)
        assert not any(scratch.iterdir())
        try:
            while True:
                told.add(receiver.recv())
        except EOFError:
            pass
        store = open_store(folder)
        records = [described(record) for record in store.get_all_tuning_records()]
        assert told <= set(records)
        assert len(records) == len(set(records)) >= kept
        assert store.skipped <= seed + 1
        kept = len(records)
    assert kept - KILLS <= len(told)  # a trial may be written and not yet told of
    assert len(told) >= KILLS

    outlook = tune(folder, found, KILLS)
    store = open_store(folder)
    assert len(store) == kept + TRIALS
    for i, kernel in enumerate(found):
        best = store.best(kernel.hash)
        assert best is not None and best.trials >= TRIALS // 3  # a first batch at least
        assert math.isclose(outlook.time(i), best.seconds)
        assert store.query_tuning_record(kernel.mod, TARGET, "main") is not None
