"""Relax dataflow block → ``TensorGraph``.

Calls that the operator table models become nodes; every other expression becomes ``opaque`` and is kept. An operator
whose inferred type isn't exactly Relax's own type of the binding is opaque too, so the graph never says anything
that Relax doesn't.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from tvm import ir, relax

from ..errors import ImportFailure
from .operator import BY_RELAX_NAME, OPERATORS, Attrs
from .ops.aliases import READERS, read_alias
from .region import Kept, Region, Tree
from .relax_types import TypeReader
from .tensor_graph import TensorGraph
from .types import TensorType

_IN_PLACE = frozenset({"relax.call_tir_inplace"})  # changes an operand, so its place among the others matters
_DROPOUT = "relax.nn.dropout"


@dataclass(frozen=True)
class _Outer:
    """A tuple from outside of the block: its fields become inputs only when they are used."""

    var: relax.Var
    path: tuple[int, ...]
    expr: relax.Expr


# What a Relax expression stands for: a node; a tuple of values; a tuple that isn't taken apart yet; a dropped value.
_Value: TypeAlias = "int | tuple[_Value, ...] | _Outer | None"


def import_block(block: relax.DataflowBlock, *, weight_vars: Collection[relax.Var] = ()) -> Region:
    """Read a dataflow block.

    Parameters
    ----------
    block : relax.DataflowBlock
        A normalised block of a well-formed function.
    weight_vars : collection of relax.Var
        Variables from outside that are known before the first run. Sets and dicts are fast.

    Raises
    ------
    ImportFailure
        The block can't be taken apart without risk, as when it casts with ``match_cast``: leave it alone. The
        message is the reason, for a report.
    """
    return _Importer(block, weight_vars).run()


class _Importer:
    def __init__(self, block: relax.DataflowBlock, weights: Collection[relax.Var]) -> None:
        self.block = block
        self.region = Region(block, TensorGraph())
        self.graph = self.region.graph
        self.types = TypeReader()
        self.uses: dict[relax.Var, set[int]] = {}
        self.weights = weights
        self.bound: dict[relax.Var, _Value] = {}
        self.literals: dict[relax.Var, relax.Expr] = {}
        self.input_nodes: dict[tuple[relax.Var, tuple[int, ...]], int] = {}
        self.constants: dict[relax.Expr, int] = {}

    def run(self) -> Region:
        bindings = [(binding, binding.var) for binding in self.block.bindings]
        for binding, var in bindings:
            _check(binding, var)
        self.uses = _uses(bindings)
        for binding, var in bindings:
            if var not in self.uses:
                continue
            value = self.bound[var] = self.bind(var, binding.value)
            if not isinstance(var, relax.DataflowVar):
                self.output(var, value)
            elif isinstance(value, int) and self.graph.nodes[value].op != "constant":
                self.graph.names.setdefault(value, var.name)
        return self.region

    def output(self, var: relax.Var, value: _Value) -> None:
        self.region.outputs.append(var)
        self.region.output_trees.append(self.spread(value, self.graph.outputs))

    def bind(self, var: relax.Var, expr: relax.Expr) -> _Value:
        """What a variable stands for."""
        if isinstance(expr, relax.Call):
            found = self.table_call(var, expr)
            return self.keep(expr, var) if found is None else found
        if isinstance(expr, relax.Tuple) or is_literal(expr):
            self.literals[var] = expr
        return self.value(expr, var)

    # ** values

    def value(self, expr: relax.Expr, var: relax.Var | None = None) -> _Value:
        """What an expression other than a call stands for; ``var`` is what it is bound to, if it is."""
        if isinstance(expr, relax.Var):
            return self.bound[expr] if expr in self.bound else self.outer(expr, (), expr)
        if isinstance(expr, relax.TupleGetItem):
            whole = self.value(expr.tuple_value)
            if isinstance(whole, _Outer):
                field = relax.TupleGetItem(whole.expr, expr.index)
                return self.outer(whole.var, (*whole.path, expr.index), field)
            if isinstance(whole, tuple):
                return whole[expr.index]
        if isinstance(expr, relax.Tuple):
            return tuple([self.value(part) for part in expr.fields])
        if isinstance(expr, ir.GenericConst):
            return self.constant(expr)
        return self.keep(expr, var)

    def outer(self, var: relax.Var, path: tuple[int, ...], expr: relax.Expr) -> _Value:
        whole = _Outer(var, path, expr)
        return whole if isinstance(expr.ty, ir.TupleType) else self.input(whole)

    def input(self, source: _Outer) -> int:
        key = (source.var, source.path)
        if key not in self.input_nodes:
            attrs = OPERATORS["input"].make_attrs(
                index=len(self.region.inputs), type=self.types.any(source.expr.ty), weight=source.var in self.weights
            )
            self.input_nodes[key] = node = self.graph.add("input", (), attrs)
            if not source.path:
                self.graph.names[node] = source.var.name
            self.region.inputs.append(source.expr)
        return self.input_nodes[key]

    def constant(self, expr: ir.GenericConst) -> _Value:
        if expr not in self.constants:
            constant = self.types.constant(expr)
            if constant is None:
                return self.keep(expr)
            attrs = OPERATORS["constant"].make_attrs(value=constant)
            self.constants[expr] = self.graph.add("constant", (), attrs)
        return self.constants[expr]

    def spread(self, value: _Value, into: list[int]) -> Tree:
        """Append the nodes of a value to ``into``; their structure, with positions in ``into`` as leaves."""
        if isinstance(value, tuple):
            return tuple([self.spread(part, into) for part in value])
        assert value is not None, "dropped values have no uses"
        into.append(value if isinstance(value, int) else self.input(value))
        return len(into) - 1

    # ** operators of the table

    def table_call(self, var: relax.Var, call: relax.Call) -> _Value:
        """The call in terms of the table's operators, None if it is opaque."""
        name = call.op.name if isinstance(call.op, ir.Op) else ""
        if name == _DROPOUT:
            operand = self.node(call.args[0]) if self.only_first_field(var) else None
            return None if operand is None else (operand, None)
        record = BY_RELAX_NAME.get(name)
        if record is None and name not in READERS:
            return None
        call = self.spelt_out(call)
        found = record.read(call) if record else None
        chains = None if found else read_alias(call)
        try:
            if record and found:
                return self.table_node(var, record.name, *found)
            return self.alias_nodes(var, call, chains) if chains else None
        except TypeError:  # IllTyped, or arithmetic on a Symbol
            return None

    def table_node(self, var: relax.Var, op: str, operands: list[relax.Expr], attrs: Attrs) -> _Value:
        nodes = [self.node(operand) for operand in operands]
        if None in nodes:
            return None
        node = self.graph.add(op, nodes, attrs)  # type: ignore[arg-type]
        if isinstance(var.ty, ir.TupleType):  # batch_norm: the record is about its first field
            agrees = self.types.tensor(var.ty.fields[0]) == self.graph.nodes[node].type
            return (node, *[None] * (len(var.ty.fields) - 1)) if agrees and self.only_first_field(var) else None
        return node if self.types.tensor(var.ty) == self.graph.nodes[node].type else None

    def alias_nodes(self, var: relax.Var, call: relax.Call, chains: list[list[tuple[str, Attrs]]]) -> _Value:
        operand = self.node(call.args[0])
        if operand is None:
            return None
        is_tuple = isinstance(var.ty, ir.TupleType)
        types = list(var.ty.fields) if is_tuple else [var.ty]
        nodes = []
        for chain in chains:
            node = operand
            for op, attrs in chain:
                node = self.graph.add(op, (node,), attrs)
            nodes.append(node)
        if [self.types.tensor(ty) for ty in types] != [self.graph.nodes[node].type for node in nodes]:
            return None
        return tuple(nodes) if is_tuple else nodes[0]

    def node(self, expr: relax.Expr) -> int | None:
        """The node of an operand, None unless it is a tensor that operators of the table take."""
        value = self.value(expr)
        return value if isinstance(value, int) and isinstance(self.graph.nodes[value].type, TensorType) else None

    def spelt_out(self, call: relax.Call) -> relax.Call:
        """The call with literal tuples, shapes and scalars in place of variables that are bound to them."""
        args = list(call.args)
        new = [self.literal(arg) for arg in args]
        if all(a is b for a, b in zip(args, new, strict=True)):
            return call
        return relax.Call(call.op, new, call.attrs, call.ty_args, call.span, call.ty)

    def literal(self, expr: relax.Expr) -> relax.Expr:
        if isinstance(expr, relax.Var):
            if expr in self.literals:
                return self.literal(self.literals[expr])
            if isinstance(expr.ty, ir.TupleType):
                return relax.Tuple([relax.TupleGetItem(expr, i) for i in range(len(expr.ty.fields))])
        elif isinstance(expr, relax.Tuple):
            fields = list(expr.fields)
            new = [self.literal(field) for field in fields]
            if any(a is not b for a, b in zip(fields, new, strict=True)):
                return relax.Tuple(new)
        return expr

    def only_first_field(self, var: relax.Var) -> bool:
        return self.uses[var] == {0}

    # ** everything else

    def keep(self, expr: relax.Expr, var: relax.Var | None = None) -> _Value:
        """``opaque`` nodes for an expression, one for each field of its value."""
        inputs: list[int] = []
        operands: dict[relax.Var, Tree] = {}
        for operand in self.variables(expr, var):
            if operand not in operands:
                operands[operand] = self.spread(self.value(operand), inputs)
        key = len(self.region.opaque)
        fields: list[ir.Type] = []
        result = _structure(expr.ty, fields)
        self.region.opaque[key] = Kept(expr, tuple(operands.items()), result, var.name if var is not None else "")
        nodes = []
        for field, ty in enumerate(fields):
            attrs = OPERATORS["opaque"].make_attrs(key=key, field=field, type=self.types.any(ty))
            nodes.append(self.graph.add("opaque", inputs, attrs))
        return _fill(result, nodes)

    def variables(self, expr: relax.Expr, var: relax.Var | None) -> Iterator[relax.Var]:
        """The variables, other than shape variables, that stand alone in an expression."""
        if isinstance(expr, relax.Var):
            if expr in self.bound or not isinstance(expr.ty, ir.PrimType):
                yield expr
        elif isinstance(expr, relax.Call):
            for part in (expr.op, *expr.args):
                yield from self.variables(part, var)
        elif isinstance(expr, relax.Tuple):
            for part in expr.fields:
                yield from self.variables(part, var)
        elif isinstance(expr, ir.GenericConst | relax.GlobalVar | ir.Op):
            return
        else:  # shapes, scalars, local functions
            for free in relax.analysis.free_vars(expr):
                if free in self.bound or (var is not None and free.same_as(var)):
                    raise ImportFailure(f"a {type(expr).__name__} depends on {free.name}, a variable of the block")
                yield from self.variables(free, var)


def _check(binding: relax.Binding, var: relax.Var) -> None:
    """Raise :class:`ImportFailure` if the binding does more than to name a value."""
    if not isinstance(binding, relax.VarBinding):
        raise ImportFailure(f"{var.name} is bound by match_cast, which may define shape variables")
    if isinstance(var.ty, ir.PrimType) and not isinstance(var, relax.DataflowVar):
        raise ImportFailure(f"{var.name} is a scalar that shapes may depend on")
    op = binding.value.op if isinstance(binding.value, relax.Call) else None
    if isinstance(op, ir.Op) and op.name in _IN_PLACE:
        raise ImportFailure(f"{op.name} changes its operands in place")


def _uses(bindings: list[tuple[relax.VarBinding, relax.Var]]) -> dict[relax.Var, set[int]]:
    """The fields that live code takes of each live variable; -1 stands for any other use."""
    uses: dict[relax.Var, set[int]] = {}
    for binding, var in reversed(bindings):
        if not isinstance(var, relax.DataflowVar):
            uses.setdefault(var, set()).add(-1)
        elif var not in uses:
            continue
        expr = binding.value
        if isinstance(expr, relax.TupleGetItem) and isinstance(expr.tuple_value, relax.Var):
            uses.setdefault(expr.tuple_value, set()).add(expr.index)
        else:
            for operand in relax.analysis.free_vars(expr):
                uses.setdefault(operand, set()).add(-1)
    return uses


def is_literal(expr: relax.Expr) -> bool:
    """Whether an expression is written where it is used, rather than bound to a variable."""
    leaf = relax.ShapeExpr | relax.ExternFunc | relax.GlobalVar | ir.GenericConst | ir.StringImm | ir.Op
    return isinstance(expr, leaf) or (ir.is_prim_expr(expr) and not isinstance(expr, relax.Var | relax.Call))


def _structure(ty: ir.Type, fields: list[ir.Type]) -> Tree:
    """Append the fields of a type, nested ones too; their structure, with positions in ``fields`` as leaves."""
    if isinstance(ty, ir.TupleType):
        return tuple([_structure(part, fields) for part in ty.fields])
    fields.append(ty)
    return len(fields) - 1


def _fill(tree: Tree, nodes: list[int]) -> _Value:
    return nodes[tree] if isinstance(tree, int) else tuple([_fill(part, nodes) for part in tree])
