"""A small residual network whose every convolution is made to work in blocks of channels."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import tvm
from tvm import relax

from tvm_eqsat.egraph.frozen import FrozenEGraph
from tvm_eqsat.extract import extract
from tvm_eqsat.graph.module import read_module
from tvm_eqsat.graph.tensor_graph import TensorGraph
from tvm_eqsat.rules import ALL, blocked_layouts
from tvm_eqsat.search.program import load, unload
from tvm_eqsat.search.saturate import Limits, saturate
from tvm_eqsat.verify.field import evaluate

LANES = 8
SHAPE = (1, 3, 33, 33)


class Network:
    """Channels of 3, 16, 32, 40 and 17; strides, groups, a depthwise convolution, a concatenation, pooling."""

    def __init__(self, weights_are_parameters: bool = False) -> None:
        self.rng = np.random.default_rng(0)
        self.builder = relax.BlockBuilder()
        self.parameters: list[relax.Var] | None = [] if weights_are_parameters else None
        self.values: list[np.ndarray] = []
        x = relax.Var("x", relax.TensorType(SHAPE, "float32"))
        with self.builder.function("main"):
            with self.builder.dataflow():
                out = self.builder.emit_output(self.body(x))
            self.builder.emit_func_output(out, [x, *(self.parameters or [])])
        self.mod = self.builder.get()
        if weights_are_parameters:
            self.mod["main"] = self.mod["main"].with_attr("num_input", 1)

    def body(self, x: relax.Var) -> relax.Var:
        emit, op = self.builder.emit, relax.op
        x = emit(op.nn.max_pool2d(self.conv(x, 16, 3, 2), 3, 2, 1))
        x = emit(op.nn.relu(emit(op.add(self.conv(self.conv(x, 16, 3), 16, 3, relu=False), x))))
        main = self.conv(self.conv(x, 32, 3, 2), 32, 3, relu=False)
        x = emit(op.nn.relu(emit(op.add(main, self.conv(x, 32, 1, 2, relu=False)))))
        x = self.conv(self.conv(x, 32, 3, groups=32), 32, 3, groups=2)
        x = emit(op.concat([self.conv(x, 16, 1), self.conv(x, 24, 3)], 1))
        x = emit(op.nn.avg_pool2d(self.conv(x, 17, 1), 3, 1, 1))
        return emit(op.matmul(emit(op.mean(x, [2, 3])), self.weight(17, 10)))

    def conv(self, x: Any, filters: int, kernel: int, stride: int = 1, groups: int = 1, relu: bool = True) -> Any:
        emit, op = self.builder.emit, relax.op
        weight = self.weight(filters, int(x.ty.shape[1]) // groups, kernel, kernel)
        x = emit(op.nn.conv2d(x, weight, strides=stride, padding=kernel // 2, groups=groups))
        x = emit(op.add(x, self.weight(filters, 1, 1)))
        return emit(op.nn.relu(x)) if relu else x

    def weight(self, *shape: int) -> Any:
        value = (self.rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype("float32")
        self.values.append(value)
        if self.parameters is None:
            return relax.const(value)
        self.parameters.append(relax.Var(f"w{len(self.parameters)}", relax.TensorType(shape, "float32")))
        return self.parameters[-1]


def in_blocks(graph: TensorGraph) -> TensorGraph:
    """The program that costs least where other convolutions cost much, and a conversion as much as ten operators."""
    egraph, class_of = load(graph)
    saturate(egraph, ALL.without("conv-nhwc") + blocked_layouts(LANES), Limits(nodes=20_000, iterations=20))
    frozen = egraph.freeze([class_of[i] for i in graph.outputs])
    prices = {"conv2d": 100.0, "layout_transform": 1.0, "permute_dims": 1.0, "reshape": 0.0}
    known = [egraph.data(c).const > 0 for c in frozen.class_key]

    def price(op: str, operands: Any) -> float:
        return 0.0 if all(known[k] for k in operands) else prices.get(op, 0.1)

    costs = [price(op, kids) for op, kids in zip(frozen.node_op, frozen.node_children, strict=True)]
    priced: FrozenEGraph = frozen.with_costs(costs)
    return unload(priced, extract(priced, "local").choice)


def run(mod: tvm.IRModule, *arrays: np.ndarray) -> np.ndarray:
    machine = relax.VirtualMachine(tvm.compile(mod, tvm.target.Target("llvm")), tvm.cpu())
    out: np.ndarray = machine["main"](*map(tvm.runtime.tensor, arrays)).numpy()
    return out


@pytest.fixture(scope="module")
def network() -> Network:
    return Network()


def test_conversions_are_left_at_the_ends_alone(network: Network) -> None:
    graph = read_module(network.mod).regions[0].graph
    result = in_blocks(graph)
    moving = [result.nodes[i] for i in result.live() if not folded(result, i)]
    count = Counter(node.op for node in moving)
    assert count["conv2d"] == count["permute_dims"] == 0
    assert count["conv2d_nchwc"] >= 9 and count["depthwise_conv2d"] == 1
    # the image comes in; and the classifier's 17 features, padded to 24, go out
    assert [node.type.shape for node in moving if node.op == "layout_transform"] == [(1, 1, 33, 33, 3), (1, 17)]


def folded(graph: TensorGraph, i: int) -> bool:
    node = graph.nodes[i]
    return node.op == "constant" or (bool(node.inputs) and all(folded(graph, k) for k in node.inputs))


def test_result_is_the_originals(network: Network) -> None:
    region = read_module(network.mod).regions[0]
    x = np.random.default_rng(1).standard_normal(SHAPE).astype("float32")
    (expected,) = evaluate(region.graph, {0: x})
    module = read_module(network.mod)
    rewritten = module.rebuild([in_blocks(module.regions[0].graph)], 1 << 28)
    assert "conv2d_nchwc" in rewritten.script() and "R.nn.conv2d" not in rewritten.script()
    # sums of up to 300 products of numbers near 1, in another order
    np.testing.assert_allclose(run(rewritten, x), expected, rtol=1e-4, atol=1e-5)


def test_weights_that_are_parameters_are_converted_before_the_first_run() -> None:
    network = Network(weights_are_parameters=True)
    module = read_module(network.mod)
    rewritten = module.rebuild([in_blocks(module.regions[0].graph)], 1 << 28)
    lifted = relax.transform.LiftTransformParams()(rewritten)
    assert "layout_transform" in lifted["main_transform_params"].script()
    names = [
        str(binding.value.args[0].name_hint)
        for block in lifted["main"].body.blocks
        for binding in block.bindings
        if isinstance(binding.value, relax.Call) and binding.value.op.name == "relax.call_tir"
    ]
    assert sum(name.startswith("layout_transform") for name in names) == 2
