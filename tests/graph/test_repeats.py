"""Repeated blocks are found, and put together again as they were."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.graphs import apply, tensor
from tvm_eqsat.graph.ops import OPERATORS
from tvm_eqsat.graph.repeats import Split
from tvm_eqsat.graph.tensor_graph import Constant, TensorGraph
from tvm_eqsat.graph.types import Symbol

WIDTH = 4


def _weight(graph: TensorGraph, rng: np.random.Generator) -> int:
    return apply(graph, "constant", value=Constant(rng.standard_normal((WIDTH, WIDTH * 4))))


def _layer(graph: TensorGraph, x: int, rng: np.random.Generator, activation: str = "tanh") -> int:
    """A residual block of nine operators with two weights; 0.5 is the same in all."""
    half = apply(graph, "constant", value=Constant(np.array(0.5)))
    up = apply(graph, "matmul", x, _weight(graph, rng))
    wide = apply(graph, activation, apply(graph, "multiply", up, half))
    narrow = apply(graph, "permute_dims", _weight(graph, rng), axes=(1, 0))  # of a weight: no part of the block
    y = apply(graph, "matmul", apply(graph, "sigmoid", wide), narrow)
    y = apply(graph, "negative", apply(graph, "relu", y))
    return apply(graph, "relu", apply(graph, "add", x, y))


def _network(layers: int, *, rng: np.random.Generator, odd: int = -1, taps: tuple[int, ...] = ()) -> TensorGraph:
    graph = TensorGraph()
    x = apply(graph, "exp", tensor(graph, 3, WIDTH))
    for number in range(layers):
        x = _layer(graph, x, rng, "abs" if number == odd else "tanh")
        if number in taps:
            graph.outputs.append(x)
    graph.outputs.append(apply(graph, "sqrt", apply(graph, "square", x)))
    return graph


def _values(graph: TensorGraph, inputs: list[np.ndarray]) -> list[np.ndarray]:
    values: dict[int, np.ndarray] = {}
    for i in graph.live():
        node = graph.nodes[i]
        attrs: Any = node.attrs
        if node.op == "input":
            values[i] = inputs[attrs.index]
        else:
            values[i] = OPERATORS[node.op].numpy([values[k] for k in node.inputs], attrs)
    return [values[i] for i in graph.outputs]


def _check_join(split: Split) -> None:
    joined = split.join([part.graph for part in split.parts])
    x = np.random.default_rng(1).standard_normal((3, WIDTH))
    for mine, whole in zip(_values(joined, [x]), _values(split.whole, [x]), strict=True):
        np.testing.assert_array_equal(mine, whole)
    assert len(joined.live()) == len(split.whole.live())


def _copies(split: Split) -> list[int]:
    return sorted(len(part.places) for part in split.parts)


def test_layers_with_other_weights_are_one_part() -> None:
    split = Split(_network(6, rng=np.random.default_rng(0)))
    assert _copies(split) == [1, 1, 6]
    part = max(split.parts, key=lambda part: len(part.places))
    leaves = [node.attrs for node in part.graph.nodes if node.op == "input"]
    assert sorted(a.weight for a in leaves) == [False, True, True]  # type: ignore[attr-defined]
    assert any(node.op == "constant" and node.attrs.value.fill == 0.5 for node in part.graph.nodes)  # type: ignore[attr-defined]
    assert split.parts[0].graph.nodes[-1].op == "exp"
    _check_join(split)


def test_the_switch_and_too_few_copies_leave_the_program_whole() -> None:
    graph = _network(6, rng=np.random.default_rng(0))
    assert [part.graph for part in Split(graph, reuse=False).parts] == [graph]
    short = Split(_network(2, rng=np.random.default_rng(0)))
    assert [part.graph for part in short.parts] == [short.whole]
    assert short.join([short.whole]) is short.whole


def test_a_layer_that_differs_is_a_part_of_its_own() -> None:
    split = Split(_network(9, rng=np.random.default_rng(0), odd=4))
    assert _copies(split)[-1] == 8
    _check_join(split)


def test_a_layer_whose_result_is_an_output_stays_right() -> None:
    for taps in ((0,), (2,), (5,), (0, 1, 2, 3, 4, 5)):
        _check_join(Split(_network(6, rng=np.random.default_rng(0), taps=taps)))


def test_a_replaced_part_is_replaced_everywhere() -> None:
    split = Split(_network(4, rng=np.random.default_rng(0)))
    graphs = [part.graph for part in split.parts]
    number = max(range(len(graphs)), key=lambda k: len(split.parts[k].places))
    other = TensorGraph()
    x = apply(other, "input", **graphs[number].nodes[0].attrs._asdict())  # type: ignore[attr-defined]
    other.outputs = [apply(other, "sin", x)]
    graphs[number] = other
    joined = split.join(graphs)
    assert sum(joined.nodes[i].op == "sin" for i in joined.live()) == 4
    assert not any(joined.nodes[i].op == "matmul" for i in joined.live())


def test_nothing_is_cut_where_two_tensors_pass() -> None:
    rng = np.random.default_rng(0)
    graph = TensorGraph()
    x, y = tensor(graph, 3, WIDTH), tensor(graph, 3, WIDTH)
    for _ in range(6):
        x, y = apply(graph, "tanh", _layer(graph, apply(graph, "subtract", x, y), rng)), x
    graph.outputs = [x, y]
    assert [part.graph for part in Split(graph).parts] == [graph]


def test_a_tensor_from_before_the_run_may_reach_all_blocks() -> None:
    rng = np.random.default_rng(0)
    graph = TensorGraph()
    x = tensor(graph, 3, WIDTH)
    mask = apply(graph, "sigmoid", x)
    for _ in range(5):
        x = apply(graph, "multiply", _layer(graph, x, rng), mask)
    graph.outputs = [x]
    split = Split(graph)
    assert _copies(split)[-1] >= 4  # the first may be left out
    _check_join(split)


def test_symbolic_shapes_leave_the_program_whole() -> None:
    class Var:
        name = "n"

    rng = np.random.default_rng(0)
    graph = TensorGraph()
    x = tensor(graph, Symbol(Var()), WIDTH)
    for _ in range(5):
        x = _layer(graph, x, rng)
    graph.outputs = [x]
    assert [part.graph for part in Split(graph).parts] == [graph]


@given(st.integers(0, 10**6), st.integers(3, 6), st.integers(0, 12))
def test_random_blocks_join_as_they_were(seed: int, copies: int, size: int) -> None:
    """Blocks that use weights, small constants, earlier results and values from before the run, at random."""
    graph, rng = TensorGraph(), np.random.default_rng(seed)
    outside = [tensor(graph, 3, WIDTH)]
    outside.append(apply(graph, "sigmoid", outside[0]))
    x = outside[0]
    for _ in range(copies):
        draw = np.random.default_rng(seed + 1)  # the same structure in each copy
        inside = [x]
        for _ in range(8 + size):
            values = inside[-3:] + outside * bool(draw.integers(0, 2))
            a, b = (values[k] for k in draw.integers(0, len(values), 2))
            kind = draw.integers(0, 4)
            if kind == 0:
                weight = apply(graph, "constant", value=Constant(rng.standard_normal((WIDTH, WIDTH)) / 4))
                inside.append(apply(graph, "matmul", a, weight))
            elif kind == 1:
                inside.append(apply(graph, "add", a, apply(graph, "constant", value=Constant(rng.random((1, 1))))))
            elif kind == 2:
                inside.append(apply(graph, "tanh", a))
            else:
                inside.append(apply(graph, "multiply", a, b))
        x = apply(graph, "add", inside[-1], inside[0])
    graph.outputs = [x]
    _check_join(Split(graph))


@pytest.mark.parametrize("op", ["sqrt", "constant"])
def test_outputs_that_no_part_computes(op: str) -> None:
    graph = _network(4, rng=np.random.default_rng(0))
    extra = 0 if op == "sqrt" else next(i for i, node in enumerate(graph.nodes) if node.op == "constant")
    graph.outputs.append(extra)
    _check_join(Split(graph))
