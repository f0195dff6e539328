"""Real tuning, with a handful of trials."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tvm.s_tir import meta_schedule as ms

from tvm_eqsat.cost.store.format import RECORDS, WORKLOADS
from tvmc.errors import TVMCException
from tvmc.main import main
from tvmc.records import open_database
from tvmc.target import target_from_cli

from .conftest import TARGET

FAST = ["--min-repeat-ms", "1", "--number", "1", "--parallel", "1", "--target", TARGET]


@pytest.fixture(scope="module")
def tuned(mlp: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Records of both kernels of the model."""
    directory = tmp_path_factory.mktemp("tuned") / "deep" / "records"
    assert main(["tune", str(mlp), "-o", str(directory), "--trials", "4", *FAST]) == 0
    return directory


def test_tuning_records_are_a_metaschedule_database(tuned: Path) -> None:
    database = ms.database.JSONDatabase(work_dir=str(tuned))
    assert len(database) == 4
    assert all(float(record.run_secs[0]) < 1 for record in database.get_all_tuning_records())
    assert len((tuned / WORKLOADS).read_text().splitlines()) == 2
    assert {WORKLOADS, RECORDS} <= {path.name for path in tuned.iterdir()}


def test_compile_uses_them(tuned: Path, mlp: Path, tvmc: Any) -> None:
    flags = ["--target", TARGET, "--tuning-records", tuned, "--json"]
    tuned_one = tvmc("compile", mlp, "-o", "tuned.so", *flags)
    assert (tuned_one.json["kernels"], tuned_one.json["tuned_kernels"]) == (2, 2)
    assert tvmc("compile", mlp, "-o", "plain.so", "--target", TARGET).code == 0
    for name in ("tuned", "plain"):
        assert tvmc("run", f"{name}.so", "-o", f"{name}.npz").code == 0
    found, expected = (np.load(f"{name}.npz")["output_0"] for name in ("tuned", "plain"))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_records_of_another_model_or_target_are_of_no_use(tuned: Path, mlp: Path, twins: Path, tvmc: Any) -> None:
    done = tvmc("compile", twins, "--target", TARGET, "--tuning-records", tuned, "--json")
    assert (done.code, done.json["tuned_kernels"]) == (0, 0)
    assert "none of the 2 kernels is in" in done.err
    done = tvmc("compile", mlp, "--target", "llvm -mcpu=skylake -num-cores=1", "--tuning-records", tuned, "--json")
    assert (done.code, done.json["tuned_kernels"]) == (0, 0)
    assert "4 records of another target" in done.err


def test_records_for_fewer_cores_are_better_than_none(tuned: Path, mlp: Path, tvmc: Any) -> None:
    more_cores = TARGET.replace("num-cores=1", "num-cores=2")
    done = tvmc("compile", mlp, "--target", more_cores, "--tuning-records", tuned, "--json")
    assert (done.code, done.json["tuned_kernels"]) == (0, 2)


def test_tuning_goes_on_where_it_stopped(tuned: Path, mlp: Path, tvmc: Any) -> None:
    done = tvmc("tune", mlp, "-o", "more", "--tuning-records", tuned, "--tasks", "0", "--trials", "1", *FAST, "--json")
    facts = done.json
    assert (done.code, facts["trials"], facts["records"], len(facts["tasks"])) == (0, 1, 5, 1)
    assert facts["tasks"][0]["best_us"] == pytest.approx(facts["kernels_ms"] * 1e3, abs=1e-3)
    done = tvmc("tune", mlp, "-o", "more", "--tasks", "1", "--trials", "1", *FAST, "--json")
    assert (done.code, done.json["records"]) == (0, 6)
    assert "tuning: 1/1 trials" in done.err
    assert done.out.count("\n") == 1, "MetaSchedule must be quiet"


def test_list_of_tasks(mlp: Path, tvmc: Any, tmp_path: Path) -> None:
    done = tvmc("tune", mlp, "-o", "records", "--tasks", "list", "--target", TARGET, "--json")
    assert done.code == 0
    assert done.out.startswith("Available Tasks for tuning:\n  0. ")
    assert {task["name"] for task in done.json["tasks"]} == {"matmul1", "fused_matmul_relu"}
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_keeps_what_was_measured(mlp: Path, tvmc: Any) -> None:
    """The signal comes while the first batch is on its way."""
    default = signal.getsignal(signal.SIGINT)

    def interrupt() -> None:
        while signal.getsignal(signal.SIGINT) is default:
            time.sleep(0.01)
        time.sleep(1.0)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    done = tvmc("tune", mlp, "-o", "records", "--trials", "16", *FAST, "--json")
    assert done.code == 130
    assert "interrupted: finishing the current batch" in done.err
    facts = done.json
    assert facts["interrupted"] and facts["trials"] == 4
    assert facts["records"] == facts["trials"] == len(ms.database.JSONDatabase(work_dir="records"))
    assert signal.getsignal(signal.SIGINT) is default


def test_damaged_lines_are_skipped_and_kept(tuned: Path, mlp: Path, tvmc: Any) -> None:
    Path("records").mkdir()
    workloads = (tuned / WORKLOADS).read_text().splitlines()
    records = (tuned / RECORDS).read_text().splitlines()
    Path("records", WORKLOADS).write_text("\n".join([*workloads, '["half'] * 2))
    damaged = "\n".join([*records, records[0][:100], "[7, []]", "[-1, []]", "null", "\x00"])
    Path("records", RECORDS).write_text(damaged)
    done = tvmc("compile", mlp, "--target", TARGET, "--tuning-records", "records", "--json")
    assert (done.code, done.json["tuned_kernels"]) == (0, 2)
    assert "records: 7 lines can't be read" in done.err
    done = tvmc("tune", mlp, "-o", "records", "--trials", "2", *FAST)
    assert done.code == 0
    assert Path("records", RECORDS).read_text().startswith(damaged + "\n")
    done = tvmc("compile", mlp, "--target", TARGET, "--tuning-records", "records", "--json")
    assert (done.code, done.json["tuned_kernels"]) == (0, 2)


def test_directories_that_hold_no_records(tmp_path: Path) -> None:
    target = target_from_cli(TARGET)
    with pytest.raises(TVMCException, match="are not a directory"):
        open_database(tmp_path / "missing", target)
    with pytest.raises(TVMCException, match=f"holds no tuning records: {WORKLOADS} is missing"):
        open_database(tmp_path, target)
