"""From a Relax module to the kernels that TVM will really run: legalised, fused, and counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import tvm
import tvm_ffi
from tvm import relax, tirx
from tvm.s_tir import meta_schedule as ms
from tvm.target import Target

from ..graph.ops import BY_RELAX_NAME
from .groups import Key, alone, bindings_of, groups_of, is_call_tir, is_group
from .kernel_work import work_of
from .legalize import Legalization, with_loops
from .prepack import marking_passes
from .roofline import Kind, Work

# Calls that are left after lowering and do nothing at run time, or next to nothing.
_FREE = ("relax.reshape", "relax.shape", "relax.tensor_to_shape", "relax.to_vdevice", "relax.memory", "relax.vm")
_CALLS = ("relax.call_tir_inplace", "relax.call_tir_with_grad")
_OTHER = Work(Kind.STREAM, 0.0)
_LIMIT = 8192
_groups: dict[Key, list[Kernel]] = {}  # what groups of operators become; their loops have numbers for each target


@dataclass(frozen=True)
class Kernel:
    """One distinct kernel of a module.

    Attributes
    ----------
    name : str
        What TVM calls it, e.g. ``"fused_conv2d_add_relu"``.
    count : int
        How often the module calls it.
    work : Work
        Its arithmetic and traffic, for one call.
    mod : tvm.IRModule or None
        The kernel as MetaSchedule's workload: one function ``main``, not scheduled. None for a call of something
        that isn't TIR (a packed function, an operator that TVM can't legalise).
    hash : int
        Structural hash of ``mod``, the one that MetaSchedule's database stores; 0 without ``mod``.
    """

    name: str
    count: int
    work: Work
    mod: tvm.IRModule | None = None
    hash: int = 0

    @property
    def flops(self) -> float:
        """Floating-point operations of one call."""
        return self.work.flops + self.work.more_flops

    @property
    def nbytes(self) -> float:
        """Bytes that one call reads and writes."""
        return self.work.nbytes


def kernels(mod: tvm.IRModule, target: Target, *, prepack: bool = False) -> list[Kernel]:
    """The distinct kernels of a module, through TVM's own legalisation and fusion for the target.

    What depends on constants alone, or on weights alone (parameters from the function attribute ``num_input`` on),
    costs nothing at run time and is left out. It isn't computed either: TVM's FoldConstant takes seconds for that,
    and fusion only needs the types.

    Parameters
    ----------
    mod : tvm.IRModule
        A Relax module. Each of its functions is counted once.
    target : tvm.target.Target
        The target.
    prepack : bool
        Whether the layouts of weights are the kernels' to choose (:mod:`tvm_eqsat.cost.prepack`). Such kernels have
        records of their own.

    Returns
    -------
    list of Kernel
        By name.
    """
    prepared = _without_folded(mod)
    plain = prepared is mod or _is_plain(mod)
    with target:
        if not plain:  # parameters have other names, of which fusion would make something
            steps = [relax.transform.CanonicalizeBindings(), relax.transform.DeadCodeElimination()]
            prepared = tvm.transform.Sequential(steps)(prepared)
        legalization = Legalization(prepared, target)
        prepared, loops = legalization.of_known(), legalization.loops
        complete = not legalization.others and not legalization.nested
        # Samplers, sorts and scans may be a library's to run; none of what we know by name is one.
        usual = legalization.others <= {*BY_RELAX_NAME} and not legalization.nested
        dispatch = [] if usual else relax.pipeline.library_dispatch_passes(target)
        first: list[Any] = []
        for step in (*dispatch, *relax.pipeline.legalize_passes(target)):
            name = str(step.info.name)
            if name == "FuseTIR":
                break  # on GPUs scheduling follows
            if name == "FoldConstant" or (name == "LegalizeOps" and complete):
                continue
            first.append(legalization.of_others() if name == "LegalizeOps" else step)
        fused = tvm.transform.Sequential(first)(prepared)
        last = [step, *(marking_passes() if prepack else []), relax.transform.RewriteDataflowReshape()]
        lower = tvm.transform.Sequential(last)
        calls = groups_of(fused, loops, prepack=prepack)
        if calls is None:
            return _merged(_kernels(lower(with_loops(fused, loops))))
        groups, others = calls
        found = _foreign(Counter(map(_foreign_name, others)))
        for group in groups:
            if group.key not in _groups:
                _groups[group.key] = _kernels(lower(with_loops(alone(fused, group), loops)))
            found += [replace(kernel, name=str(group.function.name_hint)) for kernel in _groups[group.key]]
    while len(_groups) > _LIMIT:
        _groups.pop(next(iter(_groups)))
    return _merged(found)


def _kernels(lowered: tvm.IRModule) -> list[Kernel]:
    calls, others = _calls(lowered)
    found = [(name, count, _kernel(tvm_ffi.StructuralKey(lowered[name]))) for name, count in calls.items()]
    return [replace(kernel, name=name, count=count) for name, count, kernel in found] + _foreign(others)


def _foreign(calls: Counter[str]) -> list[Kernel]:
    return [Kernel(name, count, _OTHER) for name, count in calls.items() if name]


def _merged(found: Iterable[Kernel]) -> list[Kernel]:
    """Kernels by name, equal ones counted together."""
    merged: dict[tuple[int, str], Kernel] = {}
    for kernel in found:
        key = kernel.hash, "" if kernel.mod is not None else kernel.name
        known = merged.get(key)
        merged[key] = kernel if known is None else replace(known, count=known.count + kernel.count)
    return sorted(merged.values(), key=lambda k: (k.name, k.hash))


@lru_cache(maxsize=4096)
def _kernel(key: tvm_ffi.StructuralKey) -> Kernel:
    """The kernel of a function, without a name: candidates share nearly all of their functions."""
    normalize = tvm.get_global_func("tvm.s_tir.meta_schedule.normalize_mod")
    return _identified(normalize(key.key))


def _identified(mod: tvm.IRModule) -> Kernel:
    key = tvm_ffi.StructuralKey(mod)
    return Kernel("", 0, work_of(mod["main"]), mod, key.hash_i64 & (2**64 - 1))


def kernel_of(task: ms.ExtractedTask) -> Kernel:
    """The kernel of a MetaSchedule task, whose weight is the number of calls."""
    kernel = _of_workload(tvm_ffi.StructuralKey(task.dispatched[0]))
    return replace(kernel, name=str(task.task_name), count=int(task.weight))


@lru_cache(maxsize=4096)
def _of_workload(key: tvm_ffi.StructuralKey) -> Kernel:
    return _identified(key.key)


def _calls(mod: tvm.IRModule) -> tuple[Counter[str], Counter[str]]:
    """How often each kernel of a module is called, and everything else that costs something."""
    found, others = Counter[str](), Counter[str]()

    def visit(expr: Any) -> None:
        if isinstance(expr, relax.Call):
            if is_call_tir(expr):
                found[str(expr.args[0].name_hint)] += 1
            else:
                others[_foreign_name(expr)] += 1

    for func in mod.functions.values():
        if isinstance(func, relax.Function) and not is_group(func):
            relax.analysis.post_order_visit(func, visit)
    return found, others


def _is_plain(mod: tvm.IRModule) -> bool:
    """Whether a module only calls: it takes no tuple apart, and gives nothing a second name."""
    bindings = (b for f in mod.functions.values() if isinstance(f, relax.Function) for b in bindings_of(f))
    return all(isinstance(b, relax.VarBinding) and isinstance(b.value, relax.Call) for b in bindings)


def _foreign_name(call: relax.Call) -> str:
    """What a call runs that isn't of loops; empty if that is nothing."""
    if isinstance(call.op, relax.GlobalVar | relax.Var):
        return ""
    name = str(getattr(call.op, "global_symbol", getattr(call.op, "name", "")))
    if name.startswith(("relax.call_dps", "relax.call_pure", "relax.call_inplace")):
        return str(getattr(call.args[0], "global_symbol", name))
    return "" if name in _CALLS or name.startswith(_FREE) else name


# -- what is known before the first run ---------------------------------------------------------------------------


def _without_folded(mod: tvm.IRModule) -> tvm.IRModule:
    """``mod`` with every value that is known before the first run turned into a parameter, or itself."""
    functions = {gv: _known_to_parameters(f) if isinstance(f, relax.Function) else f for gv, f in mod.functions.items()}
    if all(functions[gv] is f for gv, f in mod.functions.items()):
        return mod
    return tvm.IRModule(functions, attrs=mod.attrs)


def _known_to_parameters(func: relax.Function) -> relax.Function:
    if not isinstance(func.body, relax.SeqExpr):
        return func
    first_weight = int(func.attrs["num_input"]) if func.attrs and "num_input" in func.attrs else len(func.params)
    inputs, weights = list(func.params[:first_weight]), list(func.params[first_weight:])
    known, constant = set[Any](weights), set[Any]()
    folded: list[relax.Var] = []  # of constants alone: as good as a constant
    computed: list[relax.Var] = []  # of weights too: computed once, but TVM doesn't know that yet when it fuses
    parameter_of: dict[Any, relax.Var] = {}
    blocks = []
    for block in func.body.blocks:
        bindings = []
        for binding in block.bindings[:]:
            if isinstance(binding, relax.VarBinding) and isinstance(binding.value, relax.Call):
                if _is_known(binding.value, known):
                    parameter = parameter_of[binding.var] = relax.Var(binding.var.name, binding.var.ty)
                    known.add(binding.var)
                    if _is_known(binding.value, constant):
                        constant.add(binding.var)
                        folded.append(parameter)
                    else:
                        computed.append(parameter)
                    binding = relax.VarBinding(binding.var, parameter)
                elif parameter_of:
                    binding = relax.VarBinding(binding.var, _with_operands(binding.value, parameter_of))
            bindings.append(binding)
        blocks.append(type(block)(bindings))
    if not folded and not computed:
        return func
    body = relax.SeqExpr(blocks, func.body.body)
    parameters = [*inputs, *computed, *weights, *folded]
    rewritten = relax.Function(parameters, body, func.ret_ty, func.is_pure, func.attrs)
    return rewritten.with_attr("num_input", len(inputs) + len(computed))


def _with_operands(call: relax.Call, new: dict[Any, relax.Var]) -> relax.Call:
    """A call of other operands; the same object if none differs."""

    def replaced(arg: Any) -> Any:
        if type(arg) is relax.Tuple:
            fields = arg.fields[:]
            found = [replaced(field) for field in fields]
            return arg if all(a is b for a, b in zip(fields, found, strict=True)) else relax.Tuple(found)
        return new.get(arg, arg) if isinstance(arg, relax.Var) else arg

    args = call.args[:]
    found = [replaced(arg) for arg in args]
    if all(a is b for a, b in zip(args, found, strict=True)):
        return call
    return relax.Call(call.op, found, call.attrs, call.ty_args, call.span, call.ty)


def _is_known(value: Any, known: set[Any]) -> bool:
    """Whether a binding applies a pure operator to known tensors, at least one."""
    if not isinstance(value, relax.Call) or not isinstance(value.op, tvm.ir.Op):
        return False
    first = value.args[0] if len(value.args) else None
    if isinstance(first, relax.Var) and first not in known:  # as in most calls: no need to look at the others
        return False
    if str(value.op.name) != "relax.call_tir" and str(value.op.name).startswith("relax.call_"):
        return False  # foreign code isn't folded
    tensors = _tensors(value.args[:])
    if not tensors or not all(isinstance(t, tvm.ir.GenericConst) or t in known for t in tensors):
        return False
    if not isinstance(value.ty, relax.TensorType) or not isinstance(value.ty.shape, relax.ShapeExpr):
        return False
    return all(isinstance(d, tirx.IntImm) for d in value.ty.shape.values)


def _tensors(args: Iterable[Any]) -> list[Any]:
    """Constants and variables among the arguments of a call; shapes and numbers are part of the operator."""
    found: list[Any] = []
    for arg in args:
        if type(arg) is relax.Tuple:
            found += _tensors(arg.fields[:])
        elif isinstance(arg, relax.Var | tvm.ir.GenericConst):
            found.append(arg)
    return found
