"""From a Relax module to the kernels that TVM will really run: legalised, fused, and counted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import tvm
import tvm_ffi
from tvm import relax, tirx
from tvm.s_tir import meta_schedule as ms
from tvm.target import Target

from .kernel_work import work_of
from .legalize import legalize_pass
from .prepack import marking_passes
from .roofline import Kind, Work

# Calls that are left after lowering and do nothing at run time, or next to nothing.
_FREE = ("relax.reshape", "relax.shape", "relax.tensor_to_shape", "relax.to_vdevice", "relax.memory", "relax.vm")
_CALLS = ("relax.call_tir", "relax.call_tir_inplace", "relax.call_tir_with_grad")
_OTHER = Work(Kind.STREAM, 0.0)


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
    steps: list[Any] = []
    if (prepared := _without_folded(mod)) is not mod:
        steps = [relax.transform.CanonicalizeBindings(), relax.transform.DeadCodeElimination()]
    with target:
        for step in (*relax.pipeline.library_dispatch_passes(target), *relax.pipeline.legalize_passes(target)):
            name = str(step.info.name)
            if name == "LegalizeOps":
                step = legalize_pass(prepared, target)
            if name != "FoldConstant":
                steps.append(step)
            if name == "FuseTIR":
                break  # on GPUs scheduling follows
        steps += marking_passes() if prepack else []
        lowered = tvm.transform.Sequential([*steps, relax.transform.RewriteDataflowReshape()])(prepared)
    found = [kernel_of(task) for task in ms.relax_integration.extract_tasks(lowered, target)]
    others = _other_calls(lowered)
    found += [Kernel(name, others.count(name), _OTHER) for name in set(others)]
    return sorted(found, key=lambda k: (k.name, k.hash))


def kernel_of(task: ms.ExtractedTask) -> Kernel:
    """The kernel of a MetaSchedule task, whose weight is the number of calls."""
    key = tvm_ffi.StructuralKey(task.dispatched[0])
    return Kernel(str(task.task_name), int(task.weight), _work(key), key.key, key.hash_i64 & (2**64 - 1))


@lru_cache(maxsize=4096)
def _work(key: tvm_ffi.StructuralKey) -> Work:
    return work_of(key.key["main"])


def _other_calls(mod: tvm.IRModule) -> list[str]:
    """Names of all calls that aren't kernels of the module and cost something."""
    found: list[str] = []

    def visit(expr: Any) -> None:
        if not isinstance(expr, relax.Call) or isinstance(expr.op, relax.GlobalVar | relax.Var):
            return
        name = str(getattr(expr.op, "global_symbol", getattr(expr.op, "name", "")))
        if name.startswith(("relax.call_dps", "relax.call_pure", "relax.call_inplace")):
            found.append(str(getattr(expr.args[0], "global_symbol", name)))
        elif name and name not in _CALLS and not name.startswith(_FREE):
            found.append(name)

    for func in mod.functions.values():
        if isinstance(func, relax.Function):
            relax.analysis.post_order_visit(func, visit)
    return found


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
    blocks = []
    for block in func.body.blocks:
        bindings = []
        for binding in block.bindings:
            if isinstance(binding, relax.VarBinding) and _is_known(binding.value, known):
                parameter = relax.Var(binding.var.name, binding.var.ty)
                known.add(binding.var)
                if _is_known(binding.value, constant):
                    constant.add(binding.var)
                    folded.append(parameter)
                else:
                    computed.append(parameter)
                binding = relax.VarBinding(binding.var, parameter)
            bindings.append(binding)
        blocks.append(type(block)(bindings))
    if not folded and not computed:
        return func
    body = relax.SeqExpr(blocks, func.body.body)
    parameters = [*inputs, *computed, *weights, *folded]
    rewritten = relax.Function(parameters, body, func.ret_ty, func.is_pure, func.attrs)
    return rewritten.with_attr("num_input", len(inputs) + len(computed))


def _is_known(value: Any, known: set[Any]) -> bool:
    """Whether a binding applies a pure operator to known tensors, at least one."""
    if not isinstance(value, relax.Call) or not isinstance(value.op, tvm.ir.Op):
        return False
    if str(value.op.name) != "relax.call_tir" and str(value.op.name).startswith("relax.call_"):
        return False  # foreign code isn't folded
    if not isinstance(value.ty, relax.TensorType) or not isinstance(value.ty.shape, relax.ShapeExpr):
        return False
    if not all(isinstance(d, tirx.IntImm) for d in value.ty.shape.values):
        return False
    tensors = list(_tensors(value.args))
    return bool(tensors) and all(isinstance(t, tvm.ir.GenericConst) or t in known for t in tensors)


def _tensors(args: Iterable[Any]) -> Iterable[Any]:
    """Constants and variables among the arguments of a call; shapes and numbers are part of the operator."""
    for arg in args:
        if isinstance(arg, relax.Tuple):
            yield from _tensors(arg.fields)
        elif isinstance(arg, relax.Var | tvm.ir.GenericConst):
            yield arg
