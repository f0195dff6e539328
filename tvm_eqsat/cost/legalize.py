"""LegalizeOps with a memory: candidates of one model share nearly all of their operators.

TVM builds each operator's loops anew through its tensor expression language, a few milliseconds a time, which is most
of what lowering costs. The result depends on the operator, its attributes and the types of its operands alone. Calls of
operators that were seen before are written at once; LegalizeOps is left with what is new.

Loops that are known enter the module as a *stub*, a function without a body, since TVM hashes functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from itertools import count
from typing import Any, NamedTuple

import tvm
import tvm_ffi
from tvm import ir, relax, tirx
from tvm.relax.expr import _update_type
from tvm.target import Target

Legalize = Callable[[relax.BlockBuilder, relax.Call], relax.Expr]

_LIMIT = 8192
_memory: dict[tvm_ffi.StructuralKey, _Remembered] = {}
_numbers = count()
_CALL_TIR = ir.Op.get("relax.call_tir")


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
    type: Any  # of the function, for its global variable
    positions: list[int]
    types: Any  # type arguments of the call


class Legalization:
    """LegalizeOps of one module.

    Parameters
    ----------
    mod : tvm.IRModule
        The module, not legalised.
    target : tvm.target.Target
        The target; some operators are legalised differently for some targets.

    Attributes
    ----------
    loops : dict of str to Loops
        By name the functions of loops that the module had, or that were added and are remembered.
    others : set of str
        After :meth:`of_known`, the operators that are left.
    nested : bool
        After :meth:`of_known`, whether the module has branches or local functions, which weren't looked at.
    """

    def __init__(self, mod: tvm.IRModule, target: Target) -> None:
        self.loops: dict[str, Loops] = {}
        self.others: set[str] = set()
        self.nested = False
        self._target = str(target)
        self._module = mod
        self._added: dict[int, ir.GlobalVar] = {}  # stubs and loops that were added, by number
        self._stubs: dict[ir.GlobalVar, ir.BaseFunc] = {}
        self._names = {str(gv.name_hint) for gv in mod.functions}

    def of_known(self) -> tvm.IRModule:
        """The module with stubs of its loops, and with calls of stubs in place of the operators that are remembered."""
        functions: dict[ir.GlobalVar, ir.BaseFunc] = {}
        for gv, func in self._module.functions.items():
            functions[gv] = func
            if isinstance(func, tirx.PrimFunc):
                self.loops[str(gv.name_hint)], functions[gv] = _own(func)
            elif isinstance(func, relax.Function) and not isinstance(func.body, relax.SeqExpr):
                self.nested = True
            elif isinstance(func, relax.Function):
                blocks = [type(block)(list(map(self._known, block.bindings[:]))) for block in func.body.blocks]
                body = relax.SeqExpr(blocks, func.body.body)
                functions[gv] = relax.Function(func.params, body, func.ret_ty, func.is_pure, func.attrs)
        return tvm.IRModule(functions | self._stubs, attrs=self._module.attrs)

    def _known(self, binding: Any) -> Any:
        """A binding, with a call of a stub if its operator is remembered."""
        call = binding.value
        if type(call) is not relax.Call or not _is_operator(call):
            self.nested = self.nested or isinstance(call, relax.If | relax.Function)
            return binding
        name = str(call.op.name)
        found = _memory.get(self._key(name, call)) if isinstance(binding, relax.VarBinding) else None
        if found is None:
            self.others.add(name)
            return binding
        number = found.loops.number
        if number not in self._added:
            name = next(name for i in count() if (name := f"{found.hint}{i or ''}") not in self._names)
            self._names.add(name)
            var = self._added[number] = ir.GlobalVar(name)
            _update_type(var, found.type)
            self._stubs[var], self.loops[name] = found.stub, found.loops
        return relax.VarBinding(binding.var, _call(self._added[number], found, _operands(call.args[:]), call.ty))

    def of_others(self) -> tvm.transform.Pass:
        """LegalizeOps for what is left, which remembers what it does."""
        known = {name: _default(name) for name in sorted(self.others)}
        lowerings = {name: self._remembering(name, lower) for name, lower in known.items() if lower is not None}
        return relax.transform.LegalizeOps(lowerings)

    def _remembering(self, name: str, legalize: Legalize) -> Legalize:
        def lower(builder: relax.BlockBuilder, call: relax.Call) -> relax.Expr:
            operands = _operands(call.args[:])
            key = self._key(name, call)
            found = _memory.get(key)
            if found is not None:  # it was new a moment ago, or comes from taking another operator apart
                number = found.loops.number
                if number not in self._added:
                    self._added[number] = builder.add_func(found.stub, found.hint)
                    self.loops[str(self._added[number].name_hint)] = found.loops
                return _call(self._added[number], found, operands, call.ty)
            result = legalize(builder, call)
            found = _entry(builder, result, operands)
            if found is not None:
                _memory[key] = found
                number, function = found.loops.number, result.args[0]
                self._added[number], self.loops[str(function.name_hint)] = function, Loops(number)
                if len(_memory) > _LIMIT:
                    _memory.pop(next(iter(_memory)))
            return result

        return lower

    def _key(self, name: str, call: relax.Call) -> tvm_ffi.StructuralKey:
        return tvm_ffi.StructuralKey([self._target, name, call.attrs, call.ty, *map(_signature, call.args[:])])


def _is_operator(call: relax.Call) -> bool:
    return isinstance(call.op, ir.Op) and not str(call.op.name).startswith("relax.call_")


def _call(function: ir.GlobalVar, known: _Remembered, operands: list[Any], type_: Any) -> relax.Call:
    arguments = [function, relax.Tuple([operands[i] for i in known.positions])]
    return relax.Call(_CALL_TIR, arguments, None, known.types, None, type_)


def with_loops(mod: tvm.IRModule, loops: Mapping[str, Loops]) -> tvm.IRModule:
    """``mod`` with loops in place of their stubs."""
    found = {}
    for gv, func in mod.functions.items():
        known = loops.get(str(gv.name_hint)) if isinstance(func, tirx.PrimFunc) else None
        found[gv] = func if known is None or known.function is None else known.function
    return tvm.IRModule(found, attrs=mod.attrs)


@lru_cache(maxsize=1024)  # functions are equal if they are the same object
def _own(func: tirx.PrimFunc) -> tuple[Loops, tirx.PrimFunc]:
    """What stands for loops that the module came with, and their stub."""
    loops = Loops(_number(tvm_ffi.StructuralKey(func)), _annotated(func))
    return loops, _stub(loops)


@lru_cache(maxsize=1024)
def _number(key: tvm_ffi.StructuralKey) -> int:
    return next(_numbers)


def _annotated(func: tirx.PrimFunc) -> tirx.PrimFunc:
    """Loops with their pattern, by which operators are fused."""
    return relax.transform.AnnotateTIROpPattern()(tvm.IRModule({"main": func}))["main"]


def _default(name: str) -> Legalize | None:
    """TVM's own way to legalise an operator."""
    found: Legalize | None = ir.Op.get(name).get_attr("FLegalize")
    return found


def _operands(args: Any) -> list[Any]:
    found: list[Any] = []
    for arg in args:
        found.extend(_operands(arg.fields[:]) if type(arg) is relax.Tuple else [arg])  # isinstance takes long to say no
    return found


def _signature(arg: Any) -> Any:
    """What the loops can depend on: an operand's type, but the value of shapes, numbers and scalar constants."""
    if type(arg) is relax.Tuple:
        return [_signature(field) for field in arg.fields[:]]
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
    loops = Loops(next(_numbers), _annotated(builder.get()[function]))
    return _Remembered(loops, _stub(loops), str(function.name_hint), function.ty, positions, result.ty_args)


def _stub(loops: Loops) -> tirx.PrimFunc:
    """What FuseOps needs to know of some loops: parameters and pattern."""
    func = loops.function
    assert func is not None
    # TVM looks again for the pattern of what it knows to be elementwise, which has the number 0.
    empty = func.with_body(tirx.Evaluate(0)) if int(func.attrs["op_pattern"]) else func
    return empty.with_attr("eqsat.loops", loops.number)  # stubs of different loops mustn't be taken for one
