"""Winograd's algorithm: exact in fractions, its rounding errors as stated, chosen by the pass where it is cheaper."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import onnx
import onnxruntime
import pytest
import tvm
from onnx import helper, numpy_helper
from tvm import relax
from tvm.relax.frontend.onnx import from_onnx
from tvm.s_tir import meta_schedule as ms

from tests.cost.builders import TARGET as MACHINE_TARGET
from tests.cost.builders import module, result
from tvm_eqsat import EqSatOptions
from tvm_eqsat.cost.intrinsics import load_intrinsics
from tvm_eqsat.cost.lower import kernels
from tvm_eqsat.cost.node_work import node_work
from tvm_eqsat.graph.ops import OPERATORS
from tvm_eqsat.graph.ops._winograd import matrices
from tvm_eqsat.graph.types import TensorType
from tvm_eqsat.rules import ALL
from tvm_eqsat.rules.winograd import ERROR_GROWTH, WINOGRAD

TARGET = {"kind": "llvm", "num-cores": 2}


@pytest.mark.parametrize("tile", [2, 4])
def test_matrices_convolve_exactly(tile: int) -> None:
    rng = np.random.default_rng(0)
    data, taps = ([Fraction(int(v)) for v in rng.integers(-99, 99, n)] for n in (tile + 2, 3))
    exact = matrices(tile)
    points = np.array(exact.data) @ data * (np.array(exact.weight) @ taps)
    expected = [sum(data[i + k] * taps[k] for k in range(3)) for i in range(tile)]
    assert (np.array(exact.output) @ points).tolist() == expected


def _relative_errors(tile: int, channels: int) -> tuple[float, float]:
    """Root mean square errors in float32, of Winograd's algorithm and of the convolution itself, against float64."""
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((1, 18, 18, channels)), rng.standard_normal((3, 3, channels, 16))
    conv, given, back = (OPERATORS[name] for name in ("conv2d", "winograd_input", "winograd_output"))
    plain = conv.make_attrs(data_layout="NHWC", kernel_layout="HWIO")
    exact = conv.numpy([x, w], plain)
    x, w = x.astype("float32"), w.astype("float32")
    weight = OPERATORS["winograd_weight"]
    tiles = given.numpy([x], given.make_attrs(tile=tile))
    products = tiles @ weight.numpy([w], weight.make_attrs(tile=tile))
    found = back.numpy([products], back.make_attrs(tile=tile, shape=(1, 16, 16)))
    assert found.dtype == np.float32
    winograd, direct = (float(np.sqrt(((y - exact) ** 2).mean())) for y in (found, conv.numpy([x, w], plain)))
    return winograd, direct


@pytest.mark.parametrize("channels", [32, 256])
@pytest.mark.parametrize("tile", [2, 4])
def test_errors_grow_as_stated(tile: int, channels: int) -> None:
    winograd, direct = _relative_errors(tile, channels)
    growth = winograd / direct
    assert ERROR_GROWTH[tile] / 4 < growth <= ERROR_GROWTH[tile], growth


def test_strict_numerics_leave_it_out() -> None:
    names = {rule.name for rule in WINOGRAD}
    assert names <= {rule.name for rule in ALL}
    assert not names & {rule.name for rule in ALL.exact()}


def _model(channels: int, size: int) -> onnx.ModelProto:
    """Two 3×3 convolutions with bias and ReLU around a residual, as in VGG and ResNet."""
    rng = np.random.default_rng(0)
    weights, nodes, name = [], [], "x"
    for i in range(2):
        w = rng.standard_normal((channels, channels, 3, 3)).astype("float32") / np.float32(np.sqrt(4.5 * channels))
        weights += [numpy_helper.from_array(w, f"w{i}"), numpy_helper.from_array(w[:, 0, 0, 0].copy(), f"b{i}")]
        nodes += [helper.make_node("Conv", [name, f"w{i}", f"b{i}"], [f"c{i}"], pads=[1] * 4)]
        nodes += [helper.make_node("Relu", [f"c{i}"], [f"r{i}"])]
        name = f"r{i}"
    nodes += [helper.make_node("Add", ["r1", "x"], ["y"])]
    image = [helper.make_tensor_value_info(n, 1, (1, channels, size, size)) for n in "xy"]
    graph = helper.make_graph(nodes, "residual", image[:1], image[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def _check_kernels(mod: tvm.IRModule, tile: int) -> None:
    """Bias and activation end up in the transform of the result, and its price is that of its e-node."""
    found = {k.name: k for k in kernels(mod, tvm.target.Target(TARGET))}
    last = next(k for name, k in found.items() if name.startswith("fused_winograd_output_add_relu"))
    assert {"winograd_input", "matmul"} <= set(found)
    tiles, image = TensorType(((tile + 2) ** 2, (-(-14 // tile)) ** 2, 32), "float32"), (1, 14, 14)
    attrs = OPERATORS["winograd_output"].make_attrs(tile=tile, shape=image)
    work = node_work("winograd_output", attrs, [tiles], TensorType((*image, 32), "float32"))
    assert work is not None
    assert last.work.kind == work.kind
    assert work.nbytes <= last.nbytes < 1.5 * work.nbytes
    assert work.more_flops <= last.flops < 1.5 * work.more_flops


@pytest.mark.parametrize("tile", [2, 4])
def test_the_pass_chooses_it_and_the_result_is_that_of_onnxruntime(tile: int) -> None:
    model = _model(32, 14)  # 14 isn't a multiple of 4
    options = EqSatOptions(exclude_rules=(f"conv-winograd-{6 - tile}x{6 - tile}",))
    optimize = relax.transform.EqSatOptimize(options, target=TARGET)
    better = optimize(from_onnx(model))
    assert f"conv-winograd-{tile}x{tile}" in optimize.report.rules_used()
    assert optimize.report.predicted_ms_after < optimize.report.predicted_ms_before
    _check_kernels(better, tile)

    x = np.random.default_rng(1).standard_normal((1, 32, 14, 14)).astype("float32")
    vm = relax.VirtualMachine(tvm.compile(better, tvm.target.Target(TARGET)), tvm.cpu())
    found = vm["main"](tvm.runtime.tensor(x)).numpy()
    (expected,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    # Two convolutions of 288 terms each: 2 · 2⁻²⁴ · √288 = 2e-6 of the scale, times the growth; no element is 5 σ off.
    tolerance = 5 * 2e-6 * ERROR_GROWTH[tile]
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def test_weights_that_are_parameters_are_transformed_before_the_first_run() -> None:
    """What is computed from them alone ends up where ``LiftTransformParams`` lifts it; other operands stay."""
    for num_input in (1, 2):
        builder = relax.BlockBuilder()
        x = relax.Var("x", relax.TensorType((1, 28, 28, 32), "float32"))
        w = relax.Var("w", relax.TensorType((3, 3, 32, 32), "float32"))
        with builder.function("main", [x, w], attrs={"num_input": num_input}):
            with builder.dataflow():
                conv = relax.op.nn.conv2d(x, w, padding=1, data_layout="NHWC", kernel_layout="HWIO")
                out = builder.emit_output(conv)
            builder.emit_func_output(out)
        optimize = relax.transform.EqSatOptimize(target=TARGET)
        better = optimize(builder.get())
        assert ("conv-winograd-4x4" in optimize.report.rules_used()) == (num_input == 1)
        if num_input == 1:
            lifted = relax.transform.LiftTransformParams()(better)
            assert "winograd_weight" in str(lifted["main_transform_params"])
            assert "winograd_weight" not in str(lifted["main"])


def _transforms(channels: int, size: int) -> list[tvm.IRModule]:
    """The transforms of data and result, as kernels; the vectors that MetaSchedule likes would reach over tiles."""
    given, back = OPERATORS["winograd_input"], OPERATORS["winograd_output"]
    tiles = (-(-size // 4)) ** 2
    padded = given.make_attrs(tile=4, padding=(1, 1, 1, 1))
    cut = back.make_attrs(tile=4, shape=(1, size, size))
    programs = [
        module(lambda e, x: e(given.emit([x], padded)), (1, size, size, channels)),
        module(
            lambda e, x, b: e(relax.op.nn.relu(e(relax.op.add(e(back.emit([x], cut)), b)))),
            (36, tiles, channels),
            (channels,),
        ),
    ]
    return [kernel.mod for program in programs for kernel in kernels(program, MACHINE_TARGET) if kernel.mod is not None]


@pytest.mark.parametrize(("channels", "size"), [(16, 14), (10, 11), (17, 5)])
def test_transforms_stay_right_when_they_are_tuned(channels: int, size: int) -> None:
    load_intrinsics()
    for mod in _transforms(channels, size):
        with MACHINE_TARGET:
            context = ms.TuneContext(
                mod=mod,
                target=MACHINE_TARGET,
                space_generator="post-order-apply",
                search_strategy=ms.search_strategy.ReplayTrace(),
                rand_state=1,
                num_threads=1,
            )
            context.pre_tuning(8, 2)
            candidates = context.generate_measure_candidates()
        assert candidates
        for candidate in candidates:
            # nothing is summed in another order
            np.testing.assert_allclose(result(candidate.sch.mod), result(mod), rtol=1e-6, atol=1e-5)
