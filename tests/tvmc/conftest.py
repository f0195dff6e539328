"""Tiny ONNX models, and the command line called in this process."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tvmc.main import main

TARGET = "llvm -mcpu=native -num-cores=1"


def weight(name: str, *shape: int) -> onnx.TensorProto:
    values = np.random.default_rng(sum(name.encode())).normal(size=shape) / np.sqrt(shape[-1])
    return numpy_helper.from_array(values.astype("float32"), name)


def save(path: Path, nodes: list[Any], inputs: Any, outputs: list[str], weights: list[Any]) -> Path:
    graph = helper.make_graph(
        nodes,
        path.stem,
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["?"] * 2) for name in outputs],
        weights,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))
    return path


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="session")
def mlp(models: Path) -> Path:
    """Two layers; the input's name isn't an identifier."""
    nodes = [
        helper.make_node("MatMul", ["data.0", "w1"], ["m1"]),
        helper.make_node("Relu", ["m1"], ["r1"]),
        helper.make_node("MatMul", ["r1", "w2"], ["y"]),
    ]
    return save(models / "mlp.onnx", nodes, [("data.0", [4, 16])], ["y"], [weight("w1", 16, 32), weight("w2", 32, 8)])


@pytest.fixture(scope="session")
def twins(models: Path) -> Path:
    """Two layers on one input, which merge into one; two outputs; a batch of any size."""
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["a"]),
        helper.make_node("MatMul", ["x", "w2"], ["m"]),
        helper.make_node("Relu", ["m"], ["b"]),
    ]
    weights = [weight("w1", 64, 64), weight("w2", 64, 64)]
    return save(models / "twins.onnx", nodes, [("x", ["batch", 64])], ["a", "b"], weights)


@pytest.fixture(scope="session")
def detour(models: Path) -> Path:
    """A layer whose input is transposed twice, for nothing."""
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0]),
        helper.make_node("Transpose", ["t"], ["u"], perm=[1, 0]),
        helper.make_node("MatMul", ["u", "w"], ["y"]),
    ]
    return save(models / "detour.onnx", nodes, [("x", [8, 64])], ["y"], [weight("w", 64, 64)])


@dataclass
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        data = json.loads(self.out.strip().splitlines()[-1])
        assert isinstance(data, dict)
        return data


Call = Callable[..., Outcome]


@pytest.fixture
def tvmc(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Call]:
    """Run a command in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TVM_NUM_THREADS", os.environ.get("TVM_NUM_THREADS", "1"))  # put back what commands set

    def call(*argv: object) -> Outcome:
        capfd.readouterr()
        code = main([str(arg) for arg in argv])
        return Outcome(code, *capfd.readouterr())

    yield call
    for name in ("TVMC", "tvm_eqsat", "tvm.s_tir"):
        logging.getLogger(name).handlers.clear()
