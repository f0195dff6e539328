"""Weights in the layouts that tuned kernels choose: tune and compile agree, and the results stay the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tvm
from tvm import relax
from tvm.relax.frontend import detach_params
from tvm.relax.frontend.onnx import from_onnx
from tvm.s_tir import meta_schedule as ms

import tvmc as api
from examples.models import random_inputs
from examples.models.convnet import ConvNet, Map
from examples.programs import TOLERANCE, difference, onnxruntime
from tvm_eqsat.cost.lower import kernels
from tvm_eqsat.cost.store import KernelStore
from tvmc.errors import TVMCException
from tvmc.target import target_from_cli

from .conftest import TARGET

FAST = ["--min-repeat-ms", "1", "--number", "1", "--repeat", "1", "--parallel", "1", "--target", TARGET]


def network() -> Any:
    """Two convolutions of one shape, whose kernel they share, and a dense layer."""
    g = ConvNet(0)
    x = Map(g.input("features", [1, 8, 6, 6]), 8, 6, 6)
    for name in ("first", "second"):
        x = g.relu(g.conv(x, 8, 3, name=name), name=f"{name}.relu")
    g.classify(x, 4, name="fc")
    return g.model("network")


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Records of all kernels of the network, tuned with prepacking."""
    folder = tmp_path_factory.mktemp("prepack")
    model = api.TVMCModel(from_onnx(network()))
    quick = {"trials": 6, "number": 1, "repeat": 1, "min_repeat_ms": 1, "parallel": 1}
    api.tune(model, TARGET, folder, weight_prepack=True, register_tiles=False, **quick)
    return folder


def test_the_compiled_model_computes_the_same(tuned: Path, tmp_path: Path) -> None:
    library = tmp_path / "model.so"
    model = api.TVMCModel(from_onnx(network()))
    package = api.compile(model, TARGET, tuning_records=tuned, weight_prepack=True, package_path=library)
    assert package.metadata["tuned_kernels"] == package.metadata["kernels"] == 3
    inputs = random_inputs(network())
    result = api.run(package, inputs=inputs)
    assert difference(list(result.outputs.values()), onnxruntime(network(), inputs, 1)()) < TOLERANCE


def test_records_of_one_way_are_of_no_use_to_the_other(tuned: Path, tmp_path: Path) -> None:
    model = api.TVMCModel(from_onnx(network()))
    package = api.compile(model, TARGET, tuning_records=tuned, package_path=tmp_path / "model.so")
    assert package.metadata["tuned_kernels"] == 0


def test_layouts_are_recorded_and_read_back(tuned: Path) -> None:
    target = target_from_cli(TARGET)
    for database in (KernelStore(tuned, target), ms.database.JSONDatabase(work_dir=str(tuned))):
        traces = [str(record.trace) for record in database.get_all_tuning_records()]
        assert sum("transform_layout" in trace for trace in traces) >= 2


def test_prices_are_of_the_kernels_that_are_tuned(tuned: Path) -> None:
    target = target_from_cli(TARGET)
    store = KernelStore(tuned, target)
    assert all(store.best(kernel.hash) for kernel in kernels(from_onnx(network()), target, prepack=True))
    assert not any(store.best(kernel.hash) for kernel in kernels(from_onnx(network()), target))


def test_tvms_own_pipeline_takes_the_records(tuned: Path) -> None:
    """With weights that are parameters, which it prepares in a function of its own."""
    target = target_from_cli(TARGET)
    mod, params = detach_params(from_onnx(network(), keep_params_in_input=True))
    pipeline = relax.pipeline.static_shape_tuning_pipeline(0, target, work_dir=str(tuned), cpu_weight_prepack=True)
    machine = relax.VirtualMachine(tvm.compile(pipeline(mod), target), tvm.cpu())
    inputs = random_inputs(network())
    weights = machine["main_transform_params"](params["main"])
    assert any(len(weight.shape) > 4 for weight in weights), "no layout was changed"
    found = machine["main"](tvm.runtime.tensor(inputs["features"]), *weights).numpy()
    assert difference([found], onnxruntime(network(), inputs, 1)()) < TOLERANCE


def test_with_equality_saturation(twins: Path, tvmc: Any) -> None:
    shapes = ["--input-shapes", "x:[16,64]", "--weight-prepack", "--enable-eqsat"]
    assert tvmc("tune", twins, "-o", "records", "--trials", "3", *FAST, *shapes).code == 0
    done = tvmc("compile", twins, "-o", "a.so", "--tuning-records", "records", "--target", TARGET, "--json", *shapes)
    assert (done.code, done.json["tuned_kernels"]) == (0, done.json["kernels"])
    assert tvmc("compile", twins, "-o", "b.so", "--target", TARGET, *shapes[:2]).code == 0
    for name in ("a", "b"):
        assert tvmc("run", f"{name}.so", "-o", f"{name}.npz").code == 0
    found, expected = np.load("a.npz"), np.load("b.npz")
    for output in ("output_0", "output_1"):
        np.testing.assert_allclose(found[output], expected[output], rtol=1e-4, atol=1e-5)


def test_what_can_not_be_prepacked_is_refused(mlp: Path, tvmc: Any) -> None:
    done = tvmc("compile", mlp, "--target", TARGET, "--weight-prepack")
    assert done.code == 4 and "--weight-prepack needs --tuning-records" in done.err
    done = tvmc("tune", mlp, "-o", "records", "--target", "cuda", "--weight-prepack")
    assert done.code == 4 and "--weight-prepack is for CPUs" in done.err
    mod, _ = detach_params(from_onnx(network(), keep_params_in_input=True))
    with pytest.raises(TVMCException, match="4 of them are parameters"):
        api.tune(api.TVMCModel(mod), TARGET, "records", weight_prepack=True)
