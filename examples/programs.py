"""One model as programs that can be run side by side: compiled by TVM, onnxruntime, OpenVINO, PyTorch.

A program is a function without arguments that runs the model on the same inputs and returns its outputs.
"""

from __future__ import annotations

import importlib
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import tvm
from onnx import ModelProto
from tvm import relax
from tvm.target import Target

import tvmc
from tvm_eqsat.transform import host_target

Program = Callable[[], list[np.ndarray]]
Inputs = Mapping[str, np.ndarray]

#: Largest accepted difference, relative to the largest value of the output. A float32 sum of n products in another
#: order differs by about sqrt(n) * 6e-8 of its scale, 3e-6 for the largest layers here, and some 100 layers add up
#: at random; a wrong rule differs by the scale itself.
TOLERANCE = 1e-4


class Unavailable(Exception):
    """A program that can't be had here; the message says why."""


def imported(model: ModelProto, name: str) -> tvmc.TVMCModel:
    """A model as ``tvmc`` reads it from a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.onnx"
        onnx.save(model, path)
        return tvmc.load(str(path))


def target_for(threads: int) -> Target:
    """The CPU of this machine, for kernels of so many threads."""
    return Target({**json.loads(str(host_target())), "num-cores": threads})


def difference(found: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> float:
    """The largest difference, relative to the largest expected value of the same output; infinite for other shapes."""
    if [f.shape for f in found] != [e.shape for e in expected]:
        return float("inf")
    worst = max(float(np.abs(f - e).max() / np.abs(e).max()) for f, e in zip(found, expected, strict=True))
    return worst if worst == worst else float("inf")


def from_library(path: str | Path, inputs: Inputs) -> Program:
    """A library that ``tvmc compile`` wrote; ``inputs`` are in the order of its function ``main``."""
    machine = relax.VirtualMachine(tvm.runtime.load_module(str(path)), tvm.cpu())
    tensors = [tvm.runtime.tensor(value) for value in inputs.values()]
    run = machine["main"]

    def call() -> list[np.ndarray]:
        return results_of(run(*tensors))

    return call


def results_of(found: Any) -> list[np.ndarray]:
    """What a module of TVM returned, as arrays. They aren't copied, as those of other runtimes aren't."""
    return [np.from_dlpack(item) for item in ([found] if isinstance(found, tvm.runtime.Tensor) else found)]


def onnxruntime(model: ModelProto, inputs: Inputs, threads: int) -> Program:
    """The model in onnxruntime, on its CPU provider with all of its graph optimisations."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, dict(inputs))


def openvino(model: ModelProto, inputs: Inputs, threads: int) -> Program:
    """The model in OpenVINO, in float32 as everywhere.

    Raises
    ------
    Unavailable
        OpenVINO isn't installed, or can't run the model.
    """
    package = _package("openvino")
    options = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    try:
        core = package.Core()
        compiled = core.compile_model(core.read_model(model.SerializeToString()), "CPU", options)
    except RuntimeError as err:
        raise Unavailable(f"OpenVINO can't run it: {_last_line(err)}") from err
    request, values = compiled.create_infer_request(), list(inputs.values())

    def call() -> list[np.ndarray]:
        request.infer(values)
        return [np.array(request.get_output_tensor(k).data) for k in range(len(compiled.outputs))]

    return call


def pytorch(model: ModelProto, inputs: Inputs, threads: int) -> Program:
    """The model in PyTorch, compiled by ``torch.compile``; converted by onnx2torch.

    Raises
    ------
    Unavailable
        PyTorch or onnx2torch isn't installed, or can't run the model.
    """
    torch, onnx2torch = _package("torch"), _package("onnx2torch")
    torch.set_num_threads(threads)
    try:
        module = torch.compile(onnx2torch.convert(model).eval())
    except Exception as err:  # onnx2torch raises many kinds
        raise Unavailable(f"onnx2torch can't convert it: {_last_line(err)}") from err
    tensors = [torch.from_numpy(value) for value in inputs.values()]

    def call() -> list[np.ndarray]:
        with torch.no_grad():
            found = module(*tensors)
        return [item.numpy() for item in (found if isinstance(found, tuple | list) else [found])]

    try:
        call()  # compiles
    except Exception as err:  # whatever a converted operator stumbles on
        raise Unavailable(f"PyTorch can't run it: {_last_line(err)}") from err
    return call


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as err:
        raise Unavailable(f"{name} isn't installed") from err


def _last_line(err: Exception) -> str:
    return (str(err).strip() or type(err).__name__).splitlines()[-1]
