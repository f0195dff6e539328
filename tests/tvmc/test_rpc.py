"""Running and tuning on a device behind TVM's RPC; here, another process of this machine."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tvm import rpc

from .conftest import TARGET


@pytest.fixture
def server() -> Iterator[Any]:
    server = rpc.Server("127.0.0.1", port=19190, port_end=19290, silent=True)
    yield server
    server.terminate()


def test_run_on_a_server(server: Any, mlp: Path, tvmc: Any) -> None:
    assert tvmc("compile", mlp, "--target", TARGET, "-o", "m.so").code == 0
    assert tvmc("run", "m.so", "-o", "here.npz").code == 0
    where = ["--rpc-tracker", f"127.0.0.1:{server.port}"]
    done = tvmc("run", "m.so", *where, "--repeat", 2, "--end-to-end", "-o", "there.npz", "--json")
    assert done.code == 0 and len(done.json["times_ms"]) == 2
    np.testing.assert_array_equal(np.load("there.npz")["output_0"], np.load("here.npz")["output_0"])
    done = tvmc("run", "m.so", *where, "--profile")
    assert done.code == 4 and "--profile works on local devices only" in done.err


def test_tracker(mlp: Path, tvmc: Any) -> None:
    pytest.importorskip("tornado")
    from tvm.rpc.tracker import Tracker

    tracker = Tracker("127.0.0.1", port=19300, port_end=19390, silent=True)
    address = ("127.0.0.1", tracker.port)
    server = rpc.Server("127.0.0.1", port=19190, port_end=19290, key="pi", tracker_addr=address, silent=True)
    try:
        where = ["--rpc-tracker", f"127.0.0.1:{tracker.port}", "--rpc-key"]
        deadline = time.monotonic() + 20
        while not rpc.connect_tracker(*address).summary()["server_info"] and time.monotonic() < deadline:
            time.sleep(0.1)
        done = tvmc("tune", mlp, "-o", "records", *where, "pie")
        assert done.code == 4 and "has no device with the key 'pie'; it has: pi" in done.err

        fast = ["--target", TARGET, "--trials", 2, "--min-repeat-ms", 1, "--timeout", 60]
        done = tvmc("tune", mlp, "-o", "records", *where, "pi", *fast, "--json")
        assert (done.code, done.json["trials"], done.json["failed"]) == (0, 2, 0)
        assert tvmc("compile", mlp, "--target", TARGET, "-o", "m.so", "--tuning-records", "records").code == 0
        assert tvmc("run", "m.so", *where, "pi").code == 0
    finally:
        server.terminate()
        tracker.terminate()
