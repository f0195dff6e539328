"""Compile a model, run it, compare it with onnxruntime."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import tvm
from tvm import relax

import tvmc as package
from tvmc.main import main
from tvmc.package import METADATA

from .conftest import TARGET


def reference(model: Path, **inputs: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    return [np.asarray(value) for value in session.run(None, inputs)]


def data(*shape: int) -> np.ndarray:
    return np.random.default_rng(7).normal(size=shape).astype("float32")


@pytest.fixture(scope="module")
def library(mlp: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("compiled") / "mlp.so"
    assert main(["compile", str(mlp), "--target", TARGET, "-o", str(path)]) == 0
    return path


def test_outputs_agree_with_onnxruntime(library: Path, mlp: Path, tvmc: Any, tmp_path: Path) -> None:
    x = data(4, 16)
    np.savez("x.npz", **{"data.0": x})
    done = tvmc("run", library, "--inputs", "x.npz", "--outputs", "y.npz", "--json")
    assert done.code == 0
    assert done.json["outputs"] == {"output_0": {"shape": [4, 8], "dtype": "float32"}}
    (expected,) = reference(mlp, **{"data.0": x})
    np.testing.assert_allclose(np.load("y.npz")["output_0"], expected, rtol=1e-4, atol=1e-5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.npz", "y.npz"]


def test_what_compile_tells(mlp: Path, tvmc: Any) -> None:
    done = tvmc("compile", mlp, "--target", TARGET, "--json")
    facts = done.json
    assert (done.code, done.err) == (0, "")
    assert Path("module.so").is_file()
    assert facts["output"] == "module.so"
    assert facts["inputs"] == [{"name": "data.0", "shape": [4, 16], "dtype": "float32"}]
    assert facts["outputs"] == [{"name": "output_0", "shape": [4, 8], "dtype": "float32"}]
    assert (facts["kernels"], facts["tuned_kernels"], facts["num_cores"]) == (2, 0, 1)


def test_a_generic_target_is_warned_of(mlp: Path, tvmc: Any) -> None:
    done = tvmc("compile", mlp, "--target", "llvm -num-cores=1")
    assert done.code == 0
    assert "names no CPU" in done.err and "llvm -mcpu=native" in done.err


def test_a_plain_relax_program_can_use_the_library(library: Path) -> None:
    machine = relax.VirtualMachine(tvm.runtime.load_module(str(library)), tvm.cpu())
    assert machine["main"](tvm.runtime.tensor(data(4, 16))).shape == (4, 8)
    assert json.loads(str(machine[METADATA]()))["model"] == "mlp.onnx"


def test_times_top_values_and_profile(library: Path, tvmc: Any) -> None:
    flags = ["--print-time", "--repeat", 3, "--number", 2, "--print-top", 2, "--profile", "--fill-mode", "ones"]
    done = tvmc("run", library, *flags, "--json")
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0] == "Execution time summary:"
    assert lines[1].split() == ["mean", "(ms)", "median", "(ms)", "max", "(ms)", "min", "(ms)", "std", "(ms)"]
    mean, median, max_, min_, std = map(float, lines[2].split())
    assert 0 < min_ <= median <= max_ and min_ <= mean <= max_ and std >= 0
    assert "fused_matmul_relu" in done.out and "share" in done.out
    facts = done.json
    assert len(facts["times_ms"]) == 3
    (indices, values) = facts["top"]
    assert len(indices) == 2 and values[0] >= values[1]


def test_end_to_end_takes_transfers_into_account(library: Path, tvmc: Any) -> None:
    done = tvmc("run", library, "--end-to-end", "--repeat", 2, "--json")
    assert done.code == 0 and len(done.json["times_ms"]) == 2 and min(done.json["times_ms"]) > 0


@pytest.mark.parametrize("mode", ["zeros", "ones", "random"])
def test_fill_modes(mode: str, library: Path, mlp: Path, tvmc: Any) -> None:
    assert tvmc("run", library, "--fill-mode", mode, "-o", "y.npz").code == 0
    found = np.load("y.npz")["output_0"]
    if mode == "random":
        assert np.ptp(found) > 0
    else:
        x = np.full((4, 16), float(mode == "ones"), "float32")
        np.testing.assert_allclose(found, reference(mlp, **{"data.0": x})[0], rtol=1e-4, atol=1e-5)


def test_open_dimensions_and_several_outputs(twins: Path, tvmc: Any) -> None:
    assert tvmc("compile", twins, "--target", TARGET, "-o", "any.so").code == 0
    done = tvmc("run", "any.so")
    assert done.code == 4 and "input 'x: float32[batch,64]' has no fixed shape to fill" in done.err
    for rows in (1, 5):
        x = data(rows, 64)
        np.savez("x.npz", x=x)
        assert tvmc("run", "any.so", "-i", "x.npz", "-o", "y.npz").code == 0
        found = np.load("y.npz")
        for name, expected in zip(("output_0", "output_1"), reference(twins, x=x), strict=True):
            np.testing.assert_allclose(found[name], expected, rtol=1e-4, atol=1e-5)

    done = tvmc("compile", twins, "--target", TARGET, "-o", "two.so", "--input-shapes", "x:[2,64]", "--json")
    assert done.json["inputs"][0]["shape"] == [2, 64]
    assert tvmc("run", "two.so").code == 0


def test_archive(mlp: Path, tvmc: Any) -> None:
    assert tvmc("compile", mlp, "--target", TARGET, "-o", "mlp.tar", "-f", "tar").code == 0
    with tarfile.open("mlp.tar") as archive:
        assert sorted(archive.getnames()) == ["metadata.json", "mod.so"]
    done = tvmc("run", "mlp.tar", "--print-time")
    assert done.code == 0 and "mean (ms)" in done.out


def test_module_name(mlp: Path, tvmc: Any) -> None:
    assert tvmc("compile", mlp, "--target", TARGET, "-o", "m.so", "--module-name", "predict").code == 0
    machine = relax.VirtualMachine(tvm.runtime.load_module("m.so"), tvm.cpu())
    assert not machine.module.implements_function("main")
    assert machine["predict"](tvm.runtime.tensor(data(4, 16))).shape == (4, 8)
    assert tvmc("run", "m.so").code == 0


def test_looking_inside(mlp: Path, tvmc: Any) -> None:
    flags = ["--dump-code", "relax,tir,ll,asm", "--print-pass-times", "--print-ir-after", "[FuseOps]"]
    done = tvmc("compile", mlp, "--target", TARGET, "-o", "m.so", *flags, "--print-ir-before", "LegalizeOps")
    assert done.code == 0
    assert "R.matmul" in Path("m.so.relax").read_text()
    assert "prim_func" in Path("m.so.tir").read_text()
    assert "define" in Path("m.so.ll").read_text()
    assert ".text" in Path("m.so.asm").read_text()
    assert "Print IR before: LegalizeOps" in done.out and "Print IR after: FuseOps" in done.out
    assert "FuseTIR: " in done.out


def test_passes_can_be_left_out(mlp: Path, tvmc: Any) -> None:
    flags = ["--disabled-pass", "FuseOps,FuseTIR", "--pass-config", "tirx.disable_vectorize=1", "-O", "2"]
    done = tvmc("compile", mlp, "--target", TARGET, *flags, "--json")
    assert done.json["kernels"] == 3


def test_cross_compiler(mlp: Path, tvmc: Any) -> None:
    flags = ["--cross-compiler", "cc", "--cross-compiler-options=-O1"]
    assert tvmc("compile", mlp, "--target", TARGET, "-o", "m.so", *flags).code == 0
    assert tvmc("run", "m.so").code == 0


def test_relax_module_as_json(mlp: Path, tvmc: Any) -> None:
    package.load(mlp).save("model.json")
    assert tvmc("compile", "model.json", "--target", TARGET, "-o", "m.so").code == 0
    np.savez("x.npz", data_0=data(4, 16))
    assert tvmc("run", "m.so", "-i", "x.npz", "-o", "y.npz").code == 0
    expected = reference(mlp, **{"data.0": data(4, 16)})[0]
    np.testing.assert_allclose(np.load("y.npz")["output_0"], expected, rtol=1e-4, atol=1e-5)


def test_library_of_others(library: Path, mlp: Path, tvmc: Any) -> None:
    executable = tvm.compile(package.load(mlp).mod, target=tvm.target.Target("llvm"))
    executable.export_library("plain.so")
    done = tvmc("run", "plain.so")
    assert done.code == 4
    assert "doesn't tell what its inputs data_0 are; give them all with --inputs" in done.err
    np.savez("x.npz", data_0=data(4, 16))
    assert tvmc("run", "plain.so", "-i", "x.npz", "--print-time").code == 0


def test_from_python(mlp: Path, tmp_path: Path) -> None:
    model = package.load(mlp)
    assert model.input_names == ("data.0",)
    compiled = package.compile(model, TARGET, package_path=tmp_path / "m.so")
    result = package.run(compiled, inputs={"data.0": data(4, 16)}, repeat=2)
    expected = reference(mlp, **{"data.0": data(4, 16)})[0]
    np.testing.assert_allclose(result.get_output("output_0"), expected, rtol=1e-4, atol=1e-5)
    assert len(result.times) == 2 and "output_0" in str(result)
