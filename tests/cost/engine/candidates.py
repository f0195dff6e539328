"""Kernels to measure, well-behaved and not, for tests of the measuring engine."""

from __future__ import annotations

from typing import Any

import tvm
from tvm import te, tirx
from tvm.s_tir.meta_schedule.arg_info import ArgInfo
from tvm.s_tir.meta_schedule.builder import BuilderInput, BuilderResult
from tvm.s_tir.meta_schedule.runner import RunnerInput, RunnerResult
from tvm.target import Target

TARGET = Target({"kind": "llvm", "num-cores": 1})


def kernel(kind: str, size: int = 16) -> tvm.IRModule:
    """A kernel of two float32 vectors that adds one, or does what ``kind`` says when it runs.

    ``crash`` raises a signal, ``exit`` ends the process, ``hang`` waits for ever, ``hog`` allocates 64 GiB.
    """
    x = te.placeholder((size,), name="x")
    if kind == "good":
        y = te.compute((size,), lambda i: x[i] + tirx.const(1, "float32"), name="y")
    elif kind == "hog":
        big = te.compute((1 << 34,), lambda i: x[i % size] + i.astype("float32"), name="big")
        y = te.compute((size,), lambda i: big[i * tirx.const((1 << 34) // size, "int64")], name="y")
    else:
        name, *arguments = {"crash": ("abort",), "exit": ("_exit", 3), "hang": ("pause",)}[kind]
        y = te.compute((size,), lambda i: x[i] + tirx.call_extern("float32", name, *arguments), name="y")
    function = te.create_prim_func([x, y])
    return tvm.IRModule({"main": function.with_attr("global_symbol", "main")})


def build(builder: Any, *modules: tvm.IRModule) -> list[BuilderResult]:
    """Build kernels."""
    return list(builder.build([BuilderInput(module, TARGET) for module in modules]))


def run(runner: Any, built: list[BuilderResult], *modules: tvm.IRModule) -> list[RunnerResult]:
    """Time what was built, remove it as MetaSchedule does, and return the results of all."""
    inputs = [
        RunnerInput(result.artifact_path, "cpu", ArgInfo.from_prim_func(module["main"]))
        for result, module in zip(built, modules, strict=True)
        if result.error_msg is None
    ]
    found = iter([future.result() for future in runner.run(inputs)])
    remove = tvm.get_global_func("s_tir.meta_schedule.remove_build_dir")
    for item in inputs:
        remove(item.artifact_path)
    return [next(found) if result.error_msg is None else RunnerResult(None, result.error_msg) for result in built]


def measure(engine: tuple[Any, Any], *modules: tvm.IRModule) -> list[RunnerResult]:
    """Build and time kernels."""
    return run(engine[1], build(engine[0], *modules), *modules)
