"""The tuning loop on small kernels: with invented latencies, and once with real ones."""

from __future__ import annotations

import pytest
from tvm.relax import op

from tests.cost.builders import module
from tests.cost.tuning.invented import tuner
from tvm_eqsat.cost.engine import DEFAULT_CONFIG
from tvm_eqsat.cost.lower import Kernel, kernels
from tvm_eqsat.cost.store import KernelStore, Settings
from tvm_eqsat.cost.tuning import KernelTuner, batch_size, is_tunable, local_tuner
from tvm_eqsat.errors import OptionError
from tvm_eqsat.transform import host_target

TARGET = host_target()


def lowered(mod) -> list[Kernel]:
    return kernels(mod, TARGET)


SMALL = module(lambda e, x, w: e(op.nn.relu(e(op.matmul(x, w)))), (16, 32), (32, 8))
TWO = module(lambda e, x, w, v: e(op.matmul(e(op.matmul(x, w)), v)), (16, 32), (32, 8), (8, 64))


def traces(store: KernelStore) -> list[str]:
    return [str(record.trace) for record in store.get_all_tuning_records()]


@pytest.mark.parametrize("trials", [1, 7, 11])
def test_the_budget_is_used_up_and_never_exceeded(tmp_path, trials) -> None:
    store = KernelStore(tmp_path, TARGET)
    with tuner(store) as tuning:
        tuning.plan(trials, 2)
        outlook = tuning.tune(lowered(TWO), trials)
    assert tuning.trials == len(store) == trials
    assert (outlook.total() < float("inf")) == (trials >= 2)


def test_a_run_goes_on_where_another_stopped(tmp_path) -> None:
    first = KernelStore(tmp_path, TARGET)
    with tuner(first, lambda _: 1e-3) as tuning:
        tuning.plan(16, 1)
        tuning.tune(lowered(SMALL), 16)
    again = KernelStore(tmp_path, TARGET)
    (found,) = lowered(SMALL)
    with tuner(again, lambda _: 1.0) as tuning:
        outlook = tuning.tune([found], 12)
    assert outlook.time(0) == first.best(found.hash).seconds < 1e-2, "what was measured before counts"
    assert again.best(found.hash).trials == 28 == len(set(traces(again))), "no schedule is measured twice"


def test_failed_trials_are_counted_and_recorded(tmp_path) -> None:
    store = KernelStore(tmp_path, TARGET)
    with tuner(store, broken=3) as tuning:
        outlook = tuning.tune(lowered(SMALL), 9)
    assert (tuning.trials, tuning.failed, len(store)) == (9, 3, 9)
    assert outlook.time(0) < 1e-2


def test_a_kernel_that_never_runs_is_given_up(tmp_path) -> None:
    with tuner(KernelStore(tmp_path, TARGET), broken=1) as tuning:
        tuning.plan(100, 2)
        tuning.tune(lowered(TWO), 100)
        assert tuning.trials == tuning.failed <= 4 * tuning.batch
        assert all(tuning.exhausted(kernel) for kernel in lowered(TWO))


def test_it_stops_between_batches(tmp_path) -> None:
    with tuner(KernelStore(tmp_path, TARGET)) as tuning:
        seen: list[int] = []
        tuning.tune(lowered(SMALL), 64, on_batch=lambda b: seen.append(b.trials), stopping=lambda: len(seen) == 2)
        assert sum(seen) == tuning.trials == tuning.first + tuning.batch


@pytest.mark.parametrize(("axes", "count"), [([1, 0, 2], 1), ([0, 2, 1], 3)])
def test_kernels_that_move_data_have_few_schedules(tmp_path, axes, count) -> None:
    moves = module(lambda e, x: e(op.nn.relu(e(op.permute_dims(x, axes)))), (4, 16, 24))
    with tuner(KernelStore(tmp_path, TARGET)) as tuning:
        (kernel,) = lowered(moves)
        assert tuning.next_batch(kernel) == tuning.first_batch(kernel) == count < tuning.first_batch(lowered(SMALL)[0])
        assert tuning.measure(kernel, 8).trials == count and tuning.exhausted(kernel)


def test_a_model_is_learned_where_there_is_enough_to_learn_from(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("tvm_eqsat.cost.tuning.tuner._LEARNING_STARTS", 8)
    store = KernelStore(tmp_path, TARGET)
    with tuner(store) as tuning:
        tuning.plan(20, 1)
        tuning.tune(lowered(SMALL), 20)
    assert tuning.trials == len(set(traces(store))) == 20


def test_kernels_with_dynamic_shapes_are_left_alone(tmp_path) -> None:
    import tvm

    rows = tvm.tirx.Var("n", "int64")
    found = lowered(module(lambda e, x: e(op.nn.relu(x)), (rows, 32)))
    assert found and not any(map(is_tunable, found))
    with tuner(KernelStore(tmp_path, TARGET)) as tuning:
        tuning.tune(found, 8)
        assert tuning.trials == 0


def test_the_real_engine(tmp_path) -> None:
    store = KernelStore(tmp_path, TARGET, settings=Settings.of(DEFAULT_CONFIG, 1))
    with KernelTuner(store, workers=1) as tuning:
        outlook = tuning.tune(lowered(SMALL), 3)
    assert (tuning.trials, tuning.failed, len(store)) == (3, 0, 3)
    assert 0 < outlook.time(0) < 1e-2


def test_kernels_of_other_machines_need_a_runner(tmp_path) -> None:
    for target in ({"kind": "llvm", "mtriple": "riscv64-linux-gnu"}, {"kind": "cuda", "arch": "sm_80"}):
        with pytest.raises(OptionError, match="can't be measured on this machine's CPU"):
            local_tuner(host_target().__class__(target), tmp_path)


@pytest.mark.parametrize(
    ("trials", "kernels", "size"), [(1, 1, 1), (4, 2, 2), (100, 10, 8), (480, 30, 8), (2000, 30, 32), (3, 9, 1)]
)
def test_batches(trials, kernels, size) -> None:
    assert batch_size(trials, kernels) == size
