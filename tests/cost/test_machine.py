"""Figures of the machine: measured once, remembered, never in the way."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tvm.target import Target, codegen

from tvm_eqsat.cost import machine as machine_module
from tvm_eqsat.cost.machine import Machine, cache_dir, coarse, cpu_defaults, machine_for, runs_here

HOST = Target({"kind": "llvm", "mcpu": codegen.llvm_get_system_cpu(), "num-cores": 2})


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TVM_EQSAT_CACHE", str(tmp_path / "cache"))
    machine_for.cache_clear()
    yield
    machine_for.cache_clear()


def again(target=HOST) -> Machine:
    """As a new process would see it."""
    machine_for.cache_clear()
    return machine_for(target)


def test_measured_figures_are_plausible_and_quick():
    start = time.perf_counter()
    found = machine_for(HOST)
    assert time.perf_counter() - start < 10  # about half a second on an idle machine
    assert 1e9 < found.peak_flops < 1e14
    assert 1e8 < found.bandwidth < found.cache_bandwidth < 1e13
    assert found.threads == 2 and found.cache_bytes >= 1 << 20
    assert 1e-8 < found.overhead < 2e-5 and found.launch > 0


def test_the_second_process_reads_the_file(tmp_path):
    first = machine_for(HOST)
    (file,) = (tmp_path / "cache").iterdir()
    saved = json.loads(file.read_text())
    saved["machine"]["peak_flops"] = 3e9
    file.write_text(json.dumps(saved))
    assert again().peak_flops == 3e9 != first.peak_flops


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"key": 1}', '{"machine": {}}', "\x00\x01", '{"key": {}, "machine": {"peak_flops": 1}}'],
)
def test_a_corrupt_file_is_ignored_and_rewritten(tmp_path, text):
    machine_for(HOST)
    (file,) = (tmp_path / "cache").iterdir()
    good = json.loads(file.read_text())
    file.write_text(text)
    assert again().threads == 2
    assert json.loads(file.read_text())["key"] == good["key"]


@pytest.mark.parametrize("value", [-1, 0, "1e9", None, True, float("nan"), float("inf")])
def test_nonsense_figures_are_measured_anew(tmp_path, value):
    machine_for(HOST)
    (file,) = (tmp_path / "cache").iterdir()
    saved = json.loads(file.read_text())
    saved["machine"]["bandwidth"] = value
    file.write_text(json.dumps(saved))
    assert again().bandwidth > 1e8


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TVM_EQSAT_CACHE", str(tmp_path / "file" / "below"))
    assert again().peak_flops > 0


def test_a_failed_measurement_gives_the_defaults(monkeypatch, caplog):
    def fail(*_args):
        raise RuntimeError("no such instruction")

    monkeypatch.setattr(machine_module, "fma_rate", fail)
    assert again() == cpu_defaults(HOST, 2)
    assert "no such instruction" in caplog.text


def test_the_cache_directory_follows_the_environment(monkeypatch, tmp_path):
    assert cache_dir() == tmp_path / "cache"
    monkeypatch.delenv("TVM_EQSAT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_dir() == tmp_path / "xdg" / "tvm-eqsat"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_dir() == tmp_path / "home" / ".cache" / "tvm-eqsat"


FOREIGN = [
    Target({"kind": "llvm", "mtriple": "riscv64-unknown-linux-gnu", "num-cores": 4}),
    Target({"kind": "llvm", "mcpu": "sapphirerapids", "mattr": ["+avx512fp16"], "num-cores": 8})
    if "avx512f" not in codegen.llvm_get_cpu_features(HOST)
    else Target({"kind": "llvm", "mtriple": "aarch64-linux-gnu", "num-cores": 8}),
    Target("cuda"),
]


@pytest.mark.parametrize("target", FOREIGN, ids=str)
def test_a_foreign_target_is_not_measured(target, tmp_path):
    found = machine_for(target)
    assert found.peak_flops > found.bandwidth > 0
    assert found.threads == int(target.attrs.get("num-cores", 1))
    assert not (tmp_path / "cache").exists()
    assert target.kind.name != "llvm" or not runs_here(target)


def test_defaults_follow_vector_width_and_cores():
    base, wide, many = (
        cpu_defaults(Target({"kind": "llvm", "mtriple": "x86_64-linux-gnu", "mcpu": cpu}), cores)
        for cpu, cores in (("x86-64", 4), ("skylake-avx512", 4), ("x86-64", 8))
    )
    assert wide.peak_flops == 8 * base.peak_flops  # four times the lanes, and multiply-add
    assert many.peak_flops == 2 * base.peak_flops and many.cache_bandwidth == 2 * base.cache_bandwidth


def test_the_host_runs_generic_code_and_its_own():
    assert runs_here(HOST) and runs_here(Target({"kind": "llvm"}))


@given(st.floats(1e-12, 1e18))
@example(1.25)
def test_coarse_keeps_two_binary_digits(value):
    found = coarse(value)
    assert 0.8 < found / value < 1.25
    assert coarse(found) == found
    mantissa = found / 2.0 ** (len(bin(int(found))) - 3) if found >= 1 else 1.0
    assert mantissa in (1.0, 1.5)


def test_narrow_types_and_the_cache_shape_the_figures():
    m = Machine(100.0, 1.0, 10.0, 1000, 1.0, 0.0, 1, half_speed=0.25)
    assert [m.peak(t) for t in ("float32", "float64", "float16", "bfloat16", "int8", "int64", "bool")] == [
        100, 50, 25, 25, 100, 50, 100
    ]  # fmt: skip
    assert m.transfer(1000) == 100
    assert m.transfer(1010) == 110


def test_two_processes_agree(tmp_path):
    code = (
        "from tvm.target import Target, codegen; from tvm_eqsat.cost.machine import machine_for;"
        "print(machine_for(Target({'kind': 'llvm', 'mcpu': codegen.llvm_get_system_cpu(), 'num-cores': 2})))"
    )
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(2)]
    assert runs[0].stdout == runs[1].stdout and "Machine(" in runs[0].stdout
