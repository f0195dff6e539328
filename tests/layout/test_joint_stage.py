"""What the joint stage proposes, in which order, and how an operator is taken out of its program."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tvm
from tvm import relax
from tvm.target import Target

from tvm_eqsat.cost.intrinsics import load_intrinsics
from tvm_eqsat.cost.lower import kernels
from tvm_eqsat.cost.space import TileProposals, is_tiled
from tvm_eqsat.cost.space.registers import registers_of
from tvm_eqsat.forms import Form, Site, sites_of
from tvm_eqsat.forms.alone import alone
from tvm_eqsat.forms.proposals import proposals
from tvm_eqsat.forms.proposer import Measured, Option, Proposer
from tvm_eqsat.forms.table import best_forms, rules_for
from tvm_eqsat.graph.module import read_module
from tvm_eqsat.graph.operator import OPERATORS
from tvm_eqsat.graph.tensor_graph import TensorGraph
from tvm_eqsat.graph.types import TensorType
from tvm_eqsat.layout.blocks import block_of

TARGETS = {
    "avx2": {"kind": "llvm", "mtriple": "x86_64-linux-gnu", "mcpu": "x86-64-v3", "num-cores": 2},
    "avx512": {"kind": "llvm", "mtriple": "x86_64-linux-gnu", "mcpu": "x86-64-v4", "num-cores": 2},
    "neon": {"kind": "llvm", "mtriple": "aarch64-linux-gnu", "mcpu": "neoverse-n1", "num-cores": 2},
}


def conv(channels: int, size: int, filters: int, kernel: int, stride: int = 1) -> Site:
    attrs: Any = OPERATORS["conv2d"].make_attrs(
        strides=(stride,) * 2, padding=(kernel // 2,) * 4, data_layout="NCHW", kernel_layout="OIHW"
    )
    data = TensorType((1, channels, size, size), "float32")
    return Site("conv2d", attrs, data, TensorType((filters, channels, kernel, kernel), "float32"))


def matmul(rows: tuple[int, ...], k: int, n: int) -> Site:
    data = TensorType((*rows, k), "float32")
    return Site("matmul", OPERATORS["matmul"].make_attrs(), data, TensorType((k, n), "float32"))


SITES = {
    "3x3": conv(64, 14, 32, 3),
    "1x1": conv(64, 14, 32, 1),
    "stride": conv(16, 15, 24, 3, 2),
    "image": conv(3, 32, 16, 7, 2),
    "row": matmul((1,), 64, 48),
    "batch": matmul((2, 5), 64, 48),
}


def operators(graph: TensorGraph) -> list[str]:
    return [graph.nodes[i].op for i in graph.live() if graph.nodes[i].op != "input"]


@pytest.mark.parametrize("name", SITES)
def test_every_proposal_is_a_form_of_its_operator(name: str) -> None:
    site = SITES[name]
    assert sites_of(site.graph()) == {site: 1}
    found = proposals(site, 8)
    assert len(found) == len(set(found))
    for form in found:
        assert alone(site, form.rule()) is not None, form


def test_sizes_follow_the_registers() -> None:
    blocks = {
        lanes: {form.sizes for form in proposals(SITES["1x1"], lanes) if form.kind == "blocked"} for lanes in (4, 16)
    }
    assert (2, 2) in blocks[4] and (16, 16) in blocks[4] and (32, 32) not in blocks[4]
    assert (64, 32) in blocks[16] and (4, 4) not in blocks[16]


def test_conversions_that_others_may_cancel_are_not_part_of_a_form() -> None:
    site = SITES["3x3"]
    assert operators(alone(site, Form("blocked", (8, 16)).rule())) == ["conv2d_nchwc"]
    assert operators(alone(site, Form("im2col").rule())) == ["layout_transform", "matmul"]
    assert operators(alone(SITES["1x1"], Form("im2col").rule())) == ["matmul"]
    assert operators(alone(site, Form("tiled", (4, 4)).rule())) == ["layout_transform", "conv2d"]
    assert operators(alone(SITES["row"], Form("transposed").rule())) == ["matmul"]


def test_measurements_of_similar_operators_come_first() -> None:
    forms = [Form("im2col"), Form("blocked", (8, 8)), Form("blocked", (16, 16))]
    options = {Option(SITES["3x3"], form): 0.0 for form in forms}
    known = [
        Measured(conv(64, 28, 32, 3).features(), Form("blocked", (16, 16)), -0.7),
        Measured(conv(64, 28, 32, 3).features(), Form("im2col"), 0.7),
    ]
    proposer = Proposer(options, {SITES["3x3"]: 1.0}, known)
    assert [proposer.next(0.0) for _ in range(2)] == [Option(SITES["3x3"], Form("blocked", (16, 16)))] * 2
    mean, deviation = proposer.predict(Option(SITES["3x3"], forms[2]))
    assert -0.7 < mean < proposer.predict(Option(SITES["3x3"], forms[1]))[0] < 0
    assert deviation < Proposer(options, {SITES["3x3"]: 1.0}).predict(Option(SITES["3x3"], forms[2]))[1]


def test_an_operator_that_was_improved_promises_less() -> None:
    mine, other = SITES["3x3"], SITES["1x1"]
    tiles = [Form("tiled", (7, 14)), Form("tiled", (14, 7))]
    proposer = Proposer(
        {Option(mine, f): 0.0 for f in tiles} | {Option(other, Form("im2col")): 0.0}, {mine: 1.0, other: 0.9}
    )
    first = proposer.next(0.0)
    assert first is not None and first.site == mine
    proposer.learn(first, -0.3)
    assert proposer.next(0.0) == Option(other, Form("im2col"))


def test_what_promises_too_little_is_not_proposed() -> None:
    site = SITES["3x3"]
    slow = Proposer({Option(site, Form("im2col")): 3.0}, {site: 1.0})
    assert slow.next(0.0) is None
    cheap = Proposer({Option(site, Form("im2col")): 0.0}, {site: 1e-9})
    assert cheap.next(1e-6) is None and cheap.next(0.0) is not None
    cheap.learn(Option(site, Form("im2col")), 0.5)
    assert cheap.next(0.0) is None


def test_good_forms_become_rules_and_neighbours_are_offered_their_blocks() -> None:
    first, second, odd = SITES["3x3"], conv(32, 14, 64, 1), conv(20, 14, 64, 1)
    ratios = {Form("blocked", (8, 16)): -0.3, Form("im2col"): 0.2, Form("shifted"): -0.2, Form("tiled", (7, 7)): -0.1}
    choice = best_forms({first: ratios, second: {Form("im2col"): 0.4}})
    assert choice == {str(first): [Form("blocked", (8, 16)), Form("shifted")]}
    names = {rule.name for rule in rules_for([first, second, odd], choice)}
    assert {"conv-blocked-8x16", "conv-shifted", "conv-blocked-16x16", "relu-in-layout"} <= names
    assert "conv-tiled-7x7" not in names and "conv-im2col" not in names
    assert not rules_for([first, second], {})


def test_weights_must_be_known() -> None:
    x, w = (relax.Var(name, relax.TensorType(shape, "float32")) for name, shape in (("x", (4, 8)), ("w", (8, 8))))
    builder = relax.BlockBuilder()
    with builder.function("main", [x, w]):
        with builder.dataflow():
            out = builder.emit_output(relax.op.matmul(x, w))
        builder.emit_func_output(out)
    assert not sites_of(read_module(builder.get()).regions[0].graph)


@pytest.mark.parametrize("name", TARGETS)
def test_blocked_convolutions_compile_for_other_machines(name: str) -> None:
    load_intrinsics()
    target = Target(TARGETS[name])
    lanes = registers_of(target).lanes(32)
    block = block_of(128, lanes)
    graph = alone(conv(128, 8, 128, 3), Form("blocked", (block, block)).rule())
    kernel = max(kernels(_module(graph), target), key=lambda k: k.flops)
    candidate = TileProposals(kernel.mod, target, 2, np.random.RandomState(0)).next()
    assert is_tiled(candidate.sch)
    code = tvm.tirx.build(candidate.sch.mod, target=target).inspect_source("ll")
    assert f"<{lanes} x float>" in code


def _module(graph: TensorGraph) -> tvm.IRModule:
    """A program as a Relax module."""
    builder = relax.BlockBuilder()
    inputs = {i: graph.nodes[i] for i in graph.live() if graph.nodes[i].op == "input"}
    values: dict[int, Any] = {
        i: relax.Var(f"p{i}", relax.TensorType(node.type.shape, node.type.dtype)) for i, node in inputs.items()
    }
    with builder.function("main", list(values.values())):
        with builder.dataflow():
            for i in graph.live():
                node = graph.nodes[i]
                if i not in values:
                    values[i] = builder.emit(OPERATORS[node.op].emit([values[k] for k in node.inputs], node.attrs))
            out = builder.emit_output(values[graph.outputs[0]])
        builder.emit_func_output(out)
    return builder.get()
