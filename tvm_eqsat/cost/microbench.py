"""Small programs that time a core: multiply-adds in registers, a copy, and calls."""

from __future__ import annotations

import numpy as np
import tvm
from tvm import relax, te, tirx
from tvm.target import Target

_WINDOWS = 40  # the fastest of many short windows is the one that no other process interrupted
_ROWS, _DEPTH, _REPEATS = 6, 256, 64
_CALLS, _ELEMENTS = 16, 16  # of a program that does next to nothing


def fma_rate(target: Target, lanes: int) -> float:
    """float32 operations per second of one core in the kernel that every good matmul ends in.

    Parameters
    ----------
    target : tvm.target.Target
        A CPU target that runs on this host.
    lanes : int
        float32 elements of a vector register.

    Returns
    -------
    float
        Operations per second: 6 rows by 2 vectors of sums stay in registers, operands in the first-level cache.
    """
    columns = 2 * lanes
    a = te.placeholder((_DEPTH, _ROWS), name="a")
    b = te.placeholder((_DEPTH, columns), name="b")
    k = te.reduce_axis((0, _DEPTH), name="k")
    c = te.compute((_REPEATS, _ROWS, columns), lambda r, i, j: te.sum(a[k, i] * b[k, j], axis=k), name="c")
    sch = tvm.s_tir.Schedule(te.create_prim_func([a, b, c]))
    block = sch.get_sblock("c")
    repeat, row, column, depth = sch.get_loops(block)
    vector, lane = sch.split(column, [2, lanes])
    sch.reorder(repeat, depth, row, vector, lane)
    sch.reverse_compute_at(sch.cache_write(block, 0, "local"), repeat)
    sch.vectorize(lane)
    sch.unroll(row)
    sch.unroll(vector)
    sch.decompose_reduction(block, depth)
    shapes = [(_DEPTH, _ROWS), (_DEPTH, columns), (_REPEATS, _ROWS, columns)]
    return 2.0 * _REPEATS * _ROWS * columns * _DEPTH / _fastest(sch.mod, target, shapes)


def copy_rate(target: Target, lanes: int, elements: int) -> float:
    """Bytes per second, read plus written, of one core that copies a float32 array.

    Parameters
    ----------
    target : tvm.target.Target
        A CPU target that runs on this host.
    lanes : int
        float32 elements of a vector register; divides ``elements``.
    elements : int
        Size of the array.

    Returns
    -------
    float
        Bytes per second.
    """
    source = te.placeholder((elements,), name="source")
    copy = te.compute((elements,), lambda i: source[i], name="copy")
    sch = tvm.s_tir.Schedule(te.create_prim_func([source, copy]))
    (loop,) = sch.get_loops(sch.get_sblock("copy"))
    sch.vectorize(sch.split(loop, [None, lanes])[1])
    return 8.0 * elements / _fastest(sch.mod, target, [(elements,), (elements,)])


def call_overhead(target: Target) -> float:
    """Seconds that Relax's virtual machine adds to each kernel: what a program takes longer than its kernels.

    Parameters
    ----------
    target : tvm.target.Target
        A CPU target that runs on this host.

    Returns
    -------
    float
        Seconds of one call, with the look-up of its operands and result.
    """
    source = te.placeholder((_ELEMENTS,), name="source")
    halved = te.compute((_ELEMENTS,), lambda i: source[i] * tirx.const(0.5, "float32"), name="halved")
    sch = tvm.s_tir.Schedule(te.create_prim_func([source, halved]))
    (loop,) = sch.get_loops(sch.get_sblock("halved"))
    sch.vectorize(loop)
    opaque = tirx.IntImm("int32", 8)  # the kernels stay apart
    kernel = sch.mod["main"].without_attr("global_symbol").with_attr({"op_pattern": opaque, "tirx.is_scheduled": True})
    builder, tensor = relax.BlockBuilder(), relax.TensorType((_ELEMENTS,), "float32")
    with builder.function("main", [x := relax.Var("x", tensor)]):
        function, value = builder.add_func(kernel, "halve"), x
        with builder.dataflow():
            for _ in range(_CALLS):
                value = builder.emit(relax.call_tir(function, [value], tensor))
            out = builder.emit_output(value)
        builder.emit_func_output(out)
    machine = relax.VirtualMachine(tvm.compile(builder.get(), target), tvm.cpu())
    array = tvm.runtime.tensor(np.ones(_ELEMENTS, "float32"))
    program = min(machine.time_evaluator("main", tvm.cpu(), number=10, repeat=_WINDOWS)(array).results)
    return max(1e-8, float(program) / _CALLS - _fastest(sch.mod, target, [(_ELEMENTS,), (_ELEMENTS,)]))


def _fastest(mod: tvm.IRModule, target: Target, shapes: list[tuple[int, ...]]) -> float:
    """Seconds of the fastest call."""
    built = tvm.tirx.build(mod, target=target)
    arrays = [tvm.runtime.tensor(np.ones(shape, "float32")) for shape in shapes]
    # the evaluator's first call warms up and is not counted
    once = built.time_evaluator("main", tvm.cpu(), number=1, repeat=2)(*arrays)
    number = max(1, min(100, int(3e-4 / min(once.results))))
    windows = max(3, min(_WINDOWS, int(0.15 / (number * min(once.results)))))
    return float(min(built.time_evaluator("main", tvm.cpu(), number=number, repeat=windows)(*arrays).results))
