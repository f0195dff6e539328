"""Threads belong to the process, and its pool can't grow: each case runs in its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tvm_eqsat.cost.threads import available_cores, use_threads
from tvm_eqsat.errors import OptionError

ROOT = Path(__file__).resolve().parents[2]


def in_new_process(code: str) -> tuple[str, str]:
    env = {name: value for name, value in os.environ.items() if name not in ("TVM_NUM_THREADS", "OMP_NUM_THREADS")}
    env["PYTHONPATH"] = str(ROOT)
    prelude = "import os\nfrom tvm_eqsat.cost.threads import available_cores, use_threads\n"
    done = subprocess.run([sys.executable, "-c", prelude + code], env=env, capture_output=True, text=True, check=True)
    return done.stdout.strip(), done.stderr


def test_every_core_is_used_and_none_is_lost() -> None:
    out, err = in_new_process(
        "n = use_threads(available_cores())\n"
        "print(n == available_cores(), os.environ['TVM_NUM_THREADS'] == str(n), len(os.sched_getaffinity(0)) == n)"
    )
    assert out == "True True True"
    assert "threads asked for" not in err


def test_too_many_are_refused_with_a_warning() -> None:
    out, err = in_new_process("print(use_threads(10_000))")
    assert out == str(available_cores())
    assert f"runs on {out} of the 10000 threads" in err


@pytest.mark.skipif(available_cores() < 2, reason="needs two cores")
def test_a_pool_that_is_too_small_is_told() -> None:
    out, err = in_new_process("print(use_threads(1), use_threads(2))")
    assert out == "1 1"
    assert "runs on 1 of the 2 threads asked for: its thread pool was made earlier" in err


@pytest.mark.skipif(available_cores() < 2, reason="needs two cores")
def test_fewer_threads_and_back() -> None:
    out, err = in_new_process("print(use_threads(2), use_threads(1), use_threads(2))")
    assert out == "2 1 2"
    assert "threads asked for" not in err


def test_no_thread_is_an_error() -> None:
    with pytest.raises(OptionError, match="0 threads"):
        use_threads(0)
