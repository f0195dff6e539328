"""Small Relax modules, for tests of prices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tvm
from tvm import relax
from tvm.relax import op
from tvm.s_tir import meta_schedule as ms
from tvm.target import Target

from tvm_eqsat.cost.machine import Machine

TARGET = Target({"kind": "llvm", "mcpu": "x86-64-v3", "num-cores": 2})
#: What two Zen 3 cores measure; fixed, so that the tests don't depend on the machine they run on.
MACHINE = Machine(
    peak_flops=206e9,
    bandwidth=34e9,
    cache_bandwidth=103e9,
    cache_bytes=32 << 20,
    scalar_calls=8e8,
    overhead=4e-6,
    threads=2,
)


def module(build: Callable[..., Any], *shapes: Sequence[Any], dtype: str = "float32", **attrs: Any) -> tvm.IRModule:
    """A module whose function ``main`` returns ``build(emit, *params)``."""
    builder = relax.BlockBuilder()
    params = [relax.Var(f"x{i}", relax.TensorType(shape, dtype)) for i, shape in enumerate(shapes)]
    with builder.function("main", params, attrs=attrs):
        with builder.dataflow():
            value = build(builder.emit, *params)
            out = builder.emit_output(value)
        builder.emit_func_output(out)
    return builder.get()


def constant(*shape: int) -> relax.Expr:
    """A random constant."""
    return relax.const(np.random.default_rng(0).standard_normal(shape).astype("float32"))


def conv(emit: Any, x: Any, w: Any, padding: int = 1, layout: str = "NCHW", **attrs: Any) -> Any:
    """A convolution with the usual kernel layout."""
    kernel = "OIHW" if layout == "NCHW" else "HWIO"
    return emit(op.nn.conv2d(x, w, padding=padding, data_layout=layout, kernel_layout=kernel, **attrs))


def result(mod: tvm.IRModule) -> np.ndarray:
    """What a kernel, scheduled or not, computes of random arguments: the same ones for equal shapes."""
    random = np.random.default_rng(0)
    shapes = [[int(d) for d in info.as_json()[2]] for info in ms.arg_info.ArgInfo.from_prim_func(mod["main"])]
    values = [tvm.runtime.tensor(random.standard_normal(shape).astype("float32")) for shape in shapes]
    tvm.tirx.build(mod, target=TARGET)["main"](*values)
    return values[-1].numpy()
