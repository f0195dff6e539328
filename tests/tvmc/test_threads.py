"""Kernels run on as many threads as the target has cores; whoever gets fewer is told, and what ran is recorded."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tvm
from tvm import rpc

from tvm_eqsat.cost.store.format import MEASUREMENTS
from tvm_eqsat.cost.threads import available_cores
from tvmc.frontends import load_model
from tvmc.runner import _set_threads

from .conftest import TARGET

MANY = "llvm -mcpu=native -num-cores=1000"


def test_the_number_of_a_run_is_told(mlp: Path, tvmc: Any) -> None:
    assert tvmc("compile", mlp, "--target", TARGET, "-o", "one.so").code == 0
    done = tvmc("run", "one.so", "--json")
    assert done.json["threads"] == 1 and "threads asked for" not in done.err
    assert tvmc("compile", mlp, "--target", MANY, "-o", "many.so").code == 0
    done = tvmc("run", "many.so", "--json")
    assert done.json["threads"] <= available_cores()
    assert f"TVM runs on {done.json['threads']} of the 1000 threads asked for" in done.err


def test_a_library_that_does_not_tell_runs_on_all_cores(mlp: Path, tvmc: Any) -> None:
    model = load_model(mlp)
    tvm.compile(model.mod, tvm.target.Target({"kind": "llvm", "num-cores": 1})).export_library("plain.so")
    np.savez("inputs.npz", **{model.mod["main"].params[0].name: np.ones((4, 16), "float32")})
    done = tvmc("run", "plain.so", "-i", "inputs.npz", "--json")
    assert done.code == 0
    assert int(os.environ["TVM_NUM_THREADS"]) == available_cores()
    assert done.json["threads"] == tvm.runtime.num_threads() <= available_cores()


def test_records_hold_the_number_that_was_measured_with(mlp: Path, tvmc: Any) -> None:
    flags = ["--trials", "1", "--tasks", "0", "--min-repeat-ms", "1", "--number", "1", "--repeat", "1"]
    done = tvmc("tune", mlp, "-o", "records", "--target", MANY, *flags)
    assert done.code == 0 and "of the 1000 threads asked for" in done.err
    lines = Path("records", MEASUREMENTS).read_text().splitlines()
    assert {json.loads(line)["settings"]["threads"] for line in lines} == {available_cores()}


def test_a_device_with_fewer_is_told(caplog: pytest.LogCaptureFixture) -> None:
    server = rpc.Server("127.0.0.1", port=19390, port_end=19490, silent=True)
    try:
        session = rpc.connect("127.0.0.1", server.port)
        assert _set_threads({"num_cores": 1}, session) == 1
        caplog.clear()
        assert _set_threads({"num_cores": 1000}, session) < 1000
        assert "of the 1000 threads that the library was made for" in caplog.text
    finally:
        server.terminate()
