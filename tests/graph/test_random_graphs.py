"""Random graphs over the whole operator table, written as Relax and read back."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import IRModule, relax

from tests.graph.blocks import read_one
from tvm_eqsat.errors import IllTyped, OptionError
from tvm_eqsat.graph.operator import OPERATORS
from tvm_eqsat.graph.region import Region
from tvm_eqsat.graph.relax_emit import emit_block
from tvm_eqsat.graph.tensor_graph import Constant, TensorGraph
from tvm_eqsat.graph.types import TensorType

# Operators that have no value for most random operands. Leaves, and what is written as loops, aren't Relax operators.
LEFT_OUT = {"gather_elements", "gather_nd"}
NAMES = sorted(
    name for name, op in OPERATORS.items() if op.relax and name not in LEFT_OUT and (op.sample or not op.schema)
)
INPUTS = [TensorType(shape, dtype) for shape in ((2, 4, 3, 3), (4, 3), (3,)) for dtype in ("float32", "int32", "bool")]


def random_graph(seed: int, size: int) -> TensorGraph:
    rng = np.random.default_rng(seed)
    graph = TensorGraph()
    for i in range(6):
        ty = INPUTS[int(rng.integers(len(INPUTS)))]
        if i < 4:
            graph.names[graph.add("input", (), OPERATORS["input"].make_attrs(index=i, type=ty))] = f"x{i}"
        else:
            value = Constant(rng.integers(0, 2, ty.shape).astype(ty.dtype))
            graph.add("constant", (), OPERATORS["constant"].make_attrs(value=value))
    for _ in range(40 * size):
        op = OPERATORS[NAMES[int(rng.integers(len(NAMES)))]]
        arity = int(rng.integers(1, 4)) if op.arity is None else op.arity
        # Recent nodes are likelier, so that the graph gets deep.
        operands = [len(graph.nodes) - 1 - int(len(graph.nodes) * rng.random() ** 2) for _ in range(arity)]
        types = [graph.nodes[i].type for i in operands]
        try:
            attrs = op.sample(rng, types) if op.sample else op.make_attrs()
            if op.infer(types, attrs).numel() <= 2000:
                graph.add(op.name, operands, attrs)
        except (IllTyped, OptionError, TypeError, ValueError, IndexError):
            continue
        if len(graph.nodes) > size:
            break
    graph.outputs = [int(i) for i in rng.integers(0, len(graph.nodes), 3)] + [len(graph.nodes) - 1]
    return graph


def module_of(graph: TensorGraph, limit: int) -> IRModule:
    def var(name: str, ty: Any) -> relax.Var:
        return relax.Var(name, relax.TensorType(ty.shape, ty.dtype))

    inputs = [var(graph.names[i], node.type) for i, node in enumerate(graph.nodes) if node.op == "input"]
    region = Region(relax.DataflowBlock([]), graph, inputs)
    region.outputs = [var(f"gv{i}", graph.nodes[output].type) for i, output in enumerate(graph.outputs)]
    region.output_trees = list(range(len(graph.outputs)))
    block = emit_block(region, graph, limit)
    body = relax.BlockBuilder().normalize(relax.SeqExpr([block], relax.Tuple(region.outputs)))
    function = relax.Function(inputs, body).with_attr("global_symbol", "main")
    mod = IRModule({"main": function})
    relax.analysis.well_formed(mod)
    return mod


def values(graph: TensorGraph, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    found: dict[int, np.ndarray] = {}
    for i in graph.live():
        node = graph.nodes[i]
        operands = [found[k] for k in node.inputs]
        found[i] = inputs[graph.names[i]] if node.op == "input" else OPERATORS[node.op].numpy(operands, node.attrs)
    return [found[i] for i in graph.outputs]


@settings(max_examples=60)
@given(st.integers(0, 10**9), st.integers(8, 40), st.sampled_from([0, 100, 10**6]))
def test_a_graph_survives_relax(seed: int, size: int, limit: int) -> None:
    graph = random_graph(seed, size)
    mod = module_of(graph, limit)
    region = read_one(mod)
    again = region.graph
    assert not region.opaque
    order = sorted(range(len(region.outputs)), key=lambda i: region.outputs[i].name)
    again.outputs = [again.outputs[i] for i in order]
    assert [again.nodes[i].type for i in again.outputs] == [graph.nodes[i].type for i in graph.outputs]
    rng = np.random.default_rng(seed)
    inputs = {
        graph.names[i]: rng.integers(0, 2, node.type.shape).astype(node.type.dtype)
        for i, node in enumerate(graph.nodes)
        if node.op == "input"
    }
    with np.errstate(all="ignore"):
        old, new = values(graph, inputs), values(again, inputs)
    for a, b in zip(old, new, strict=True):
        np.testing.assert_array_equal(a, b)
    if limit == 0:
        assert len(again.live()) <= len(graph.live())
