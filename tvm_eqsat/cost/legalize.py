"""LegalizeOps with a memory: candidates of one model share nearly all of their operators.

TVM builds each operator's loops anew through its tensor expression language, a few milliseconds a time, which is most
of what lowering costs. The result depends on the operator, its attributes and the types of its operands alone.

Loops that are known enter the module as a *stub*, a function without a body: TVM hashes every function that is added.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from itertools import count
from typing import Any, NamedTuple

import tvm
import tvm_ffi
from tvm import relax, tirx
from tvm.target import Target

Legalize = Callable[[relax.BlockBuilder, relax.Call], relax.Expr]

_LIMIT = 8192
_memory: dict[tvm_ffi.StructuralKey, _Remembered] = {}
_numbers = count()
_CALL_TIR = tvm.ir.Op.get("relax.call_tir")


class Loops(NamedTuple):
    """What a function of a module stands for.

    Attributes
    ----------
    number : int
        Equal for equal loops, in all modules.
    function : tvm.tirx.PrimFunc or None
        The loops, if what the module has is a stub.
    """

    number: int
    function: tirx.PrimFunc | None = None


class _Remembered(NamedTuple):
    """What an operator becomes: a call of some loops on some of its operands."""

    loops: Loops
    stub: tirx.PrimFunc
    hint: str
    positions: list[int]
    types: Any  # type arguments of the call


def legalize_pass(
    mod: tvm.IRModule, operators: Iterable[str], target: Target
) -> tuple[tvm.transform.Pass, dict[str, Loops]]:
    """A LegalizeOps pass for ``mod`` that remembers the loops of operators it has seen.

    Parameters
    ----------
    mod : tvm.IRModule
        The module that it will be applied to.
    operators : iterable of str
        Names of the operators in it.
    target : tvm.target.Target
        The target; some operators are legalised differently for some targets.

    Returns
    -------
    tvm.transform.Pass
        The pass.
    dict of str to Loops
        Once it was applied: by name the functions of loops that the module had, or that the pass added and remembers.
    """
    known = {name: _default(name) for name in sorted(operators)}
    text, added = str(target), dict[int, Any]()
    loops = {
        str(gv.name_hint): Loops(_number(tvm_ffi.StructuralKey(func)))
        for gv, func in mod.functions.items()
        if isinstance(func, tirx.PrimFunc)
    }
    lowerings = {
        name: _remembering(name, text, legalize, added, loops)
        for name, legalize in known.items()
        if legalize is not None
    }
    return relax.transform.LegalizeOps(lowerings), loops


def with_loops(mod: tvm.IRModule, loops: Mapping[str, Loops]) -> tvm.IRModule:
    """``mod`` with loops in place of their stubs."""
    found = {}
    for gv, func in mod.functions.items():
        known = loops.get(str(gv.name_hint)) if isinstance(func, tirx.PrimFunc) else None
        found[gv] = func if known is None or known.function is None else known.function
    return tvm.IRModule(found, attrs=mod.attrs)


@lru_cache(maxsize=1024)
def _number(key: tvm_ffi.StructuralKey) -> int:
    return next(_numbers)


def _default(name: str) -> Legalize | None:
    """TVM's own way to legalise an operator."""
    found: Legalize | None = tvm.ir.Op.get(name).get_attr("FLegalize")
    return found


def _remembering(
    name: str, target: str, legalize: Legalize, added: dict[int, Any], loops: dict[str, Loops]
) -> Legalize:
    """``legalize`` with a memory; ``added`` holds the stubs that the module has, by number."""

    def lower(builder: relax.BlockBuilder, call: relax.Call) -> relax.Expr:
        operands = _operands(call.args)
        key = tvm_ffi.StructuralKey([target, name, call.attrs, call.ty, *(_signature(a) for a in call.args)])
        found = _memory.get(key)
        if found is not None:
            number = found.loops.number
            if number not in added:
                added[number] = builder.add_func(found.stub, found.hint)
                loops[str(added[number].name_hint)] = found.loops
            arguments = [added[number], relax.Tuple([operands[i] for i in found.positions])]
            return relax.Call(_CALL_TIR, arguments, None, found.types)
        result = legalize(builder, call)
        found = _entry(builder, result, operands)
        if found is not None:
            _memory[key] = found
            number, function = found.loops.number, result.args[0]
            added[number], loops[str(function.name_hint)] = function, Loops(number)
            if len(_memory) > _LIMIT:
                _memory.pop(next(iter(_memory)))
        return result

    return lower


def _operands(args: Any) -> list[Any]:
    found: list[Any] = []
    for arg in args:
        found.extend(_operands(arg.fields) if type(arg) is relax.Tuple else [arg])  # isinstance takes long to say no
    return found


def _signature(arg: Any) -> Any:
    """What the loops can depend on: an operand's type, but the value of shapes, numbers and scalar constants."""
    if type(arg) is relax.Tuple:
        return [_signature(field) for field in arg.fields]
    type_ = arg.ty
    if not isinstance(type_, relax.TensorType | relax.TupleType):
        return arg
    scalar = getattr(type_, "ndim", -1) == 0 and isinstance(arg, tvm.ir.GenericConst)
    return arg if scalar else type_


def _entry(builder: relax.BlockBuilder, result: Any, operands: list[Any]) -> _Remembered | None:
    """What to remember of a result: only a single call of one new function on the operands themselves."""
    if not isinstance(result, relax.Call) or len(result.args) != 2:
        return None
    if getattr(result.op, "name", "") != "relax.call_tir":
        return None
    positions = []
    for used in result.args[1].fields:
        at = [i for i, operand in enumerate(operands) if operand.same_as(used)]
        if not at:
            return None
        positions.append(at[0])
    function = result.args[0]
    annotated = relax.transform.AnnotateTIROpPattern()(tvm.IRModule({"main": builder.get()[function]}))["main"]
    loops = Loops(next(_numbers), annotated)
    return _Remembered(loops, _stub(loops), str(function.name_hint), positions, result.ty_args)


def _stub(loops: Loops) -> tirx.PrimFunc:
    """What FuseOps needs to know of some loops: parameters and pattern."""
    func = loops.function
    assert func is not None
    # TVM looks again for the pattern of what it knows to be elementwise, which has the number 0.
    empty = func.with_body(tirx.Evaluate(0)) if int(func.attrs["op_pattern"]) else func
    return empty.with_attr("eqsat.loops", loops.number)  # stubs of different loops mustn't be taken for one
