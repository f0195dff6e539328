"""Exit codes, and flags of the former tvmc."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tvm

import tvm_eqsat
from tvmc.legacy import REFUSED
from tvmc.main import main


def test_without_a_subcommand_the_help_goes_to_stderr(tvmc: Any) -> None:
    done = tvmc()
    assert (done.code, done.out) == (1, "")
    assert "compile" in done.err and "tune" in done.err and "run" in done.err


def test_version(tvmc: Any) -> None:
    done = tvmc("--version")
    assert done.code == 0
    assert tvm_eqsat.__version__ in done.out and tvm.__version__ in done.out


@pytest.mark.parametrize("argv", [["cook"], ["run"], ["compile", "--no-such-flag", "x.onnx"], ["tune", "x.onnx"]])
def test_malformed_arguments(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(argv)
    assert exit_.value.code == 2
    assert "usage: tvmc" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["compile", "tune", "run"])
def test_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main([command, "--help"])
    assert exit_.value.code == 0
    assert "--json" in capsys.readouterr().out


@pytest.mark.parametrize(("command", "flag"), [(c, flag) for c, flags in REFUSED.items() for flag in flags])
def test_relay_flags_are_refused_by_name(command: str, flag: str, tvmc: Any) -> None:
    done = tvmc(command, "model.onnx", flag, "value", "--json")
    assert done.code == 4
    assert done.err == f"Error: {flag} is not available: {REFUSED[command][flag]}\n"
    assert done.json == {"error": done.err.removeprefix("Error: ").rstrip(), "exit_code": 4}


def test_relay_flag_with_equals_sign(tvmc: Any) -> None:
    assert "--executor is not available" in tvmc("compile", "--executor=graph", "model.onnx").err


def test_as_a_module() -> None:
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", "tvmc", "run", "missing.so", "--json"]
    done = subprocess.run(command, env={"PYTHONPATH": f"{root}:{root / 'python'}"}, capture_output=True, text=True)
    assert done.returncode == 4
    assert done.stderr == "Error: File missing.so does not exist.\n"
    assert json.loads(done.stdout)["exit_code"] == 4


def test_meta_schedule_can_still_set_up_its_logging(tvmc: Any) -> None:
    logger = logging.getLogger("tvm.s_tir.meta_schedule")
    before = logger.handlers.copy()
    tvmc("-v", "run", "nothing.so")
    # Every tuning by TVM's own functions sets this logger up, and fails over a handler that isn't TVM's.
    assert logger.handlers == before
    assert [h.get_name() for h in logging.getLogger("tvm.s_tir").handlers] == ["tvmc"]
