"""A ``TensorGraph`` as a Relax module of its own, apart from the block that it came from."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tvm import IRModule, ir, relax

from .region import Region
from .relax_emit import emit_block
from .tensor_graph import TensorGraph
from .types import TensorType, ValueType


def standalone(mod: IRModule, region: Region, graph: TensorGraph, fold_limit: int, *, whole: bool = True) -> IRModule:
    """A module whose function ``main`` computes a graph.

    Parameters
    ----------
    mod : tvm.IRModule
        The module that the region is in: functions that the graph's kept expressions call are taken along.
    region : Region
        Where the graph comes from.
    graph : TensorGraph
        The region's own, a part of it, or an equivalent of either.
    fold_limit : int
        The most bytes of a folded constant.
    whole : bool
        Whether it has the region's inputs and outputs. A part has its own, all of them tensors of static shape.

    Returns
    -------
    tvm.IRModule
        The parameters are the graph's inputs, weights behind the others (``num_input`` tells where they begin), and the
        shape variables. It returns a tuple of the graph's outputs.
    """
    leaves: dict[int, tuple[bool, relax.Var]] = {}
    for i in graph.live():
        node = graph.nodes[i]
        if node.op == "input":
            attrs: Any = node.attrs
            ty = region.inputs[attrs.index].ty if whole else _relax_type(node.type)
            leaves[attrs.index] = bool(attrs.weight), relax.Var(f"p{attrs.index}", ty)
    if whole:
        outputs, trees = region.outputs, region.output_trees
    else:
        outputs = [relax.Var(f"out{k}", _relax_type(graph.nodes[i].type)) for k, i in enumerate(graph.outputs)]
        trees = list(range(len(outputs)))
    inputs = [leaves[k][1] if k in leaves else relax.Var("unused") for k in range(max(leaves, default=-1) + 1)]
    apart = Region(region.block, graph, inputs, outputs, trees, region.opaque)
    builder = relax.BlockBuilder(_called(mod, [kept.expr for kept in region.opaque.values()]))
    block = emit_block(apart, graph, fold_limit, builder=builder)
    params = [var for weight, var in leaves.values() if not weight]
    body = relax.SeqExpr([block], relax.Tuple(outputs))
    ret_ty = ir.TupleType([var.ty for var in outputs])
    function = relax.Function(params, body, ret_ty, is_pure=True)
    symbols = list(relax.analysis.free_symbolic_vars(function))
    if symbols:
        params.append(relax.Var("shape", relax.ShapeType(symbols)))
    weights = [var for weight, var in leaves.values() if weight]
    function = relax.Function([*params, *weights], body, ret_ty, is_pure=True)
    module = builder.get().clone()
    module["main"] = function.with_attr({"global_symbol": "main", "num_input": len(params)})
    return module


def _called(mod: IRModule, exprs: Iterable[relax.Expr]) -> IRModule:
    """The functions of a module that some expressions call, and what these call."""
    found: dict[ir.GlobalVar, ir.BaseFunc] = {}
    todo = list(exprs)

    def visit(expr: relax.Expr) -> None:
        if isinstance(expr, ir.GlobalVar) and expr not in found and expr in mod.functions:
            found[expr] = mod[expr]
            if isinstance(mod[expr], relax.Function):
                todo.append(mod[expr])

    while todo:
        relax.analysis.post_order_visit(todo.pop(), visit)
    return IRModule(found)


def _relax_type(type: TensorType | ValueType) -> ir.Type:
    assert isinstance(type, TensorType), "a program is cut only where tensors pass"
    return relax.TensorType(list(type.shape), type.dtype)
