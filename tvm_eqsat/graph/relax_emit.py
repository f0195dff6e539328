"""``TensorGraph`` → Relax dataflow block."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import tvm_ffi
from tvm import ir, relax, runtime

from ..errors import ExtractionError
from .fold import fold_constants
from .operator import OPERATORS
from .region import Region, Tree, paths
from .relax_import import is_literal
from .tensor_graph import Constant, TensorGraph

# One evaluation of a kept expression: its key and its operands.
_Evaluation = tuple[int, tuple[int, ...]]


def emit_block(
    region: Region,
    graph: TensorGraph,
    fold_limit: int,
    *,
    builder: relax.BlockBuilder | None = None,
    taken: Collection[str] = (),
) -> relax.DataflowBlock:
    """Write a graph as a block that takes the place of the region's.

    The new block binds the same output variables, so nothing around it changes. Code that no output depends on is
    dropped, each node is computed once, and constants are folded.

    Parameters
    ----------
    region : Region
        Where the graph belongs.
    graph : TensorGraph
        A graph over the region's inputs and kept expressions, with as many outputs as the region's own; ``names``
        are used where they are free.
    fold_limit : int
        The most bytes of a folded constant; see :func:`~tvm_eqsat.graph.fold.fold_constants`.
    builder : relax.BlockBuilder, optional
        Receives the functions of operators that are emitted as ``call_tir``. While they are emitted it is
        ``BlockBuilder.current()``.
    taken : collection of str
        More names that new variables must not have.

    Raises
    ------
    ExtractionError
        The graph's outputs don't fit the region's.
    """
    if len(graph.outputs) != len(region.graph.outputs):
        raise ExtractionError(
            f"{region.where}: a graph with {len(graph.outputs)} outputs can't replace one with"
            f" {len(region.graph.outputs)}"
        )
    builder = builder or relax.BlockBuilder()
    relax.BlockBuilder._stack.append(builder)  # what makes it current; TVM has no public way outside of a function
    try:
        return _Emitter(region, graph, fold_limit, builder, taken).run()
    finally:
        relax.BlockBuilder._stack.pop()


class _Emitter:
    def __init__(
        self, region: Region, graph: TensorGraph, limit: int, builder: relax.BlockBuilder, taken: Collection[str]
    ) -> None:
        self.region = region
        self.graph = graph
        self.builder = builder
        self.bindings: list[relax.VarBinding] = []
        self.folded = fold_constants(graph, limit)
        self.needed = _needed(graph, self.folded)
        self.exprs: dict[int, relax.Expr] = {}
        # Values of kept expressions, and the parts of those that are tuples, by the field indices that lead there.
        self.parts: dict[tuple[_Evaluation, tuple[int, ...]], relax.Expr] = {}
        self.paths = {key: list(paths(kept.result)) for key, kept in region.opaque.items()}
        # Nodes that are used other than as a part of the whole value of a kept expression.
        self.alone = {k for i in self.needed for k in self.operands(i)}
        # The output variables that can be bound to a node, or to a kept expression, themselves.
        self.node_outputs: dict[int, relax.Var] = {}
        self.kept_outputs: dict[_Evaluation, relax.Var] = {}
        for var, tree in zip(region.outputs, region.output_trees, strict=True):
            whole = self.evaluation(tree, graph.outputs)
            self.alone.update(self.singles(tree, graph.outputs))
            if isinstance(tree, int):
                self.node_outputs.setdefault(graph.outputs[tree], var)
            elif whole is not None:
                self.kept_outputs.setdefault(whole, var)
        fixed = {var.name for var in [*region.inputs, *region.outputs] if isinstance(var, relax.Var)}
        self.names = {*region.taken, *taken, *fixed}
        wanted = {kept.name for kept in region.opaque.values()}
        wanted.update(graph.names[i] for i in self.needed if i in graph.names)
        self.reserved = wanted - fixed
        self.counter = 0

    def run(self) -> relax.DataflowBlock:
        for i in self.needed:
            self.emit(i)
        for var, tree in zip(self.region.outputs, self.region.output_trees, strict=True):
            expr = self.value(tree, self.graph.outputs)
            if isinstance(expr, relax.Var) and expr.same_as(var):
                continue
            expr = self.normal(expr)
            if not var.ty.is_base_of(expr.ty):
                raise ExtractionError(
                    f"{self.region.where}: {var.name} is a {var.ty}, it can't be bound to a {expr.ty}"
                )
            self.bindings.append(relax.VarBinding(var, expr))
        return relax.DataflowBlock(self.bindings, self.region.block.span)

    # ** nodes

    def emit(self, i: int) -> None:
        """Write the bindings of a node."""
        node = self.graph.nodes[i]
        attrs: Any = node.attrs
        if i in self.folded or node.op == "constant":
            self.exprs[i] = _constant(self.folded[i] if i in self.folded else attrs.value)
        elif node.op == "input":
            self.exprs[i] = self.leaf(self.region.inputs[attrs.index], i)
        elif node.op != "opaque":
            self.exprs[i] = self.leaf(OPERATORS[node.op].emit([self.expr(k) for k in node.inputs], attrs), i)
        else:
            if ((attrs.key, node.inputs), ()) not in self.parts:
                self.keep((attrs.key, node.inputs), i)
            if i in self.alone:
                self.expr(i)

    def expr(self, i: int) -> relax.Expr:
        """The expression of a node, after :meth:`emit`."""
        if i not in self.exprs:
            attrs: Any = self.graph.nodes[i].attrs
            evaluation = (attrs.key, self.graph.nodes[i].inputs)
            self.exprs[i] = self.part(evaluation, self.paths[attrs.key][attrs.field], i)
        return self.exprs[i]

    def keep(self, evaluation: _Evaluation, i: int) -> None:
        key, inputs = evaluation
        kept = self.region.opaque[key]
        expr = _replace(kept.expr, {var: self.value(tree, inputs) for var, tree in kept.operands})
        if is_literal(expr):
            self.parts[evaluation, ()] = expr
        elif isinstance(kept.result, int):
            self.parts[evaluation, ()] = self.leaf(expr, i)
        else:
            self.parts[evaluation, ()] = self.bind(expr, self.kept_outputs.get(evaluation), kept.name)

    def part(self, evaluation: _Evaluation, path: tuple[int, ...], i: int) -> relax.Expr:
        """A part of a kept expression's value; ``i`` is the node that stands for it, or for a part of it."""
        if (evaluation, path) not in self.parts:
            whole = relax.TupleGetItem(self.part(evaluation, path[:-1], i), path[-1])
            is_tuple = isinstance(whole.ty, ir.TupleType)
            self.parts[evaluation, path] = self.bind(whole, None, "") if is_tuple else self.leaf(whole, i)
        return self.parts[evaluation, path]

    # ** tuples

    def value(self, tree: Tree, nodes: Sequence[int]) -> relax.Expr:
        """The expression of a value with this structure, whose leaves are positions in ``nodes``."""
        if isinstance(tree, int):
            return self.expr(nodes[tree])
        whole = self.evaluation(tree, nodes)
        if whole is not None:
            return self.parts[whole, ()]
        return relax.Tuple([self.value(part, nodes) for part in tree])

    def singles(self, tree: Tree, nodes: Sequence[int]) -> Iterator[int]:
        """The nodes that :meth:`value` takes one by one."""
        if isinstance(tree, int):
            yield nodes[tree]
        elif self.evaluation(tree, nodes) is None:
            for part in tree:
                yield from self.singles(part, nodes)

    def operands(self, i: int) -> Iterator[int]:
        """The operands that a node takes one by one."""
        node = self.graph.nodes[i]
        attrs: Any = node.attrs
        if node.op == "opaque":
            for _, tree in self.region.opaque[attrs.key].operands:
                yield from self.singles(tree, node.inputs)
        else:
            yield from node.inputs

    def evaluation(self, tree: Tree, nodes: Sequence[int]) -> _Evaluation | None:
        """The kept expression whose whole value, a tuple, this is."""
        found: set[_Evaluation] = set()

        def field(tree: Tree) -> Tree:
            if not isinstance(tree, int):
                return tuple([field(part) for part in tree])
            node = self.graph.nodes[nodes[tree]]
            attrs: Any = node.attrs
            found.add((attrs.key, node.inputs) if node.op == "opaque" else (-1, ()))
            return attrs.field if node.op == "opaque" else -1

        fields = field(tree)
        if isinstance(tree, int) or len(found) != 1:
            return None
        whole = found.pop()
        return whole if whole[0] >= 0 and self.region.opaque[whole[0]].result == fields else None

    # ** bindings

    def leaf(self, expr: relax.Expr, i: int) -> relax.Expr:
        """The expression itself if it needs no variable, else the variable that it is bound to."""
        if isinstance(expr, relax.Var) or is_literal(expr):
            return expr
        return self.bind(expr, self.node_outputs.get(i), self.graph.names.get(i, ""))

    def bind(self, expr: relax.Expr, output: relax.Var | None, name: str) -> relax.Var:
        expr = self.normal(expr)
        # An output that is declared with less than the known type would hide it from its users in the block.
        if output is None or not tvm_ffi.structural_equal(output.ty, expr.ty):
            output = relax.DataflowVar(self.fresh(name), expr.ty)
        self.bindings.append(relax.VarBinding(output, expr))
        return output

    def normal(self, expr: relax.Expr) -> relax.Expr:
        """The expression with its type, and with variables in place of nested calls."""
        if isinstance(expr, relax.TupleGetItem) and not isinstance(expr.tuple_value, relax.Var):
            expr = relax.TupleGetItem(self.inner(expr.tuple_value), expr.index, expr.span)
        elif isinstance(expr, relax.Call) and expr.ty.is_missing():
            expr = relax.Call(expr.op, list(map(self.inner, expr.args)), expr.attrs, expr.ty_args, expr.span)
        return self.builder.normalize(expr) if expr.ty.is_missing() else expr

    def inner(self, expr: relax.Expr) -> relax.Expr:
        if isinstance(expr, relax.Call | relax.TupleGetItem) and not ir.is_prim_expr(expr):
            return self.bind(expr, None, "")
        if isinstance(expr, relax.Tuple):
            return relax.Tuple(list(map(self.inner, expr.fields)), expr.span)
        return expr

    def fresh(self, name: str) -> str:
        """A name that no variable has yet: this one if it is free, else ``lv``, ``lv1``, ``lv2``..."""
        if name in self.reserved:
            self.reserved.remove(name)
        else:
            name = "lv"
            while name in self.names or name in self.reserved:
                self.counter += 1
                name = f"lv{self.counter}"
        self.names.add(name)
        return name


def _needed(graph: TensorGraph, folded: dict[int, Constant]) -> list[int]:
    """The nodes that the outputs depend on, in topological order, without what is folded away."""
    needed = set(graph.outputs)
    for i in range(len(graph.nodes) - 1, -1, -1):
        if i in needed and i not in folded:
            needed.update(graph.nodes[i].inputs)
    return sorted(needed)


def _constant(constant: Constant) -> ir.GenericConst:
    if constant.expr is None:
        constant.expr = relax.const(runtime.tensor(constant.array))
    return constant.expr


def _replace(expr: relax.Expr, new: dict[relax.Var, relax.Expr]) -> relax.Expr:
    """The expression with other operands, the same object if none differs. Its type can't change, so it is kept."""
    if isinstance(expr, relax.Var):
        found = new.get(expr, expr)
        return expr if expr.same_as(found) else found
    if isinstance(expr, relax.Tuple):
        parts = list(expr.fields)
    elif isinstance(expr, relax.Call):
        parts = [expr.op, *expr.args]
    else:
        return expr
    others = [_replace(part, new) for part in parts]
    if all(a is b for a, b in zip(parts, others, strict=True)):
        return expr
    if isinstance(expr, relax.Tuple):
        return relax.Tuple(others, expr.span)
    return relax.Call(others[0], others[1:], expr.attrs, expr.ty_args, expr.span, expr.ty)
