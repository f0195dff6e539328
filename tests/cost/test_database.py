"""Measured prices from a MetaSchedule database."""

from __future__ import annotations

import json

import pytest
from tvm.relax import op
from tvm.s_tir import Schedule
from tvm.s_tir import meta_schedule as ms
from tvm.target import Target

from tests.cost.builders import MACHINE, TARGET, module
from tvm_eqsat.cost.database import DatabasePricer
from tvm_eqsat.cost.lower import kernels
from tvm_eqsat.cost.pricing import price_module, pricer_for
from tvm_eqsat.cost.store import KernelStore
from tvm_eqsat.errors import OptionError

MATMUL = module(lambda e, x, w: e(op.nn.relu(e(op.matmul(x, w)))), (16, 32), (32, 8))
OTHER = module(lambda e, x, w: e(op.matmul(x, w)), (16, 32), (32, 8))


def record(folder, mod, latencies, target=TARGET):
    """Add records as MetaSchedule does."""
    database = ms.database.JSONDatabase(work_dir=str(folder))
    (kernel,) = kernels(mod, target)
    workload = database.commit_workload(kernel.mod)
    for seconds in latencies:
        database.commit_tuning_record(
            ms.database.TuningRecord(Schedule(kernel.mod).trace, workload, seconds, target,
                                     ms.arg_info.ArgInfo.from_entry_func(kernel.mod, remove_preproc=True))
        )  # fmt: skip
    return kernel


def test_the_best_mean_latency_counts(tmp_path):
    kernel = record(tmp_path, MATMUL, [[3e-3], [1e-3, 2e-3], [4e-3, 1e-4]])
    pricer = DatabasePricer(tmp_path, TARGET, MACHINE)
    assert pricer.price(kernel) == (pytest.approx(1.5e-3 + MACHINE.added(kernel.work.carried)), "measured")
    assert (len(pricer), pricer.skipped, pricer.foreign) == (1, 0, 0)
    assert pricer.price(kernels(OTHER, TARGET)[0]) is None


def test_several_workloads_keep_their_places(tmp_path):
    first, second = record(tmp_path, MATMUL, [[1e-3]]), record(tmp_path, OTHER, [[2e-3]])
    pricer = DatabasePricer(tmp_path, TARGET, MACHINE)
    assert [round(pricer.price(k).seconds, 4) for k in (first, second)] == [1e-3, 2e-3]


@pytest.mark.parametrize(
    "other",
    [
        {"kind": "llvm", "mcpu": "x86-64-v3", "num-cores": 4},
        {"kind": "llvm", "mcpu": "x86-64-v2", "num-cores": 2},
        {"kind": "llvm", "mcpu": "x86-64-v3", "num-cores": 2, "mtriple": "aarch64-linux-gnu"},
        {"kind": "llvm", "mcpu": "x86-64-v3", "num-cores": 2, "mattr": ["-avx2"]},
    ],
)
def test_records_of_another_target_do_not_price(tmp_path, other):
    kernel = record(tmp_path, MATMUL, [[1e-3]], Target(other))
    pricer = DatabasePricer(tmp_path, TARGET, MACHINE)
    assert pricer.price(kernel) is None and pricer.foreign == 1


def test_failed_candidates_do_not_price(tmp_path):
    kernel = record(tmp_path, MATMUL, [[1e10]])
    pricer = DatabasePricer(tmp_path, TARGET, MACHINE)
    assert pricer.price(kernel) is None and pricer.skipped == 0


@pytest.mark.parametrize(
    "line",
    [
        "{", "null", "[]", "[0]", "[99, [[], [1.0], {}, []]]", "[0, [[], [1.0]]]",
        '[0, [[], ["1"], {"kind": "llvm"}, []]]',
        '[0, [[], [-1.0], {"kind": "llvm"}, []]]', "\x00", '[true, "x"]', '[0, [[], [1.0], "llvm", []]]',
        "[" * 100_000, '[0, [[], [1e999], {"kind": "llvm"}, []]]', f'[0, [[], [1{"0" * 400}], {{"kind": "llvm"}}, []]]',
    ],
)  # fmt: skip
def test_corrupt_lines_are_skipped_and_counted(tmp_path, line):
    kernel = record(tmp_path, MATMUL, [[1e-3]])
    path = tmp_path / "database_tuning_record.json"
    path.write_text(line + "\n" + path.read_text() + line)
    pricer = DatabasePricer(tmp_path, TARGET, MACHINE)
    assert pricer.price(kernel).seconds == pytest.approx(1e-3 + MACHINE.added(kernel.work.carried))
    assert pricer.skipped == 2


def test_a_target_of_another_version_is_foreign(tmp_path):
    kernel = record(tmp_path, MATMUL, [[1e-3]])
    path = tmp_path / "database_tuning_record.json"
    line = json.loads(path.read_text())
    line[1][2] = {"kind": "llvm", "no-such-option": 1}
    path.write_text(json.dumps(line))
    pricer = DatabasePricer(tmp_path, TARGET, MACHINE)
    assert pricer.price(kernel) is None and pricer.foreign == 1


def test_a_corrupt_workload_keeps_the_others_in_place(tmp_path):
    record(tmp_path, MATMUL, [[1e-3]])
    second = record(tmp_path, OTHER, [[2e-3]])
    path = tmp_path / "database_workload.json"
    lines = path.read_text().splitlines()
    path.write_text("garbage\n" + lines[1] + "\n")
    pricer = DatabasePricer(tmp_path, TARGET, MACHINE)
    assert pricer.price(second).seconds == pytest.approx(2e-3 + MACHINE.added(second.work.carried))
    assert len(pricer) == 1 and pricer.skipped == 1


def test_a_workload_that_is_there_twice_counts_once(tmp_path):
    kernel = record(tmp_path, MATMUL, [[2e-3]])
    workloads, records = tmp_path / "database_workload.json", tmp_path / "database_tuning_record.json"
    workloads.write_text(workloads.read_text() * 2)
    records.write_text(records.read_text() + records.read_text().replace("[0,", "[1,", 1).replace("0.002", "0.001"))
    pricer = DatabasePricer(tmp_path, TARGET, MACHINE)
    assert len(pricer) == 1 and pricer.price(kernel).seconds == pytest.approx(1e-3 + MACHINE.added(kernel.work.carried))


def test_a_directory_without_a_database_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setenv("TVM_EQSAT_CACHE", str(tmp_path))
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(OptionError, match="holds no MetaSchedule database"):
            DatabasePricer(folder, TARGET, MACHINE)
        with pytest.raises(OptionError):
            pricer_for(TARGET, folder)


def test_the_roofline_fills_the_gaps(tmp_path, monkeypatch):
    monkeypatch.setenv("TVM_EQSAT_CACHE", str(tmp_path))
    record(tmp_path, MATMUL, [[1e-3]])
    pricer = pricer_for(TARGET, tmp_path)
    assert pricer.source == "measured, else roofline"
    both = module(lambda e, x, w: e(op.nn.softmax(e(op.nn.relu(e(op.matmul(x, w)))))), (16, 32), (32, 8))
    assert set(price_module(both, TARGET, pricer).by_source()) == {"measured", "roofline"}


def test_doubt_and_trials_are_told(tmp_path):
    kernel = record(tmp_path, MATMUL, [[3e-3], [1e-3, 2e-3], [1e10]])
    pricer = DatabasePricer(tmp_path, TARGET, MACHINE)
    assert pricer.measured(kernel).trials == 3
    assert pricer.uncertainty(kernel) == pytest.approx(0.5**0.5 / 1.5)
    assert pricer.uncertainty(kernels(OTHER, TARGET)[0]) is None
    record(tmp_path, OTHER, [[1e-3]])
    assert pricer.measured(kernels(OTHER, TARGET)[0]) is None
    pricer.refresh()
    assert 0 < pricer.uncertainty(kernels(OTHER, TARGET)[0]) < 0.1


def test_a_store_and_its_directory_price_alike(tmp_path, monkeypatch):
    monkeypatch.setenv("TVM_EQSAT_CACHE", str(tmp_path / "cache"))
    kernel = record(tmp_path, MATMUL, [[1e-3]])
    store = KernelStore(tmp_path, TARGET)
    prices = [pricer_for(TARGET, database).price(kernel) for database in (tmp_path, store)]
    assert prices[0] == prices[1] and prices[0].source == "measured"
