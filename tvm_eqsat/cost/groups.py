"""Groups of operators that TVM fuses, told apart without building their loops.

Candidates of one model share nearly all of their kernels. After FuseOps a kernel is a group of operators whose loops
are known by number (:mod:`.legalize`), so that what has been fused and hashed once is recognised by its structure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import tvm
from tvm import relax, tirx

from .legalize import Loops

#: For each operator the number of its loops and where its operands come from; then where the results come from.
Key = tuple[Any, ...]


class Group(NamedTuple):
    """What becomes one kernel.

    Attributes
    ----------
    key : tuple
        Equal for groups that become equal kernels.
    function : tvm.ir.GlobalVar
        The function that stands for it in the module: a fused one, or a single operator's loops.
    call : relax.Call
        One call of it.
    inside : bool
        Whether only the dataflow block around it sees the result. TVM makes views of reshapes there, and only there.
    weights : tuple of int
        The operands that are weights, where their layouts are the kernel's to choose.
    """

    key: Key
    function: tvm.ir.GlobalVar
    call: relax.Call
    inside: bool
    weights: tuple[int, ...] = ()


def groups_of(
    mod: tvm.IRModule, loops: Mapping[str, Loops], *, prepack: bool = False
) -> tuple[list[Group], list[relax.Call]] | None:
    """All calls of groups, each of its own, and all other calls.

    Parameters
    ----------
    mod : tvm.IRModule
        A module after FuseOps.
    loops : mapping of str to Loops
        The functions that stand for the loops of operators, by name.
    prepack : bool
        Whether the layouts of weights are the kernels' to choose: groups differ then by what of their operands is one.

    Returns
    -------
    tuple of list of Group and list of relax.Call, or None
        None if some group can't be told apart by its structure: it has loops without a number, symbolic shapes, or
        something unusual.
    """
    found: list[Group] = []
    others: list[relax.Call] = []
    keys: dict[str, Key | None] = {}
    for func in mod.functions.values():
        if not isinstance(func, relax.Function) or is_group(func):
            continue
        if relax.analysis.defined_symbolic_vars(func):
            return None
        weights = _weights_of(func) if prepack else set()
        for binding in bindings_of(func):
            value = binding.value
            if not isinstance(value, relax.Call):
                if isinstance(value, relax.If):
                    return None
                continue
            function = value.args[0] if is_call_tir(value) else value.op
            if not isinstance(function, tvm.ir.GlobalVar):
                others.append(value)
                continue
            name = str(function.name_hint)
            if name not in keys:
                keys[name] = _key_of(mod[function], name, loops) if _has_shapes(value) else None
            key = keys[name]
            if key is None:
                return None
            inside = isinstance(binding.var, relax.DataflowVar)
            free = _weights_among(_operands(value), weights) if prepack else ()
            found.append(Group((inside, prepack, free, *key), function, value, inside, free))
    return found, others


def alone(mod: tvm.IRModule, group: Group) -> tvm.IRModule:
    """A module that does nothing but call a group of ``mod`` once."""
    function = mod[group.function]
    parts = {group.function: function}
    if isinstance(function, relax.Function):
        parts |= {
            b.value.args[0]: mod[b.value.args[0]] for b in bindings_of(function) if isinstance(b.value, relax.Call)
        }
    types = [arg.ty for arg in _operands(group.call)]
    parameters = [relax.Var(f"x{i}", ty) for i, ty in enumerate(types)]
    ordered = sorted(range(len(types)), key=lambda i: i in group.weights)
    builder = relax.BlockBuilder(tvm.IRModule(parts))
    attrs = {"num_input": len(types) - len(group.weights)}
    with builder.function("main", [parameters[i] for i in ordered], attrs=attrs):
        with builder.dataflow():
            call = group.call
            arguments = [call.args[0], relax.Tuple(parameters)] if is_call_tir(call) else parameters
            result = relax.Call(call.op, arguments, call.attrs, call.ty_args)
            out = builder.emit_output(relax.Tuple([builder.emit(result)]) if group.inside else result)
        builder.emit_func_output(out)
    return builder.get()


def is_group(func: relax.Function) -> bool:
    """Whether FuseOps made a function of a group."""
    return bool(func.attrs and "Primitive" in func.attrs)


def is_call_tir(call: relax.Call) -> bool:
    """Whether it calls loops."""
    return str(getattr(call.op, "name", "")) == "relax.call_tir"


def _operands(call: relax.Call) -> list[Any]:
    return call.args[1].fields[:] if is_call_tir(call) else call.args[:]


def bindings_of(func: relax.Function) -> list[Any]:
    """All bindings of a function."""
    blocks = func.body.blocks if isinstance(func.body, relax.SeqExpr) else []
    # A slice of an array is a list, made three times as fast as by iterating.
    return [binding for block in blocks for binding in block.bindings[:]]


def _weights_of(func: relax.Function) -> set[Any]:
    """The variables of a function that stand for weights."""
    found = set(func.params[int(func.attrs["num_input"]) :]) if func.attrs and "num_input" in func.attrs else set()
    for binding in bindings_of(func):
        value = binding.value
        if isinstance(value, tvm.ir.GenericConst) or (isinstance(value, relax.Var) and value in found):
            found.add(binding.var)
    return found


def _weights_among(operands: list[Any], weights: set[Any]) -> tuple[int, ...]:
    return tuple(
        i for i, operand in enumerate(operands) if isinstance(operand, tvm.ir.GenericConst) or operand in weights
    )


def _key_of(func: Any, name: str, loops: Mapping[str, Loops]) -> Key | None:
    if isinstance(func, tirx.PrimFunc):
        return (loops[name].number,) if name in loops else None
    if not isinstance(func, relax.Function) or not is_group(func):
        return None
    places: dict[Any, Any] = {p: i for i, p in enumerate(func.params)}
    operators: list[tuple[int, tuple[Any, ...]]] = []
    for binding in bindings_of(func):
        value = binding.value
        if isinstance(value, relax.Var) and value in places:  # another name
            places[binding.var] = places[value]
            continue
        if isinstance(value, relax.TupleGetItem) and value.tuple_value in places:
            places[binding.var] = places[value.tuple_value], int(value.index)
            continue
        if not isinstance(value, relax.Call) or not is_call_tir(value) or len(value.args) != 2:
            return None
        known = loops.get(str(value.args[0].name_hint))
        operands = tuple(places.get(operand, -1) for operand in value.args[1].fields[:])
        if known is None or -1 in operands:
            return None
        places[binding.var] = len(func.params) + len(operators)
        operators.append((known.number, operands))
    body = func.body.body
    results = tuple(places.get(r, -1) for r in (body.fields if isinstance(body, relax.Tuple) else [body]))
    return None if -1 in results else (len(func.params), tuple(operators), isinstance(body, relax.Tuple), results)


def _has_shapes(call: relax.Call) -> bool:
    """Whether the shapes of a call's operands and results are known. Looking at each dimension takes long."""
    if is_call_tir(call) and len(call.args) != 2:
        return False
    types = [operand.ty for operand in _operands(call)]
    return not any(isinstance(ty, relax.TupleType) for ty in types) and all(map(_has_shape, [call.ty, *types]))


def _has_shape(ty: Any) -> bool:
    if isinstance(ty, relax.TupleType):
        return all(map(_has_shape, ty.fields))
    return isinstance(ty, relax.TensorType) and isinstance(ty.shape, relax.ShapeExpr)
