"""What reading a block and writing it again does to it: the table's operators."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from tvm import relax
from tvm.script import ir as I
from tvm.script import relax as R
from tvm.script import tirx as T

from tests.graph.blocks import check, check_same_results, normal, ops, read_one, round_trip
from tvm_eqsat.errors import ExtractionError
from tvm_eqsat.graph.operator import OPERATORS
from tvm_eqsat.graph.relax_emit import emit_block
from tvm_eqsat.graph.tensor_graph import TensorGraph


def test_common_subexpressions_are_computed_once() -> None:
    @I.ir_module
    class Before:
        @R.function
        def main(x: R.Tensor((4, 4), "float32"), y: R.Tensor((4, 4), "float32")):
            with R.dataflow():
                a = R.add(x, y)
                b = R.add(x, y)
                c = R.multiply(a, R.const(np.float32(2)))
                d = R.multiply(b, R.const(np.float32(2)))
                gv = R.subtract(c, d)
                R.output(gv)
            return gv

    @I.ir_module
    class Expected:
        @R.function
        def main(x: R.Tensor((4, 4), "float32"), y: R.Tensor((4, 4), "float32")):
            with R.dataflow():
                a = R.add(x, y)
                c = R.multiply(a, R.const(np.float32(2)))
                gv = R.subtract(c, c)
                R.output(gv)
            return gv

    check(Before, Expected)


def test_dead_code_is_dropped() -> None:
    @I.ir_module
    class Before:
        @R.function
        def main(x: R.Tensor((4, 4), "float32")):
            with R.dataflow():
                a = R.nn.relu(x)
                dead = R.exp(a)
                _ = R.call_dps_packed("nothing", (dead,), out_ty=R.Tensor((4, 4), "float32"))
                gv = R.tanh(a)
                R.output(gv)
            return gv

    @I.ir_module
    class Expected:
        @R.function
        def main(x: R.Tensor((4, 4), "float32")):
            with R.dataflow():
                a = R.nn.relu(x)
                gv = R.tanh(a)
                R.output(gv)
            return gv

    check(Before, Expected)


WEIGHT = normal(0, 8, 16)


@I.ir_module
class Transposed:
    @R.function
    def main(x: R.Tensor((2, 8), "float32")):
        with R.dataflow():
            w = R.permute_dims(R.const(WEIGHT.T.copy()), axes=[1, 0])
            z = R.multiply(R.const(WEIGHT), R.const(np.float32(0)))
            both = R.add(w, z)
            gv = R.matmul(x, both)
            R.output(gv)
        return gv


def test_constants_are_folded() -> None:
    @I.ir_module
    class Expected:
        @R.function
        def main(x: R.Tensor((2, 8), "float32")):
            with R.dataflow():
                gv = R.matmul(x, R.const(WEIGHT + np.float32(0)))
                R.output(gv)
            return gv

    check(Transposed, Expected, limit=WEIGHT.nbytes)
    check_same_results(Transposed, normal(1, 2, 8))


def test_constants_above_the_limit_are_not_folded() -> None:
    check(Transposed, Transposed, limit=WEIGHT.nbytes - 1)


def test_a_folded_value_may_need_one_that_is_not() -> None:
    @I.ir_module
    class Before:
        @R.function
        def main(x: R.Tensor((8,), "float32")):
            with R.dataflow():
                small = R.add(R.const(np.float32(1)), R.const(np.float32(2)))
                large = R.broadcast_to(small, R.shape([1000, 8]))
                total = R.sum(large, axis=[0])
                gv = R.add(x, total)
                R.output(gv)
            return gv

    @I.ir_module
    class Expected:
        @R.function
        def main(x: R.Tensor((8,), "float32")):
            with R.dataflow():
                large = R.broadcast_to(R.const(np.float32(3)), R.shape([1000, 8]))
                total = R.sum(large, axis=[0])
                gv = R.add(x, total)
                R.output(gv)
            return gv

    check(Before, Expected, limit=100)


def test_original_constants_are_not_copied() -> None:
    region = read_one(Transposed)
    new = round_trip(Transposed, limit=0)
    value = new["main"].body.blocks[0].bindings[1].value.args[0]
    old = Transposed["main"].body.blocks[0].bindings[1].value.args[0]
    assert value.same_as(old)
    arrays = [node.attrs.value.array for node in region.graph.nodes if node.op == "constant"]
    assert any(np.shares_memory(array, np.from_dlpack(old.value)) for array in arrays)
    assert not any(array.flags.writeable for array in arrays)


def test_dropout_is_its_operand() -> None:
    @I.ir_module
    class Before:
        @R.function
        def main(x: R.Tensor((4, 4), "float32")):
            with R.dataflow():
                a = R.nn.relu(x)
                b = R.nn.dropout(a, rate=0.5)
                c = b[0]
                _unused = b[1]
                gv = R.exp(c)
                R.output(gv)
            return gv

    @I.ir_module
    class Expected:
        @R.function
        def main(x: R.Tensor((4, 4), "float32")):
            with R.dataflow():
                a = R.nn.relu(x)
                gv = R.exp(a)
                R.output(gv)
            return gv

    check(Before, Expected)


def test_dropout_stays_where_its_mask_is_used() -> None:
    @I.ir_module
    class Module:
        @R.function
        def main(x: R.Tensor((4, 4), "float32")):
            with R.dataflow():
                b = R.nn.dropout(x, rate=0.5)
                c = b[0]
                mask = b[1]
                gv = R.add(c, mask)
                R.output(gv)
            return gv

    check(Module, Module)
    assert ops(read_one(Module)) == ["opaque", "opaque", "add"]


def test_dropout_stays_where_it_is_passed_on_whole() -> None:
    @I.ir_module
    class Module:
        @R.function
        def main(x: R.Tensor((4, 4), "float32")):
            with R.dataflow():
                gv = R.nn.dropout(x, rate=0.5)
                R.output(gv)
            return gv

    check(Module, Module)
    assert set(ops(read_one(Module))) == {"opaque"}


STATISTICS = [normal(i, 3) for i in range(3)] + [np.ones(3, "float32")]


@I.ir_module
class Normalised:
    @R.function
    def main(x: R.Tensor((2, 3, 4, 4), "float32")):
        with R.dataflow():
            bn = R.nn.batch_norm(
                x,
                R.const(STATISTICS[0]),
                R.const(STATISTICS[1]),
                R.const(STATISTICS[2]),
                R.const(STATISTICS[3]),
                axis=1,
                training=False,
            )
            out = bn[0]
            _mean = bn[1]
            gv = R.nn.relu(out)
            R.output(gv)
        return gv


def test_batch_norm_is_an_operator_if_only_its_first_field_is_used() -> None:
    assert ops(read_one(Normalised)) == ["batch_norm", "relu"]
    check_same_results(Normalised, normal(5, 2, 3, 4, 4))


def test_batch_norm_is_opaque_if_another_field_is_used() -> None:
    @I.ir_module
    class Module:
        @R.function
        def main(x: R.Tensor((2, 3, 4, 4), "float32"), s: R.Tensor((3,), "float32")):
            with R.dataflow():
                bn = R.nn.batch_norm(x, s, s, s, s, axis=1, training=False)
                out = bn[0]
                mean = bn[1]
                gv = R.nn.relu(out)
                R.output(gv, mean)
            return gv, mean

    check(Module, Module)
    assert ops(read_one(Module)) == ["opaque", "opaque", "relu"]


def test_split_becomes_slices() -> None:
    @I.ir_module
    class Before:
        @R.function
        def main(x: R.Tensor((4, 7), "float32")):
            with R.dataflow():
                parts = R.split(x, [2, 5], axis=1)
                a = parts[0]
                c = parts[2]
                gv = R.add(a, c)
                R.output(gv)
            return gv

    region = read_one(Before)
    assert ops(region) == ["slice", "slice", "add"]
    live = [region.graph.nodes[i] for i in region.graph.live()]
    assert [tuple(n.attrs)[:3] for n in live if n.op == "slice"] == [(1, 0, 2), (1, 5, 7)]
    assert set(region.graph.names.values()) == {"x", "a", "c"}
    check_same_results(Before, normal(0, 4, 7))


def test_squeeze_and_its_kind_become_reshape() -> None:
    @I.ir_module
    class Before:
        @R.function
        def main(x: R.Tensor((1, 4, 1, 6), "float32")):
            with R.dataflow():
                a = R.squeeze(x, axis=[0])
                b = R.expand_dims(a, axis=[0])
                c = R.exp(b)
                gv = R.flatten(c)
                R.output(gv)
            return gv

    @I.ir_module
    class Expected:
        @R.function
        def main(x: R.Tensor((1, 4, 1, 6), "float32")):
            with R.dataflow():
                a = R.reshape(x, R.shape([4, 1, 6]))
                b = R.reshape(a, R.shape([1, 4, 1, 6]))
                c = R.exp(b)
                gv = R.reshape(c, R.shape([24]))
                R.output(gv)
            return gv

    check(Before, Expected)


def test_tuples_of_all_kinds_are_seen_through() -> None:
    @I.ir_module
    class Before:
        @R.function
        def main(x: R.Tensor((2, 4), "float32"), p: R.Tuple(R.Tensor((2, 4), "float32"), R.Tensor((2, 4), "float32"))):
            with R.dataflow():
                a = R.nn.relu(x)
                t = (a, (x, R.const(np.ones((2, 4), "float32"))))
                inner = t[1]
                b = inner[1]
                parts = R.split(x, 2, axis=0)
                c = R.concat(inner, axis=0)
                d = R.concat(parts, axis=0)
                e = R.concat(p, axis=0)
                f = R.concat((b, c, d, e), axis=0)
                g = p[1]
                h = R.concat((f, g), axis=0)
                alias = h
                gv = R.exp(alias)
                R.output(gv)
            return gv

    region = read_one(Before)
    assert "opaque" not in ops(region)
    assert [str(expr) for expr in region.inputs] == ["x", "p[0]", "p[1]"]
    new = round_trip(Before)
    tvm.ir.assert_structural_equal(round_trip(new), new)
    x, y, z = normal(0, 2, 4), normal(1, 2, 4), normal(2, 2, 4)
    nodes, values = region.graph.nodes, {}
    for i in region.graph.live():
        n = nodes[i]
        is_input = n.op == "input"
        values[i] = (
            [x, y, z][n.attrs.index] if is_input else OPERATORS[n.op].numpy([values[k] for k in n.inputs], n.attrs)
        )
    expected = np.exp(np.concatenate([np.ones((2, 4), "float32"), x, np.ones((2, 4), "float32"), x, y, z, z]))
    np.testing.assert_allclose(values[region.graph.outputs[0]], expected, rtol=1e-6)


def test_literals_behind_variables_are_seen_through() -> None:
    @I.ir_module
    class Before:
        @R.function
        def main(x: R.Tensor((4, 6), "float32")):
            with R.dataflow():
                shape = R.shape([6, 4])
                a = R.reshape(x, shape)
                pair = (a, x)
                b = pair[0]
                triple = (a, a, b)
                gv = R.concat(triple, axis=1)
                R.output(gv)
            return gv

    @I.ir_module
    class Expected:
        @R.function
        def main(x: R.Tensor((4, 6), "float32")):
            with R.dataflow():
                a = R.reshape(x, R.shape([6, 4]))
                gv = R.concat((a, a, a), axis=1)
                R.output(gv)
            return gv

    assert ops(read_one(Before)) == ["reshape", "concat"]
    check(Before, Expected)


def test_outputs_that_are_inputs_constants_or_each_other_keep_their_bindings() -> None:
    @I.ir_module
    class Module:
        @R.function
        def main(x: R.Tensor((4,), "float32")):
            with R.dataflow():
                a = R.exp(x)
                same = x
                two = R.const(np.float32(2))
                first = R.tanh(a)
                second = first
                R.output(same, two, first, second)
            return same, two, first, second

    @I.ir_module
    class Expected:
        @R.function
        def main(x: R.Tensor((4,), "float32")):
            with R.dataflow():
                a = R.exp(x)
                first = R.tanh(a)
                same = x
                two = R.const(np.float32(2))
                second = first
                R.output(same, two, first, second)
            return same, two, first, second

    check(Module, Expected)
    check_same_results(Module, normal(0, 4))


def test_output_variables_are_the_same_objects() -> None:
    new = round_trip(Normalised)["main"]
    old = Normalised["main"]
    assert new.body.blocks[0].bindings[-1].var.same_as(old.body.blocks[0].bindings[-1].var)
    assert new.body.body.same_as(old.body.body)


def test_outputs_may_be_tuples() -> None:
    @I.ir_module
    class Before:
        @R.function
        def main(x: R.Tensor((4,), "float32")):
            with R.dataflow():
                a = R.exp(x)
                b = R.exp(x)
                pair = (a, (x, b))
                other = pair
                R.output(pair, other)
            return pair, other

    @I.ir_module
    class Expected:
        @R.function
        def main(x: R.Tensor((4,), "float32")):
            with R.dataflow():
                a = R.exp(x)
                pair = (a, (x, a))
                other = (a, (x, a))
                R.output(pair, other)
            return pair, other

    region = read_one(Before)
    assert region.output_trees == [(0, (1, 2)), (3, (4, 5))]
    assert len(region.graph.outputs) == 6
    check(Before, Expected)
    check_same_results(Before, normal(0, 4))


def test_an_output_declared_with_less_than_its_type() -> None:
    @I.ir_module
    class Module:
        @R.function
        def main(x: R.Tensor((4, 4), "float32")):
            with R.dataflow():
                a = R.exp(x)
                weak: R.Tensor(dtype="float32", ndim=2) = a
                b = R.tanh(a)
                R.output(weak, b)
            return weak, b

    new = round_trip(Module)
    tvm.ir.assert_structural_equal(new["main"].ret_ty, Module["main"].ret_ty)
    tvm.ir.assert_structural_equal(round_trip(new), new)
    check_same_results(Module, normal(0, 4, 4))


def test_a_graph_must_fit_its_region() -> None:
    region = read_one(Normalised)
    with pytest.raises(ExtractionError, match="0 outputs can't replace one with 1"):
        emit_block(region, TensorGraph(), 0)
    region.graph.outputs = [region.graph.add("relu", (0,)), 1][:1]
    emit_block(region, region.graph, 0)
    region.graph.outputs = [region.graph.add("reshape", (0,), OPERATORS["reshape"].make_attrs(shape=(96,)))]
    with pytest.raises(ExtractionError, match=r"gv is a .*, it can't be bound to a "):
        emit_block(region, region.graph, 0)


def test_new_variables_get_new_names() -> None:
    @I.ir_module
    class Module:
        @R.function
        def main(lv: R.Tensor((4,), "float32"), lv2: R.Tensor((4,), "float32")):
            with R.dataflow():
                lv1 = R.exp(lv)
                gv = R.tanh(lv1)
                R.output(gv)
            lv4 = R.nn.relu(lv2)
            return gv, lv4

    region = read_one(Module)
    graph = TensorGraph()
    node = graph.add("input", (), region.graph.nodes[0].attrs)
    for op in ("exp", "exp", "exp", "exp"):
        node = graph.add(op, (node,))
    graph.names.update({2: "lv1", 3: "lv"})
    graph.outputs = [node]
    block = emit_block(region, graph, 0, taken={"lv5"})
    assert [binding.var.name for binding in block.bindings] == ["lv3", "lv1", "lv6", "gv"]


def test_emitting_is_deterministic() -> None:
    first, second = round_trip(Transposed), round_trip(Transposed)
    assert first.script(show_meta=True) == second.script(show_meta=True)


def test_symbolic_dimensions_are_one_symbol_each() -> None:
    @I.ir_module
    class Module:
        @R.function
        def main(x: R.Tensor(("n", 8), "float32"), y: R.Tensor(("n", 8), "float32"), z: R.Tensor(("m", 8), "float32")):
            n = T.int64()
            with R.dataflow():
                a = R.add(x, y)
                b = R.matmul(a, R.const(WEIGHT))
                c = R.concat((a, z), axis=0)
                d = R.reshape(a, R.shape([n * 8]))
                e = R.exp(c)
                R.output(b, d, e)
            return b, d, e

    region = read_one(Module)
    assert ops(region) == ["add", "matmul", "opaque", "opaque", "opaque"]
    graph = region.graph
    a, b = (next(n.type for n in graph.nodes if n.op == op) for op in ("add", "matmul"))
    assert a.shape[0] is b.shape[0]
    assert b.shape[1] == 16
    check(Module, Module)
    check_same_results(Module, normal(0, 3, 8), normal(1, 3, 8), normal(2, 2, 8))


def test_weights_are_marked() -> None:
    @I.ir_module
    class Module:
        @R.function
        def main(
            x: R.Tensor((2, 4), "float32"), w: R.Tensor((4, 4), "float32"), ws: R.Tuple(R.Tensor((4,), "float32"))
        ):
            R.func_attr({"num_input": 1})
            with R.dataflow():
                a = R.matmul(x, w)
                bias = ws[0]
                gv = R.add(a, bias)
                R.output(gv)
            return gv

    region = read_one(Module)
    weights = {str(region.inputs[n.attrs.index]): n.attrs.weight for n in region.graph.nodes if n.op == "input"}
    assert weights == {"x": False, "w": True, "ws[0]": True}
    check(Module, Module)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "int8", "uint8", "int64", "bool", "float64"])
def test_dtypes(dtype: str) -> None:
    value = np.zeros((2, 3), "int8") if dtype == "bool" else np.arange(6).reshape(2, 3)
    one = relax.const(value, dtype)
    x = relax.Var("x", relax.TensorType((2, 3), dtype))
    builder = relax.BlockBuilder()
    with builder.function("main", [x]):
        with builder.dataflow():
            both = builder.emit(relax.op.concat([x, one], 0))
            out = builder.emit_output(relax.op.permute_dims(both, [1, 0]))
        builder.emit_func_output(out)
    module = builder.get()
    region = read_one(module)
    assert ops(region) == ["concat", "permute_dims"]
    assert {node.type.dtype for node in region.graph.nodes} == {dtype}
    check(module, module)


def test_empty_tensors() -> None:
    @I.ir_module
    class Module:
        @R.function
        def main(x: R.Tensor((0, 4), "float32")):
            with R.dataflow():
                a = R.exp(x)
                gv = R.concat((a, R.const(np.zeros((0, 4), "float32"))), axis=0)
                R.output(gv)
            return gv

    check(Module, Module)


def test_a_block_without_work() -> None:
    @I.ir_module
    class Module:
        @R.function
        def main(x: R.Tensor((4,), "float32")):
            with R.dataflow():
                gv = x
                R.output(gv)
            return gv

    check(Module, Module)
