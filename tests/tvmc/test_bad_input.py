"""Bad input: a clear message, exit code 4, and nothing left behind."""

from __future__ import annotations

import importlib.util
import json
import os
import resource
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from tvmc.main import main

from .conftest import TARGET

ROOT = Path(__file__).resolve().parents[2]


def refused(done: Any, *messages: str, code: int = 4) -> None:
    assert done.code == code
    assert done.err.startswith("Error: ") and done.err.count("\n") == 1
    for message in messages:
        assert message in done.err


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


# --- models


def test_no_such_model(tvmc: Any, tmp_path: Path) -> None:
    for path in ("missing.onnx", tmp_path):
        refused(tvmc("compile", path), f"Input file '{path}' doesn't exist, is a broken symbolic link, or a directory.")
    assert left(tmp_path) == []


@pytest.mark.parametrize("command", ["compile", "tune"])
@pytest.mark.parametrize("keep", [0.0, 0.1, 0.5, 0.99])
def test_truncated_onnx(command: str, keep: float, mlp: Path, tvmc: Any, tmp_path: Path) -> None:
    whole = mlp.read_bytes()
    Path("cut.onnx").write_bytes(whole[: int(len(whole) * keep)])
    refused(tvmc(command, "cut.onnx", "-o", "out.so"), "cut.onnx", "ONNX")
    assert left(tmp_path) == ["cut.onnx"]


def test_onnx_that_is_something_else(tvmc: Any) -> None:
    Path("text.onnx").write_text("a picture of a cat")
    refused(tvmc("compile", "text.onnx"), "reading 'text.onnx' as ONNX failed")


def test_unsupported_operator(tvmc: Any, tmp_path: Path) -> None:
    node = onnx.helper.make_node("Frobnicate", ["x"], ["y"])
    value = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in "xy"]
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([node], "g", value[:1], value[1:])), "odd.onnx")
    done = tvmc("compile", "odd.onnx")
    assert done.code == 4 and "Frobnicate" in done.err.splitlines()[-1]
    assert left(tmp_path) == ["odd.onnx"]


def test_model_formats(mlp: Path, tvmc: Any) -> None:
    Path("model.bin").write_bytes(mlp.read_bytes())
    refused(tvmc("compile", "model.bin"), "specify --model-format, one of: onnx, pytorch, relax")
    refused(tvmc("compile", "model.bin", "--model-format", "caffe"), "'caffe' is not known", "onnx, pytorch, relax")
    refused(tvmc("compile", "model.bin", "--model-format", "relay"), "'relay' went with Relay", "use 'relax'")
    assert tvmc("compile", "model.bin", "--model-format", "onnx", "--target", TARGET).code == 0


@pytest.mark.skipif(importlib.util.find_spec("torch") is not None, reason="torch is installed")
def test_missing_package(tvmc: Any) -> None:
    Path("model.pt2").write_bytes(b"")
    done = tvmc("compile", "model.pt2", "--json")
    refused(done, 'Package "torch" is not installed', "pip install torch", code=5)
    assert done.json["exit_code"] == 5


@pytest.mark.parametrize("text", ["", "{", '{"root_index": 0, "nodes": []}', '{"a": 1}', "[]", "3"])
def test_relax_json_that_is_not_a_module(text: str, tvmc: Any, tmp_path: Path) -> None:
    Path("model.json").write_text(text)
    refused(tvmc("compile", "model.json"), "model.json")
    assert left(tmp_path) == ["model.json"]


# --- arguments


def test_shapes_that_contradict_the_model(mlp: Path, twins: Path, tvmc: Any, tmp_path: Path) -> None:
    refused(
        tvmc("compile", mlp, "--input-shapes", "data.0:[4,17]"),
        "'data.0' the shape [4, 17], but the model fixes it as [4,16]",
    )
    refused(tvmc("compile", twins, "--input-shapes", "x:[2,63]"), "fixes it as [?,64]", "shown as ? can be chosen")
    refused(tvmc("compile", twins, "--input-shapes", "x:[2,2,64]"), "fixes it as [?,64]")
    refused(tvmc("compile", twins, "--input-shapes", "z:[2,64]"), "names 'z', but the model's inputs are: x")
    assert left(tmp_path) == []


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--target", "z80"], "there is no target 'z80'. Choices: "),
        (["--target", "llvm", "--target-cuda-arch", "sm_90"], "--target-cuda-arch was given"),
        (["--tuning-records", "nowhere"], "the tuning records 'nowhere' are not a directory"),
        (["--pass-config", "a=1"], "there is no pass option 'a'"),
        (["--dump-code", "relay"], "--dump-code relay is not a format; choose from: relax, tir, ll, asm"),
        (["--output-format", "mlf"], "mlf (Model Library Format) went with microTVM"),
        (["--output-format", "tar"], "doesn't go with the output's name"),
        (["-o", "model.exe"], "must end in .so"),
        (["--disabled-pass", "LegalizeOps"], "compiling 'mlp.onnx' failed"),
        (["--cross-compiler", "no-such-compiler"], "linking the shared library failed"),
        (["--cross-compiler", "cc", "--cross-compiler-options=--no-such-flag"], "linking the shared library failed"),
        (
            ["--target", "llvm -mtriple=riscv64-linux-gnu"],
            "linking the shared library, without a --cross-compiler, failed",
        ),
        (["--eqsat-seed", "1"], "--eqsat-seed needs --enable-eqsat"),
        (["--eqsat-report", "r.json"], "--eqsat-report needs --enable-eqsat"),
        (["--enable-eqsat", "--eqsat-preset", "nope"], "no preset is named 'nope'; choose from: "),
        (["--enable-eqsat", "--eqsat-node-limit", "0"], "option node_limit=0 is too small"),
    ],
)
def test_wrong_arguments_of_compile(flags: list[str], message: str, mlp: Path, tvmc: Any, tmp_path: Path) -> None:
    flags = flags if "--target" in flags else [*flags, "--target", TARGET]
    done = tvmc("compile", mlp, *flags)
    assert done.code == 4
    assert message in done.err
    assert left(tmp_path) == []


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--target", "z80"], "there is no target 'z80'"),
        (["--tuning-records", "nowhere"], "the tuning records 'nowhere' are not a directory"),
        (["--tasks", "9"], "'9' is out of range; kernels are 0 to 1"),
        (["--rpc-tracker", "localhost"], "need to provide an RPC tracker key"),
        (["--rpc-key", "pi"], "--rpc-key needs --rpc-tracker"),
        (["--rpc-tracker", "localhost:1", "--rpc-key", "pi"], "connecting to localhost:1 failed"),
    ],
)
def test_wrong_arguments_of_tune(flags: list[str], message: str, mlp: Path, tvmc: Any) -> None:
    flags = flags if "--target" in flags else [*flags, "--target", TARGET]
    refused(tvmc("tune", mlp, "-o", "records", "--trials", "1", "--timeout", "2", *flags), message)


def test_open_shapes_are_not_tuned(twins: Path, tvmc: Any, tmp_path: Path) -> None:
    done = tvmc("tune", twins, "-o", "records", "--target", TARGET)
    assert done.code == 4
    assert "there is no kernel to tune; fix the model's dynamic shapes with --input-shapes" in done.err
    assert left(tmp_path) == []


# --- places to write to


@pytest.mark.parametrize("output", ["file/m.so", "missing/m.so", "folder.so"])
def test_output_that_cannot_be_written(output: str, mlp: Path, tvmc: Any, tmp_path: Path) -> None:
    Path("file").touch()
    Path("folder.so").mkdir()
    before = left(tmp_path)
    refused(tvmc("compile", mlp, "--target", TARGET, "-o", output), f"can't write '{output}'")
    refused(tvmc("tune", mlp, "--target", TARGET, "-o", "file"), "can't write tuning records to 'file'")
    assert left(tmp_path) == before


def test_a_device_is_not_replaced(mlp: Path, tvmc: Any, tmp_path: Path) -> None:
    os.mkfifo("pipe.so")
    refused(tvmc("compile", mlp, "--target", TARGET, "-o", "pipe.so"), "is not a regular file")
    assert Path("pipe.so").is_fifo()


def test_a_failure_keeps_what_was_there(mlp: Path, tvmc: Any, tmp_path: Path) -> None:
    Path("m.so").write_text("precious")
    assert tvmc("compile", mlp, "--target", TARGET, "-o", "m.so", "--cross-compiler", "false").code == 4
    assert Path("m.so").read_text() == "precious"
    assert left(tmp_path) == ["m.so"]


def test_full_disk(mlp: Path, tmp_path: Path) -> None:
    """No file may grow beyond a few bytes, for the linker neither."""
    done = subprocess.run(
        [sys.executable, "-m", "tvmc", "compile", str(mlp), "--target", TARGET, "-o", "m.so", "--json"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'python'}", "PYTHONDONTWRITEBYTECODE": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 4, done.stderr
    assert "Error: " in done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["exit_code"] == 4
    assert left(tmp_path) == []


# --- compiled models and their inputs


@pytest.fixture(scope="module")
def library(mlp: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("compiled") / "mlp.so"
    assert main(["compile", str(mlp), "--target", TARGET, "-o", str(path)]) == 0
    return path


def test_not_a_compiled_model(mlp: Path, library: Path, tvmc: Any, tmp_path: Path) -> None:
    refused(tvmc("run", "missing.so"), "File missing.so does not exist.")
    refused(tvmc("run", tmp_path), "must be a shared library or an archive, not a directory")
    refused(tvmc("run", mlp), "isn't a compiled model", "make one with tvmc compile")
    Path("text.so").write_text("not a library")
    refused(tvmc("run", "text.so"), "loading 'text.so' failed")
    Path("text.tar").write_text("not an archive")
    refused(tvmc("run", "text.tar"), "reading the archive 'text.tar' failed")
    with tarfile.open("other.tar", "w") as archive:
        archive.add("text.tar")
    refused(tvmc("run", "other.tar"), "holds no shared library")


@pytest.mark.parametrize("keep", [0.001, 0.1, 0.5, 0.999])
def test_truncated_library(keep: float, library: Path, tvmc: Any) -> None:
    whole = library.read_bytes()
    Path("cut.so").write_bytes(whole[: int(len(whole) * keep)])
    refused(tvmc("run", "cut.so"), "'cut.so' is cut short")


def test_inputs_that_do_not_fit(library: Path, tvmc: Any, tmp_path: Path) -> None:
    expected = "expected inputs: data.0: float32[4,16]"
    for name, value, message in [
        ("data", np.zeros((4, 16), "float32"), "the input tensor 'data' is not in the graph"),
        ("data.0", np.zeros((4, 17), "float32"), "the input tensor 'data.0' is float32[4,17]"),
        ("data.0", np.zeros((64,), "float32"), "the input tensor 'data.0' is float32[64]"),
        ("data.0", np.zeros((4, 16), "float64"), "the input tensor 'data.0' is float64[4,16]"),
    ]:
        np.savez("x.npz", **{name: value})
        refused(tvmc("run", library, "-i", "x.npz", "-o", "y.npz"), message, expected)
    assert left(tmp_path) == ["x.npz"]


def test_inputs_that_are_not_tensors(library: Path, tvmc: Any) -> None:
    Path("text.npz").write_text("one, two")
    np.save("array.npy", np.zeros(3))
    np.savez("object.npz", **{"data.0": np.array([{}])})
    for name in ("missing.npz", "text.npz", "array.npy", "object.npz"):
        refused(tvmc("run", library, "-i", name), "Error loading inputs file: ", name)


def test_devices(library: Path, tvmc: Any) -> None:
    refused(tvmc("run", library, "--device", "micro"), "device 'micro' is not supported; choose from: cpu, cuda")
    refused(tvmc("run", library, "--device", "metal"), "metal")
    refused(tvmc("run", library, "--rpc-tracker", "localhost:1"), "connecting to localhost:1 failed")


def test_outputs_that_cannot_be_written(library: Path, tvmc: Any, tmp_path: Path) -> None:
    refused(tvmc("run", library, "-o", "missing/y.npz"), "can't write 'missing/y.npz'")
    assert left(tmp_path) == []
