"""LegalizeOps with a memory: candidates of one model share nearly all of their operators.

TVM builds each operator's loops anew through its tensor expression language, a few milliseconds a time, which is most
of what lowering costs. The result depends on the operator, its attributes and the types of its operands alone.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache
from itertools import count
from typing import Any

import tvm
import tvm_ffi
from tvm import relax, tirx
from tvm.target import Target

Legalize = Callable[[relax.BlockBuilder, relax.Call], relax.Expr]

_LIMIT = 8192
_memory: OrderedDict[tvm_ffi.StructuralKey, tuple[int, Any, str, list[int], Any]] = OrderedDict()
_numbers = count()


def legalize_pass(mod: tvm.IRModule, target: Target) -> tuple[tvm.transform.Pass, dict[str, int]]:
    """A LegalizeOps pass for ``mod`` that remembers the loops of operators it has seen.

    Parameters
    ----------
    mod : tvm.IRModule
        The module that it will be applied to.
    target : tvm.target.Target
        The target; some operators are legalised differently for some targets.

    Returns
    -------
    tvm.transform.Pass
        The pass.
    dict of str to int
        Once it was applied: for each function of loops that the module had, or that the pass added and remembers, a
        number that it has in all modules.
    """
    names = {
        str(value.op.name)
        for func in mod.functions.values()
        if isinstance(func, relax.Function) and isinstance(func.body, relax.SeqExpr)
        for block in func.body.blocks
        for value in (binding.value for binding in block.bindings)
        if isinstance(value, relax.Call) and isinstance(value.op, tvm.ir.Op)
    }
    known = {name: _default(name) for name in sorted(names)}
    text, added = str(target), dict[Any, Any]()
    numbers = {
        str(gv.name_hint): _number(tvm_ffi.StructuralKey(func))
        for gv, func in mod.functions.items()
        if isinstance(func, tirx.PrimFunc)
    }
    lowerings = {
        name: _remembering(name, text, legalize, added, numbers)
        for name, legalize in known.items()
        if legalize is not None
    }
    return relax.transform.LegalizeOps(lowerings), numbers


@lru_cache(maxsize=1024)
def _number(key: tvm_ffi.StructuralKey) -> int:
    return next(_numbers)


def _default(name: str) -> Legalize | None:
    """TVM's own way to legalise an operator."""
    found: Legalize | None = tvm.ir.Op.get(name).get_attr("FLegalize")
    return found


def _remembering(
    name: str, target: str, legalize: Legalize, added: dict[Any, Any], numbers: dict[str, int]
) -> Legalize:
    """``legalize`` with a memory; ``added`` holds the functions that the module has: TVM would hash them anew."""

    def lower(builder: relax.BlockBuilder, call: relax.Call) -> relax.Expr:
        operands = _operands(call.args)
        key = tvm_ffi.StructuralKey([target, name, call.attrs, call.ty, *(_signature(a) for a in call.args)])
        found = _memory.get(key)
        if found is not None:
            _memory.move_to_end(key)
            number, func, hint, positions, out = found
            if func not in added:
                added[func] = builder.add_func(func, hint)
            numbers[str(added[func].name_hint)] = number
            return relax.call_tir(added[func], [operands[i] for i in positions], out)
        result = legalize(builder, call)
        entry = _entry(builder, result, operands)
        if entry is not None:
            number = next(_numbers)
            _memory[key] = (number, *entry)
            numbers[str(result.args[0].name_hint)] = number
            if len(_memory) > _LIMIT:
                _memory.popitem(last=False)
        return result

    return lower


def _operands(args: Any) -> list[Any]:
    found: list[Any] = []
    for arg in args:
        found.extend(_operands(arg.fields) if isinstance(arg, relax.Tuple) else [arg])
    return found


def _signature(arg: Any) -> Any:
    """What the loops can depend on: an operand's type, but the value of shapes, numbers and scalar constants."""
    if isinstance(arg, relax.Tuple):
        return [_signature(field) for field in arg.fields]
    scalar = isinstance(arg, tvm.ir.GenericConst) and getattr(arg.ty, "ndim", -1) == 0
    return arg.ty if isinstance(arg.ty, relax.TensorType | relax.TupleType) and not scalar else arg


def _entry(builder: relax.BlockBuilder, result: Any, operands: list[Any]) -> tuple[Any, str, list[int], Any] | None:
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
    function, out = result.args[0], result.ty_args[0]
    out = list(out.fields) if isinstance(out, relax.TupleType) else out
    return builder.get()[function], str(function.name_hint), positions, out
