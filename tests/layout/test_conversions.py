"""Conversions that come with a Relax module: read, composed, cancelled and written."""

from __future__ import annotations

from typing import Any

import numpy as np
import tvm
from tvm import relax

from tvm_eqsat.extract import extract
from tvm_eqsat.graph.module import read_module
from tvm_eqsat.rules import ALL
from tvm_eqsat.search.program import load, unload
from tvm_eqsat.search.saturate import Limits, saturate


def chain(shape: tuple[int, ...], *maps: Any) -> tvm.IRModule:
    """``x``, converted by each map in turn."""
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType(shape, "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            value: Any = x
            for index_map in maps:
                value = builder.emit(relax.op.layout_transform(value, index_map, 0.0))
            out = builder.emit_output(relax.op.add(value, relax.const(np.float32(1))))
        builder.emit_func_output(out)
    return builder.get()


def optimized(mod: tvm.IRModule) -> tvm.IRModule:
    """With the fewest operators: fused, a pair of conversions may cost nothing, and then nothing is changed."""
    module = read_module(mod)
    graph = module.regions[0].graph
    egraph, class_of = load(graph)
    saturate(egraph, ALL, Limits())
    frozen = egraph.freeze([class_of[i] for i in graph.outputs])
    frozen = frozen.with_costs([float(bool(kids)) for kids in frozen.node_children])
    return module.rebuild([unload(frozen, extract(frozen, "local").choice)], 1 << 20)


def conversions(mod: tvm.IRModule) -> int:
    text = mod["main"].script()
    return text.count("R.call_tir(") + text.count("R.permute_dims") + text.count("R.layout_transform")


def test_blocks_and_back_is_nothing() -> None:
    mod = chain(
        (1, 32, 5, 5),
        lambda n, c, h, w: (n, c // 8, h, w, c % 8),
        lambda n, c, h, w, i: (n, c * 8 + i, h, w),
    )
    assert conversions(mod) == 2
    assert conversions(optimized(mod)) == 0


def test_turning_a_cube_twice_is_one_conversion() -> None:
    """TVM's own OptimizeLayoutTransform takes both away, which is wrong."""
    mod = chain((4, 4, 4), lambda i, j, k: (j, k, i), lambda i, j, k: (j, k, i))
    found = optimized(mod)
    assert conversions(found) == 1
    x = np.arange(64, dtype="float32").reshape(4, 4, 4)
    machine = relax.VirtualMachine(tvm.compile(found, tvm.target.Target("llvm")), tvm.cpu())
    assert np.array_equal(machine["main"](tvm.runtime.tensor(x)).numpy(), x.transpose(2, 0, 1) + 1)


def test_padding_stays() -> None:
    """What was cropped is padded with zeros: that isn't nothing."""
    mod = chain(
        (1, 3, 5, 5, 8),
        lambda n, c, h, w, i: (n, c * 8 + i, h, w),
        lambda n, c, h, w: (n, c // 16, h, w, c % 16),
    )
    assert conversions(optimized(mod)) == 2
