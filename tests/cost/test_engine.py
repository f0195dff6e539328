"""The measuring engine: what candidates do wrong costs one trial each, and nothing else."""

from __future__ import annotations

import math
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import tvm
from tvm import te
from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.meta_schedule.arg_info import ArgInfo
from tvm.s_tir.meta_schedule.runner import EvaluatorConfig, RunnerInput

from tvm_eqsat.cost.engine import DEFAULT_CONFIG, engine, host
from tvm_eqsat.cost.engine.pool import Outcome
from tvm_eqsat.errors import MeasurementError

from .engine.candidates import TARGET, build, kernel, measure, run
from .engine.processes import descendants, gone

QUICK = EvaluatorConfig(number=1, repeat=3, min_repeat_ms=0)
GOOD = kernel("good")
TRIALS = int(os.environ.get("TVM_EQSAT_SOAK_TRIALS", "200"))  # of the soak; 1000 is a thorough one

Engine = tuple[Any, Any]


@pytest.fixture(scope="module")
def shared() -> Iterator[Engine]:
    """Two workers with 1 GiB each, and a short patience with candidates that hang."""
    made = engine(1, workers=2, run_timeout=1.0, config=QUICK, memory=1 << 30)
    yield made
    made[0].close()


def outcomes(results: list[Any]) -> list[bool]:
    return [result.run_secs is not None for result in results]


def test_good_candidates_run(shared: Engine) -> None:
    for result in measure(shared, GOOD, GOOD, GOOD):
        assert result.error_msg is None
        assert all(0 < float(seconds) < 0.01 for seconds in result.run_secs)


@pytest.mark.parametrize(
    ("kind", "why", "restarts"),
    [
        ("crash", "SIGABRT", 1),
        ("exit", "exit status 3", 1),
        ("hang", "timed out after 1 s", 1),
        ("hog", "", None),
    ],
)
def test_a_bad_candidate_costs_one_trial(shared: Engine, kind: str, why: str, restarts: int | None) -> None:
    before = shared[0].pool.restarts
    results = measure(shared, GOOD, kernel(kind), GOOD, GOOD)
    assert outcomes(results) == [True, False, True, True]
    assert why in str(results[1].error_msg)
    assert outcomes(measure(shared, GOOD, GOOD)) == [True, True]
    assert shared[0].pool.restarts - before <= 1
    if restarts is not None:
        assert shared[0].pool.restarts - before == restarts


def test_arguments_beyond_the_memory_limit_fail_alone(shared: Engine) -> None:
    results = measure(shared, GOOD, kernel("good", 1 << 29), GOOD)
    assert outcomes(results) == [True, False, True]


def test_what_cannot_be_built_fails_alone(shared: Engine) -> None:
    broken = tvm.IRModule({})
    built = build(shared[0], GOOD, broken, GOOD)
    assert [result.error_msg is None for result in built] == [True, False, True]
    assert str(built[1].error_msg).startswith("EngineBuilder: ")


def test_slow_builds_time_out() -> None:
    builder, runner = engine(1, workers=1, build_timeout=1e-4, config=QUICK)
    results = measure((builder, runner), GOOD, GOOD)
    assert [str(result.error_msg) for result in results] == ["EngineBuilder: timed out after 0.0001 s"] * 2
    builder.close()


def test_workers_killed_between_build_and_run_cost_nothing(shared: Engine) -> None:
    builder, runner = shared
    modules = [GOOD] * 6
    built = build(builder, *modules)
    for worker in builder.pool.workers:
        os.kill(worker.pid, signal.SIGKILL)
    assert outcomes(run(runner, built, *modules)) == [True] * 6


def test_a_worker_killed_while_it_runs_costs_one_trial(shared: Engine) -> None:
    builder, runner = shared
    modules = [kernel("hang"), GOOD, GOOD]
    built = build(builder, *modules)
    holder = next(worker for worker in builder.pool.workers if str(built[0].artifact_path) in worker.held)
    threading.Timer(0.3, os.kill, (holder.pid, signal.SIGKILL)).start()
    results = run(runner, built, *modules)
    assert outcomes(results) == [False, True, True]
    assert "SIGKILL" in str(results[0].error_msg)


def test_the_process_that_workers_come_from_may_be_killed(shared: Engine) -> None:
    builder, runner = shared
    built = build(builder, GOOD, GOOD)
    os.kill(builder.pool.nursery._process.pid, signal.SIGKILL)
    while any(worker.alive() for worker in builder.pool.workers):
        time.sleep(0.01)
    assert outcomes(run(runner, built, GOOD, GOOD)) == [True, True]


def test_results_are_in_order(shared: Engine) -> None:
    sizes = [1 << 10, 1 << 22, 1 << 10, 1 << 22, 1 << 10]
    results = measure(shared, *(kernel("good", size) for size in sizes))
    seconds = [float(result.run_secs[0]) for result in results]
    assert max(seconds[::2]) < min(seconds[1::2])


def test_what_another_builder_built_is_refused(shared: Engine) -> None:
    with pytest.raises(MeasurementError, match="only what EngineBuilder built"):
        shared[1].run([RunnerInput("/tmp/other.tar", "cpu", [])])


def test_soak(shared: Engine) -> None:
    """Random misbehaviour, and now and then somebody kills a worker; every trial has its result, and memory is free."""
    builder, _ = shared
    rng = random.Random(0)
    tame = [kernel("good", size) for size in (16, 64)]
    wild = {kind: kernel(kind) for kind in ("crash", "exit", "hog")}
    done = failed = 0
    sizes: list[int] = []
    while done < TRIALS:
        kinds = [rng.choice(list(wild)) if rng.random() < 0.04 else "good" for _ in range(20)]
        modules = [wild.get(kind) or rng.choice(tame) for kind in kinds]
        built = build(builder, *modules)
        if rng.random() < 0.3:
            os.kill(builder.pool.workers[0].pid, signal.SIGKILL)
        results = run(shared[1], built, *modules)
        assert outcomes(results) == [kind == "good" for kind in kinds]
        done, failed = done + len(results), failed + sum(kind != "good" for kind in kinds)
        sizes.append(max(worker.memory() for worker in builder.pool.workers))
    assert failed > 0
    assert not any(worker.held for worker in builder.pool.workers)
    assert max(sizes) < min(size for size in sizes if size) + (256 << 20)


def test_candidates_never_timed_are_freed(shared: Engine) -> None:
    builder, _ = shared
    built = build(builder, *[GOOD] * 4)
    assert sum(len(worker.held) for worker in builder.pool.workers) == 4
    for result in built:
        Path(str(result.artifact_path)).unlink()
    measure(shared, GOOD)
    assert not any(worker.held for worker in builder.pool.workers)


def test_nothing_is_left_after_close() -> None:
    builder, runner = engine(1, workers=2, config=QUICK)
    measure((builder, runner), GOOD, GOOD)
    built = build(builder, GOOD)
    processes = [builder.pool.nursery._process.pid, *(worker.pid for worker in builder.pool.workers)]
    assert set(processes) <= set(descendants(os.getpid()))
    builder.close()
    assert gone(processes)
    assert not Path(str(built[0].artifact_path)).exists()
    builder.close()
    with pytest.raises(MeasurementError, match="closed"):
        build(builder, GOOD)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_after_an_interrupt(how: signal.Signals) -> None:
    """While a candidate hangs: Ctrl-C, and the end of the tuner without a chance to tidy up."""
    code = (
        "from tests.cost.engine.candidates import *\n"
        "from tvm_eqsat.cost.engine import engine\n"
        "made = engine(1, workers=2)\n"
        "measure(made, kernel('good'), kernel('good'))\n"
        "print([made[0].pool.nursery._process.pid, *(w.pid for w in made[0].pool.workers)], flush=True)\n"
        "measure(made, kernel('hang'))\n"
    )
    tuner = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        text=True,
    )
    assert tuner.stdout is not None
    processes = [int(number) for number in tuner.stdout.readline().strip("[]\n").split(",")]
    time.sleep(0.5)
    tuner.send_signal(how)
    tuner.communicate(timeout=15)
    assert tuner.returncode == (1 if how == signal.SIGINT else -how)
    assert gone(processes)


def test_an_exception_ends_what_runs(shared: Engine) -> None:
    builder, runner = shared
    built = build(builder, kernel("hang"), GOOD)
    before = [worker.pid for worker in builder.pool.workers if worker.pid is not None]
    main = threading.get_ident()
    threading.Timer(0.3, signal.pthread_kill, (main, signal.SIGINT)).start()
    with pytest.raises(RuntimeError):  # what TVM makes of a KeyboardInterrupt
        run(runner, built, kernel("hang"), GOOD)
    assert gone(before)
    assert outcomes(measure(shared, GOOD)) == [True]


def test_windows_are_as_many_and_as_long_as_asked(shared: Engine) -> None:
    builder, _ = shared
    module = kernel("good", 1 << 18)
    for config in (QUICK, EvaluatorConfig(1, 4, 2, False), EvaluatorConfig(1, 3, 0, True)):
        runner = type(shared[1])(builder.pool, 30.0, 30.0, config)
        measure((builder, runner), module)
        assert len(runner.measurements[-1].windows) == config.repeat
        assert runner.measurements[-1].median > 0


def test_of_several_candidates_the_fastest_is_timed_twice(shared: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first of them was lucky, so the second leads after that, and is timed again, too."""
    seconds = [[1.0, 3.0], [2.0, 2.1], [5.0]]
    built = build(shared[0], GOOD, GOOD, GOOD)
    number = {str(result.artifact_path): i for i, result in enumerate(built)}

    def next_time(_worker: Any, request: Any, *_: Any) -> Outcome:
        return Outcome(windows=(seconds[number[request.artifact]].pop(0),))

    monkeypatch.setattr("tvm_eqsat.cost.engine.pool._time", next_time)
    results = run(shared[1], built, GOOD, GOOD, GOOD)
    assert [float(result.run_secs[0]) for result in results] == [3.0, 2.1, 5.0]
    assert seconds == [[], [], []]


def test_operands_that_are_flushed_come_from_memory(shared: Engine) -> None:
    builder, runner = shared
    module = kernel("good", 1 << 16)  # 512 KiB altogether
    best = [math.inf, math.inf]
    for _ in range(3):
        for i, flush in enumerate((False, True)):
            other = type(runner)(builder.pool, 30.0, 30.0, EvaluatorConfig(1, 5, 2, flush))
            measure((builder, other), module)
            assert len(other.measurements[-1].windows) == 5
            best[i] = min(best[i], *other.measurements[-1].windows)
    assert best[1] > 1.2 * best[0]


def test_no_thread_spins_beside_what_is_timed_next() -> None:
    x = te.placeholder((1 << 16,), name="x")
    y = te.compute((1 << 16,), lambda i: x[i] + 1.0, name="y")
    schedule = tvm.s_tir.Schedule(te.create_prim_func([x, y]))
    schedule.parallel(schedule.get_loops(schedule.get_sblock("y"))[0])
    module = tvm.IRModule({"main": schedule.mod["main"].with_attr("global_symbol", "main")})
    builder, runner = engine(2, workers=1, config=QUICK)
    try:
        for _ in range(3):
            assert outcomes(measure((builder, runner), module)) == [True]
            assert not host.runs(builder.pool.workers[0].pid)
    finally:
        builder.close()


def test_whether_a_process_runs() -> None:
    assert host.runs(os.getpid())
    with subprocess.Popen(["sleep", "60"]) as sleeper:
        time.sleep(0.2)
        assert not host.runs(sleeper.pid)
        sleeper.kill()
    assert not host.runs(sleeper.pid)


def test_slow_candidates_get_fewer_windows(shared: Engine) -> None:
    """Both have the same arguments; one does much more with them."""
    x = te.placeholder((4096,), name="x")
    k = te.reduce_axis((0, 400), name="k")
    y = te.compute((4096,), lambda i: te.sum(x[i] * k.astype("float32"), axis=k), name="y")
    slow = tvm.IRModule({"main": te.create_prim_func([x, y]).with_attr("global_symbol", "main")})
    fast = kernel("good", 4096)
    one = engine(1, workers=1, config=QUICK)
    assert outcomes(measure(one, fast, slow)) == [True, True]
    assert [len(measured.windows) for measured in one[1].measurements] == [3, 1]
    one[0].close()


def test_latencies_agree_with_the_stock_runner() -> None:
    """The same kernel, timed in turns; compared are the best of each, since tests share the machine."""
    module = kernel("good", 1 << 20)
    ours = engine(1, workers=1)
    stock = (
        ms.builder.LocalBuilder(max_workers=1, f_build=_build_quickly),
        ms.runner.LocalRunner(evaluator_config=DEFAULT_CONFIG),
    )
    best = [math.inf, math.inf]
    inputs = [
        [RunnerInput(build(pair[0], module)[0].artifact_path, "cpu", ArgInfo.from_prim_func(module["main"]))]
        for pair in (ours, stock)
    ]
    for _ in range(5):
        for i, pair in enumerate((ours, stock)):
            (future,) = pair[1].run(inputs[i])
            best[i] = min(best[i], *map(float, future.result().run_secs))
    assert 0.5 < best[0] / best[1] < 2.0
    ours[0].close()


def _build_quickly(mod: Any, target: Any, _params: Any) -> Any:
    from tvm.tirx import build

    return build(mod, target=target)


def test_ordinary_tuning_uses_it(shared: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Only targets with special instructions need the intrinsics, and loading them takes longer than the rest.
    monkeypatch.setitem(sys.modules, "tvm.s_tir.tensor_intrin", ModuleType("tvm.s_tir.tensor_intrin"))
    builder, runner = shared
    before = list(Path(builder.pool.folder).iterdir())
    database = ms.tune_tir(
        mod=kernel("good", 1 << 12),
        target=TARGET,
        work_dir=str(tmp_path),
        max_trials_global=6,
        num_trials_per_iter=3,
        builder=builder,
        runner=runner,
        cost_model="random",
        strategy="replay-trace",
    )
    assert len(database) == 6
    assert before == list(Path(builder.pool.folder).iterdir())
