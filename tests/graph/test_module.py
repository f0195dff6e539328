"""Finding the dataflow blocks of a module, and putting others in their place."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from tvm import IRModule, relax, te
from tvm.script import ir as I
from tvm.script import relax as R
from tvm.script import tirx as T

from tests.graph.blocks import LIMIT, check, check_same_results, normal, ops, read_one, round_trip
from tvm_eqsat.graph.module import read_module
from tvm_eqsat.graph.operator import OPERATORS, Operator


@I.ir_module
class Several:
    I.module_attrs({"answer": 42})
    I.module_global_infos({"vdevice": [I.vdevice("llvm")]})

    @T.prim_func(private=True, s_tir=True)
    def one(a: T.Buffer((4,), "float32"), b: T.Buffer((4,), "float32")):
        for i in range(4):
            with T.sblock("one"):
                vi = T.axis.remap("S", [i])
                b[vi] = a[vi] + T.float32(1)

    @R.function
    def untouched(x: R.Tensor((4,), "float32")):
        y = R.exp(x)
        return y

    @R.function
    def first(x: R.Tensor((4,), "float32")):
        R.func_attr({"num_input": 1, "mine": "yes"})
        with R.dataflow():
            a = R.exp(x)
            b = R.exp(x)
            gv = R.add(a, b)
            R.output(gv)
        return gv

    @R.function(pure=False)
    def main(x: R.Tensor((4,), "float32")):
        cls = Several
        with R.dataflow():
            a = R.exp(x)
            b = R.exp(x)
            gv = R.add(a, b)
            R.output(gv)
        R.print(gv, format="{}")
        c = R.call_tir(cls.one, (gv,), out_ty=R.Tensor((4,), "float32"))
        with R.dataflow():
            d = cls.first(c)
            e = R.tanh(d)
            f = R.tanh(d)
            gv1 = R.add(e, f)
            R.output(gv1)
        return gv1


def test_every_block_of_every_function_is_read() -> None:
    view = read_module(Several)
    assert [region.where for region in view.regions] == ["first, block 0", "main, block 0", "main, block 2"]
    assert [ops(region) for region in view.regions] == [["exp", "add"], ["exp", "add"], ["opaque", "tanh", "add"]]
    assert view.skipped == []


def test_everything_else_is_the_very_same_object() -> None:
    new = round_trip(Several)
    old = Several
    assert new.attrs.same_as(old.attrs)
    assert new.global_infos["vdevice"].same_as(old.global_infos["vdevice"])
    assert set(new.functions) == set(old.functions)
    for name in ("one", "untouched"):
        assert new[name].same_as(old[name])
    for name in ("first", "main"):
        mine, theirs = new[name], old[name]
        assert not mine.same_as(theirs)
        assert mine.attrs.same_as(theirs.attrs)
        assert mine.ret_ty.same_as(theirs.ret_ty)
        assert mine.is_pure == theirs.is_pure
        assert all(a.same_as(b) for a, b in zip(mine.params, theirs.params, strict=True))
    assert new["main"].body.blocks[1].same_as(old["main"].body.blocks[1])
    assert [len(block.bindings) for block in new["main"].body.blocks] == [2, 2, 3]


def test_only_the_given_blocks_change() -> None:
    view = read_module(Several)
    assert view.rebuild([None] * 3, LIMIT) is Several
    new = view.rebuild([None, None, view.regions[2].graph], LIMIT)
    relax.analysis.well_formed(new)
    assert new["first"].same_as(Several["first"])
    old_blocks, blocks = Several["main"].body.blocks, new["main"].body.blocks
    assert blocks[0].same_as(old_blocks[0])
    assert not blocks[2].same_as(old_blocks[2])
    with pytest.raises(ValueError, match="zip"):
        view.rebuild([None], LIMIT)


def test_the_original_is_not_changed() -> None:
    before = Several.script(show_meta=True)
    round_trip(Several)
    assert Several.script(show_meta=True) == before


@I.ir_module
class Branches:
    @R.function
    def main(x: R.Tensor((4,), "float32"), c: R.Tensor((), "bool")) -> R.Tensor((4,), "float32"):
        with R.dataflow():
            a = R.exp(x)
            b = R.exp(x)
            R.output(a, b)
        if c:
            with R.dataflow():
                d = R.add(a, b)
                e = R.add(a, b)
                f = R.add(d, e)
                R.output(f)
            y = f
        else:
            with R.dataflow():
                g = R.subtract(a, b)
                h = R.tanh(g)
                i = R.tanh(g)
                j = R.add(h, i)
                R.output(j)
            y = j
        with R.dataflow():
            z = R.tanh(y)
            R.output(z)
        return z


def test_blocks_in_branches() -> None:
    view = read_module(Branches)
    assert [ops(region) for region in view.regions] == [["exp"], ["add", "add"], ["subtract", "tanh", "add"], ["tanh"]]
    new = round_trip(Branches)
    branch = new["main"].body.blocks[1].bindings[0].value
    assert [len(b.blocks[0].bindings) for b in (branch.true_branch, branch.false_branch)] == [2, 3]
    # TVM 0.27 crashes when a branch runs on storage that was planned, and allocated, inside of the other one.
    with tvm.transform.PassContext(disabled_pass=["StaticPlanBlockMemory"]):
        for flag in (True, False):
            check_same_results(Branches, normal(0, 4), np.array(flag))


def test_only_a_branch_changes() -> None:
    view = read_module(Branches)
    graphs = [None, None, view.regions[2].graph, None]
    new = view.rebuild(graphs, LIMIT)
    relax.analysis.well_formed(new)
    old, mine = (mod["main"].body.blocks[1].bindings[0] for mod in (Branches, new))
    assert mine.var.same_as(old.var)
    assert mine.value.true_branch.same_as(old.value.true_branch)
    assert not mine.value.false_branch.same_as(old.value.false_branch)


def test_blocks_in_local_functions() -> None:
    @I.ir_module
    class Module:
        @R.function
        def main(x: R.Tensor((4,), "float32")):
            @R.function
            def inner(y: R.Tensor((4,), "float32")) -> R.Tensor((4,), "float32"):
                with R.dataflow():
                    a = R.exp(y)
                    b = R.exp(y)
                    c = R.add(a, b)
                    R.output(c)
                return c

            z = inner(x)
            return z

    region = read_one(Module)
    assert ops(region) == ["exp", "add"]
    new = round_trip(Module)
    assert len(new["main"].body.blocks[0].bindings[0].value.body.blocks[0].bindings) == 2


@pytest.mark.parametrize("attribute", ["Primitive", "Codegen", "Composite"])
def test_functions_of_code_generators_are_left_alone(attribute: str) -> None:
    mod = IRModule({**Several.functions})
    name = mod.get_global_var("first")
    mod.update_func(name, mod[name].with_attr(attribute, "x"))
    view = read_module(mod)
    assert [region.function for region in view.regions] == ["main", "main"]
    assert view.skipped == [("first", f"it has the attribute {attribute}")]


def test_a_module_without_dataflow() -> None:
    view = read_module(IRModule())
    assert view.regions == view.skipped == []
    assert view.rebuild([], LIMIT) is view.mod


def test_operators_may_bring_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Emission as ``call_tir`` puts the PrimFunc into the new module, once, under a free name."""

    def twice(x: te.Tensor) -> te.Tensor:
        return te.compute(x.shape, lambda *i: x(*i) + x(*i), name="one")

    record = OPERATORS["exp"]
    double = Operator(
        name="double",
        relax="",
        arity=1,
        infer=record.infer,
        numpy=lambda arrays, a: 2 * arrays[0],
        emit=lambda exprs, a: relax.BlockBuilder.current().call_te(twice, *exprs, primfunc_name_hint="one"),
    )
    monkeypatch.setitem(OPERATORS, "double", double)
    view = read_module(Several)
    region = view.regions[0]
    graph = region.graph
    graph.outputs = [graph.add("double", (graph.add("double", (0,)),))]
    new = view.rebuild([graph, None, None], LIMIT)
    relax.analysis.well_formed(new)
    added = {name.name_hint for name in new.functions} - {name.name_hint for name in Several.functions}
    assert len(added) == 1
    assert added != {"one"}
    assert new["one"].same_as(Several["one"])
    x = tvm.runtime.tensor(normal(0, 4))
    result = relax.VirtualMachine(tvm.compile(new, tvm.target.Target("llvm")), tvm.cpu())["first"](x)
    np.testing.assert_allclose(result.numpy(), 4 * x.numpy())
    assert relax.BlockBuilder.current() is None


def test_names_of_different_blocks_do_not_clash() -> None:
    view = read_module(Several)
    for region in view.regions:
        graph = region.graph
        graph.outputs = [graph.add("tanh", (graph.add("tanh", (output,)),)) for output in graph.outputs]
    new = view.rebuild([region.graph for region in view.regions], LIMIT)
    names = [binding.var.name for block in new["main"].body.blocks for binding in block.bindings]
    assert len(names) == len(set(names))
    check(new, new)
