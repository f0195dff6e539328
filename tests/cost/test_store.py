"""The kernel database, one process at a time."""

from __future__ import annotations

import json
import os
from functools import cache

import pytest
import tvm
import tvm_ffi
from tvm import relax
from tvm.relax import op
from tvm.s_tir import Schedule
from tvm.s_tir import meta_schedule as ms
from tvm.target import Target

from tests.cost.builders import MACHINE, TARGET, module
from tvm_eqsat.cost.database import DatabasePricer
from tvm_eqsat.cost.lower import kernels
from tvm_eqsat.cost.store import KernelStore, Settings, this_host
from tvm_eqsat.cost.store.conditions import Provenance
from tvm_eqsat.cost.store.format import MEASUREMENTS, WORKLOADS
from tvm_eqsat.errors import OptionError

MATMUL = module(lambda e, x, w: e(op.nn.relu(e(op.matmul(x, w)))), (16, 32), (32, 8))
OTHER = module(lambda e, x, w: e(op.matmul(x, w)), (16, 32), (32, 8))
SETTINGS = Settings(threads=2)


@cache
def kernel(mod=MATMUL):
    (found,) = kernels(mod, TARGET)
    return found


def record(seconds, mod=MATMUL, tile=4, target=TARGET):
    """A record of a schedule that splits the first loop; of no schedule with ``tile=0``."""
    schedule = Schedule(kernel(mod).mod)
    if tile:
        schedule.split(schedule.get_loops(schedule.get_sblock("matmul"))[0], [None, tile])
    workload = ms.database.Workload(kernel(mod).mod)
    arguments = ms.arg_info.ArgInfo.from_entry_func(kernel(mod).mod, remove_preproc=True)
    return ms.database.TuningRecord(schedule.trace, workload, seconds, target, arguments)


def add(store, *records):
    for item in records:
        store.commit_workload(item.workload.mod)
        store.commit_tuning_record(item)


def stock(folder):
    return ms.database.JSONDatabase(work_dir=str(folder))


def times(records):
    return [[float(t) for t in r.run_secs] for r in records]


def seconds(store, mod=MATMUL):
    found = store.best(kernel(mod).hash)
    return found and found.seconds


# -- as TVM's own database -------------------------------------------------------------------------------------------


def test_tvm_reads_what_the_store_writes(tmp_path):
    store = KernelStore(tmp_path, TARGET)
    add(store, record([3e-3], tile=2), record([1e-3], tile=4), record([2e-3], OTHER), record([1e10], OTHER, tile=8))
    theirs = stock(tmp_path)
    assert len(theirs) == len(store) == 4
    for mod in (MATMUL, OTHER):
        ours = store.query_tuning_record(kernel(mod).mod, TARGET, "main")
        other = theirs.query_tuning_record(kernel(mod).mod, TARGET, "main")
        assert times([ours]) == times([other]) == [[1e-3 if mod is MATMUL else 2e-3]]
        assert str(ours.trace) == str(other.trace)
    assert times(store.get_all_tuning_records()) == times(theirs.get_all_tuning_records())


def test_the_store_reads_what_tvm_writes(tmp_path):
    theirs = stock(tmp_path)
    add(theirs, record([3e-3], tile=2), record([1e-3], OTHER))
    store = KernelStore(tmp_path, TARGET)
    assert store.has_workload(kernel(OTHER).mod) and store.has_workload(kernel(MATMUL).mod)
    assert times(store.get_top_k(theirs.commit_workload(kernel(OTHER).mod), 5)) == [[1e-3]]
    add(store, record([2e-3], tile=8))
    assert times(stock(tmp_path).get_top_k(theirs.commit_workload(kernel().mod), 5)) == [[2e-3], [3e-3]]
    assert len((tmp_path / WORKLOADS).read_text().splitlines()) == 2


def test_tvm_compiles_with_its_schedules(tmp_path):
    store = KernelStore(tmp_path, TARGET)
    add(store, record([2e-3], tile=2), record([1e-3], tile=4))

    def compiled(database):
        with TARGET, database:
            steps = [*relax.pipeline.legalize_passes(TARGET), relax.transform.MetaScheduleApplyDatabase()]
            return tvm.transform.Sequential(steps)(MATMUL)

    applied = compiled(store)
    tvm.ir.assert_structural_equal(applied, compiled(stock(tmp_path)))
    assert not tvm_ffi.structural_equal(applied, compiled(ms.database.MemoryDatabase()))
    assert tvm_ffi.structural_equal(applied, compiled(KernelStore(tmp_path, TARGET)))


def test_records_that_tvm_would_not_apply_are_not_served(tmp_path):
    store = KernelStore(tmp_path, TARGET)
    add(store, record([1e-3], tile=0), record([1e10]))
    workload = store.commit_workload(kernel().mod)
    assert store.get_top_k(workload, 3) == [] and len(store.get_all_tuning_records()) == 2
    assert store.query_schedule(kernel().mod, TARGET, "main") is None


# -- prices -----------------------------------------------------------------------------------------------------------


def test_the_best_latency_has_a_spread_and_a_number_of_trials(tmp_path):
    store = KernelStore(tmp_path, TARGET)
    assert store.best(kernel().hash) is None
    add(store, record([3e-3]))
    assert store.best(kernel().hash) == (3e-3, None, 1)
    add(store, record([1e-3, 2e-3]), record([1e10]), record([1e-3], OTHER))
    for each in (store, KernelStore(tmp_path, TARGET)):
        assert each.best(kernel().hash) == (pytest.approx(1.5e-3), pytest.approx(5e-4 * 2**0.5), 3)


def test_a_pricer_follows_the_store(tmp_path):
    store = KernelStore(tmp_path, TARGET, settings=SETTINGS)
    pricer = DatabasePricer(store, TARGET, MACHINE)
    assert pricer.price(kernel()) is None
    add(store, record([1e-3]))
    for each in (pricer, DatabasePricer(tmp_path, TARGET, MACHINE)):
        assert each.price(kernel()) == (pytest.approx(1e-3 + MACHINE.added(kernel().work.carried)), "measured")
    with pytest.raises(OptionError, match="was opened for"):
        DatabasePricer(store, Target("llvm"), MACHINE)


@pytest.mark.parametrize(
    "change", [{"host": "another"}, {"tvm": "0.26.0"}, {"settings": Settings(2, cache_flush=True)}]
)
def test_what_was_measured_otherwise_does_not_price(tmp_path, monkeypatch, caplog, change):
    if "tvm" in change:
        monkeypatch.setattr("tvm_eqsat.cost.store.store.this_version", lambda: change["tvm"])
    options = {"settings": SETTINGS} | {k: v for k, v in change.items() if k != "tvm"}
    add(KernelStore(tmp_path, TARGET, **options), record([1e-3], tile=2))
    monkeypatch.undo()
    store = KernelStore(tmp_path, TARGET, settings=SETTINGS)
    assert store.best(kernel().hash) is None and store.foreign == 1
    workload = store.commit_workload(kernel().mod)
    assert times(store.get_top_k(workload, 3)) == [[1e-3]]  # better than no schedule at all
    add(store, record([5e-3]))
    assert seconds(store) == 5e-3 and times(store.get_top_k(workload, 3)) == [[5e-3], [1e-3]]
    assert "don't compare" not in caplog.text
    anyhow = KernelStore(tmp_path, TARGET)
    assert seconds(anyhow) == (1e-3 if "settings" in change else 5e-3)
    assert ("don't compare" in caplog.text) == ("settings" in change)


def test_records_of_another_target_are_not_served(tmp_path):
    other = Target({"kind": "llvm", "mcpu": "x86-64-v2", "num-cores": 2})
    store = KernelStore(tmp_path, TARGET)
    add(store, record([1e-3], target=other))
    assert (seconds(store), store.foreign, len(store)) == (None, 1, 0)
    assert store.query_tuning_record(kernel().mod, TARGET, "main") is None
    assert seconds(KernelStore(tmp_path, other)) == 1e-3


def test_schedules_for_another_number_of_cores_are_served_last_and_price_nothing(tmp_path):
    more = Target(dict(TARGET.export()) | {"num-cores": 7})
    add(KernelStore(tmp_path, more), record([1e-3], tile=2, target=more))
    store = KernelStore(tmp_path, TARGET)
    assert (seconds(store), store.foreign) == (None, 1)
    workload = store.commit_workload(kernel().mod)
    assert times(store.get_top_k(workload, 3)) == [[1e-3]]
    add(store, record([5e-3]))
    assert seconds(store) == 5e-3 and times(store.get_top_k(workload, 3)) == [[5e-3], [1e-3]]


def test_a_record_without_target_is_of_the_stores_target(tmp_path):
    store = KernelStore(tmp_path, TARGET)
    add(store, record([1e-3], target=None))
    assert (seconds(store), store.skipped, store.foreign) == (1e-3, 0, 0)
    assert len(stock(tmp_path)) == 1


def test_records_without_provenance_count_if_trusted(tmp_path):
    add(stock(tmp_path), record([1e-3]))
    assert seconds(KernelStore(tmp_path, TARGET, settings=SETTINGS)) == 1e-3
    assert seconds(KernelStore(tmp_path, TARGET, trust_unknown_host=False)) is None
    assert len(DatabasePricer(tmp_path, TARGET, MACHINE, trust_unknown_host=False)) == 0


def test_unless_another_version_of_tvm_wrote_the_kernel(tmp_path, monkeypatch):
    add(stock(tmp_path), record([1e-3]))
    monkeypatch.setattr("tvm_eqsat.cost.store.store.this_version", lambda: "9.9")
    assert seconds(KernelStore(tmp_path, TARGET)) is None


def test_the_host_of_a_remote_device_is_unknown(tmp_path):
    add(KernelStore(tmp_path, TARGET, host=""), record([1e-3]))
    assert json.loads((tmp_path / MEASUREMENTS).read_text())["host"] is None
    assert seconds(KernelStore(tmp_path, TARGET)) == 1e-3
    assert seconds(KernelStore(tmp_path, TARGET, trust_unknown_host=False)) is None


def test_provenance_names_no_machine_or_user():
    assert os.uname().nodename not in this_host() and os.environ.get("USER", "/") not in this_host()
    assert Provenance.from_json(Provenance("a", "b", SETTINGS).to_json()) == Provenance("a", "b", SETTINGS)
    assert Settings.of(ms.runner.EvaluatorConfig(3, 1, 100, True), 4) == Settings(4, 3, 1, 100, True)
