"""Everything that isn't in the operator table passes through a block unharmed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import tvm
from tvm import IRModule
from tvm.script import ir as I
from tvm.script import relax as R
from tvm.script import tirx as T

from tests.graph.blocks import check, check_same_results, machine, normal, ops, read_one, round_trip
from tvm_eqsat.graph.module import read_module
from tvm_eqsat.graph.types import TensorType, ValueType


@tvm.register_global_func("tvm_eqsat_test.double")
def _double(x: tvm.runtime.Tensor) -> tvm.runtime.Tensor:
    return tvm.runtime.tensor(2 * x.numpy())


@tvm.register_global_func("tvm_eqsat_test.double_into")
def _double_into(x: tvm.runtime.Tensor, out: tvm.runtime.Tensor) -> None:
    out.copyfrom(2 * x.numpy())


def test_unknown_operators() -> None:
    @I.ir_module
    class Module:
        @R.function
        def main(x: R.Tensor((4, 4), "float32")):
            with R.dataflow():
                a = R.nn.relu(x)
                b = R.cumsum(a, axis=1)
                best = R.topk(b, k=2, axis=1, ret_type="both")
                values = best[0]
                where = best[1]
                gv = R.exp(values)
                R.output(gv, where)
            return gv, where

    assert ops(read_one(Module)) == ["relu", "opaque", "opaque", "opaque", "exp"]
    check(Module, Module)
    check_same_results(Module, normal(0, 4, 4))


def test_call_tir() -> None:
    @I.ir_module
    class Module:
        @T.prim_func(private=True, s_tir=True)
        def both(a: T.Buffer((4, 4), "float32"), s: T.Buffer((4, 4), "float32"), d: T.Buffer((4, 4), "float32")):
            for i, j in T.grid(4, 4):
                with T.sblock("both"):
                    vi, vj = T.axis.remap("SS", [i, j])
                    s[vi, vj] = a[vi, vj] + T.float32(1)
                    d[vi, vj] = a[vi, vj] - T.float32(1)

        @R.function
        def main(x: R.Tensor((4, 4), "float32")):
            cls = Module
            with R.dataflow():
                a = R.nn.relu(x)
                two = R.call_tir(cls.both, (a,), out_ty=[R.Tensor((4, 4), "float32"), R.Tensor((4, 4), "float32")])
                s = two[0]
                d = two[1]
                gv = R.multiply(s, d)
                R.output(gv)
            return gv

    assert ops(read_one(Module)) == ["relu", "opaque", "opaque", "multiply"]
    check(Module, Module)
    check_same_results(Module, normal(0, 4, 4))


def test_packed_functions() -> None:
    @I.ir_module
    class Module:
        @R.function
        def main(x: R.Tensor((4, 4), "float32")):
            with R.dataflow():
                a = R.nn.relu(x)
                b = R.call_pure_packed("tvm_eqsat_test.double", a, ty_args=[R.Tensor((4, 4), "float32")])
                c = R.call_dps_packed("tvm_eqsat_test.double_into", (b,), out_ty=R.Tensor((4, 4), "float32"))
                gv = R.add(c, a)
                R.output(gv)
            return gv

    assert ops(read_one(Module)) == ["relu", "opaque", "opaque", "add"]
    check(Module, Module)
    check_same_results(Module, normal(0, 4, 4))


def test_relax_functions_with_tuples() -> None:
    @I.ir_module
    class Module:
        @R.function(private=True)
        def helper(
            p: R.Tuple(R.Tensor((4,), "float32"), R.Tuple(R.Tensor((4,), "float32"), R.Tensor((4,), "float32"))),
        ) -> R.Tuple(R.Tensor((4,), "float32"), R.Tuple(R.Tensor((4,), "float32"), R.Tensor((4,), "float32"))):
            inner = p[1]
            swapped = (inner[1], (inner[0], p[0]))
            return swapped

        @R.function
        def main(x: R.Tensor((4,), "float32"), q: R.Tuple(R.Tensor((4,), "float32"), R.Tensor((4,), "float32"))):
            cls = Module
            with R.dataflow():
                a = R.exp(x)
                once = cls.helper((a, q))
                twice = cls.helper(once)
                inner = twice[1]
                last = inner[1]
                gv = R.tanh(last)
                R.output(gv, twice)
            return gv, twice

    view = read_module(Module)
    (region,) = view.regions
    assert len(region.opaque) == 2
    assert [kept.result for kept in region.opaque.values()] == [(0, (1, 2))] * 2
    check(Module, Module)
    x, y, z = (normal(i, 4) for i in range(3))
    old, new = (
        machine(m)["main"](tvm.runtime.tensor(x), (tvm.runtime.tensor(y), tvm.runtime.tensor(z)))
        for m in (Module, round_trip(Module))
    )
    np.testing.assert_array_equal(old[0].numpy(), new[0].numpy())
    np.testing.assert_array_equal(old[1][1][0].numpy(), new[1][1][0].numpy())


def test_local_functions_and_closures() -> None:
    @I.ir_module
    class Module:
        @R.function(private=True)
        def add(x: R.Tensor((4,), "float32"), y: R.Tensor((4,), "float32")) -> R.Tensor((4,), "float32"):
            return R.add(x, y)

        @R.function
        def main(x: R.Tensor((4,), "float32"), y: R.Tensor((4,), "float32")):
            cls = Module
            with R.dataflow():

                @R.function
                def inner(z: R.Tensor((4,), "float32")) -> R.Tensor((4,), "float32"):
                    w = R.add(z, y)
                    return w

                a = R.exp(x)
                b = inner(a)
                adder = R.make_closure(cls.add, (b,))
                c = R.invoke_pure_closure(adder, (a,), ty_args=R.Tensor((4,), "float32"))
                gv = R.tanh(c)
                R.output(gv)
            return gv

    assert ops(read_module(Module).regions[0]).count("opaque") == 4
    check(Module, Module)


def test_scalars_shapes_and_strings() -> None:
    @I.ir_module
    class Module:
        @R.function
        def main(x: R.Tensor(("n", 4), "float32"), k: R.Prim("int64")):
            n = T.int64()
            with R.dataflow():
                a = R.exp(x)
                shape = R.shape_of(a)
                flat = R.reshape(a, R.shape([n * 4]))
                taken = R.call_pure_packed(
                    "tvm_eqsat_test.take",
                    flat,
                    shape,
                    k,
                    R.prim_value(3),
                    R.str("rows"),
                    ty_args=[R.Tensor((n * 4,), "float32")],
                )
                gv = R.tanh(taken)
                sizes = R.shape([n, 4])
                R.output(gv, sizes)
            return gv, sizes

    graph = read_one(Module).graph
    assert [n.op for n in graph.nodes if n.op != "input"] == ["exp"] + ["opaque"] * 5
    assert isinstance(next(n.type for n in graph.nodes if n.op == "opaque"), ValueType)
    check(Module, Module)

    @tvm.register_global_func("tvm_eqsat_test.take", override=True)
    def take(x: tvm.runtime.Tensor, shape: Sequence[int], k: int, three: int, what: str) -> tvm.runtime.Tensor:
        assert (list(shape), k, three, what) == ([2, 4], 5, 3, "rows")
        return x

    x = tvm.runtime.tensor(normal(0, 2, 4))
    old, new = (machine(m)["main"](x, 5) for m in (Module, round_trip(Module)))
    np.testing.assert_array_equal(old[0].numpy(), new[0].numpy())
    assert list(old[1]) == list(new[1]) == [2, 4]


def test_scalars_bound_in_the_block_go_where_they_are_used() -> None:
    @I.ir_module
    class Before:
        @R.function
        def main(x: R.Tensor((4,), "float32")):
            with R.dataflow():
                k = R.prim_value(T.int64(3))
                text = R.str("rows")
                args = (k, x)
                gv = R.call_pure_packed("f", args, k, text, ty_args=[R.Tensor((4,), "float32")])
                R.output(gv)
            return gv

    @I.ir_module
    class Expected:
        @R.function
        def main(x: R.Tensor((4,), "float32")):
            with R.dataflow():
                gv = R.call_pure_packed(
                    "f",
                    (R.prim_value(T.int64(3)), x),
                    R.prim_value(T.int64(3)),
                    R.str("rows"),
                    ty_args=[R.Tensor((4,), "float32")],
                )
                R.output(gv)
            return gv

    check(Before, Expected)


def test_unknown_rank_and_dtype() -> None:
    @I.ir_module
    class Module:
        @R.function
        def main(x: R.Tensor((4, 4), "float32"), y: R.Tensor(dtype="float32", ndim=2), z: R.Tensor, o: R.Object):
            with R.dataflow():
                a = R.exp(x)
                b = R.add(a, y)
                c = R.add(b, z)
                weak: R.Tensor(dtype="float32", ndim=2) = R.exp(a)
                d = R.tanh(weak)
                e = R.call_pure_packed("f", o, d, ty_args=[R.Object])
                R.output(c, e)
            return c, e

    assert ops(read_one(Module)) == ["exp"] + ["opaque"] * 5
    check(Module, Module)


def test_tensors_on_a_device() -> None:
    @I.ir_module
    class Module:
        I.module_global_infos({"vdevice": [I.vdevice("llvm"), I.vdevice("cuda", 0)]})

        @R.function
        def main(x: R.Tensor((4, 4), "float32"), y: R.Tensor((4, 4), "float32", "llvm:0")):
            with R.dataflow():
                a = R.exp(x)
                b = R.to_vdevice(a, "cuda:0")
                c = R.exp(b)
                d = R.exp(y)
                e = R.exp(a)
                R.output(c, d, e)
            return c, d, e

    assert ops(read_one(Module)) == ["exp", "opaque", "opaque", "opaque", "exp"]
    check(Module, Module)


def test_opaque_types_are_their_own() -> None:
    @I.ir_module
    class Module:
        @R.function
        def main(x: R.Object, y: R.Object):
            with R.dataflow():
                a = R.call_pure_packed("f", x, ty_args=[R.Object])
                b = R.call_pure_packed("f", x, ty_args=[R.Object])
                R.output(a, b)
            return a, b

    graph = read_one(Module).graph
    assert len({node.type for node in graph.nodes}) == len(graph.nodes) == 3
    check(Module, Module)


def test_a_wrong_inference_makes_a_call_opaque(monkeypatch: pytest.MonkeyPatch) -> None:
    from tvm_eqsat.graph.operator import BY_RELAX_NAME

    @I.ir_module
    class Module:
        @R.function
        def main(x: R.Tensor((4,), "float32")):
            with R.dataflow():
                a = R.exp(x)
                gv = R.tanh(a)
                R.output(gv)
            return gv

    assert ops(read_one(Module)) == ["exp", "tanh"]
    record = BY_RELAX_NAME["relax.exp"]
    infer = record.infer
    for wrong in (lambda types, attrs: TensorType((4,), "float64"), lambda types, attrs: types[0].shape[0] + "1"):
        object.__setattr__(record, "infer", wrong)
        try:
            assert ops(read_one(Module)) == ["opaque", "tanh"]
            check(Module, Module)
        finally:
            object.__setattr__(record, "infer", infer)


@I.ir_module
class Cast:
    @R.function
    def main(x: R.Tensor(("n", 4), "float32")):
        with R.dataflow():
            a = R.exp(x)
            b = R.match_cast(a, R.Tensor((8, 4), "float32"))
            gv = R.exp(b)
            R.output(gv)
        return gv


@I.ir_module
class InPlace:
    @T.prim_func(private=True, s_tir=True)
    def one(a: T.Buffer((4,), "float32")):
        for i in range(4):
            with T.sblock("one"):
                vi = T.axis.remap("S", [i])
                a[vi] = a[vi] + T.float32(1)

    @R.function
    def main(x: R.Tensor((4,), "float32")):
        cls = InPlace
        with R.dataflow():
            a = R.exp(x)
            b = R.call_tir_inplace(cls.one, (a,), inplace_indices=[0], out_ty=R.Tensor((4,), "float32"))
            gv = R.exp(b)
            R.output(gv)
        return gv


@I.ir_module
class Scalar:
    @R.function
    def main(x: R.Tensor((4,), "float32")):
        with R.dataflow():
            k = R.prim_value(T.int64(3))
            gv = R.exp(x)
            R.output(gv, k)
        return gv


@I.ir_module
class Captured:
    @R.function
    def main(x: R.Tensor((4,), "float32")):
        with R.dataflow():
            a = R.exp(x)

            @R.function
            def inner(z: R.Tensor((4,), "float32")) -> R.Tensor((4,), "float32"):
                w = R.add(z, a)
                return w

            gv = inner(x)
            R.output(a, gv)
        return gv


@I.ir_module
class Recursive:
    @R.function
    def main(x: R.Tensor((4,), "float32")):
        with R.dataflow():

            @R.function
            def inner(z: R.Tensor((4,), "float32")) -> R.Tensor((4,), "float32"):
                w = inner(z)
                return w

            gv = inner(x)
            R.output(gv)
        return gv


@I.ir_module
class ScalarSum:
    @R.function
    def main(x: R.Tensor((4,), "float32")):
        with R.dataflow():
            k = R.prim_value(T.int64(3))
            gv = R.call_pure_packed("f", R.prim_value(k + T.int64(1)), ty_args=[R.Tensor((4,), "float32")])
            R.output(gv)
        return gv


@pytest.mark.parametrize(
    ("mod", "reason"),
    [
        (Cast, "b is bound by match_cast"),
        (InPlace, "relax.call_tir_inplace changes its operands"),
        (Scalar, "k is a scalar"),
        (Captured, "a Function depends on a, a variable of the block"),
        (Recursive, "a Function depends on inner, a variable of the block"),
        (ScalarSum, "a Add depends on k, a variable of the block"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_blocks_that_are_left_alone(mod: IRModule, reason: str) -> None:
    view = read_module(mod)
    assert view.regions == []
    (skipped,) = view.skipped
    assert skipped.where == "main, block 0"
    assert reason in skipped.reason
    assert view.rebuild([], 0) is mod


def test_unchanged_kept_expressions_are_the_same_objects() -> None:
    @I.ir_module
    class Module:
        @R.function
        def main(x: R.Tensor((4, 4), "float32")):
            with R.dataflow():
                a = R.cumsum(x, axis=1)
                gv = R.exp(a)
                R.output(gv)
            return gv

    old, new = (m["main"].body.blocks[0].bindings[0].value for m in (Module, round_trip(Module)))
    assert old.same_as(new)
