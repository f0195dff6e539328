"""Two modules run on the same random inputs, by TVM itself."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np
import tvm
from tvm import relax
from tvm.relax.backend.cpu_generic import pipeline as cpu_pipeline
from tvm.target import Target, codegen

from ..cost.machine import runs_here
from ..errors import VerificationError
from .inputs import random_arguments
from .schedule import ReductionsOutside

logger = logging.getLogger("tvm_eqsat.verify")

#: Default tolerance, relative to the largest absolute value of an output, by the least precise type inside.
TOLERANCE = {"float64": 1e-9, "float32": 2e-4, "float16": 2e-2, "bfloat16": 1e-1}


@dataclass(frozen=True)
class Comparison:
    """What a comparison found.

    Attributes
    ----------
    functions : int
        Functions that were run in both modules.
    outputs : int
        Tensors that were compared.
    max_abs : float
        Largest absolute difference.
    max_rel : float
        Largest difference relative to the largest absolute value of the same output.
    skipped : tuple of str
        Functions that couldn't be given random arguments.
    """

    functions: int
    outputs: int
    max_abs: float
    max_rel: float
    skipped: tuple[str, ...] = ()

    def __str__(self) -> str:
        text = (
            f"{self.outputs} outputs of {self.functions} functions agree: largest difference {self.max_abs:.2e}, "
            f"{self.max_rel:.2e} of the output's scale"
        )
        return text + (f"; not run: {', '.join(self.skipped)}" if self.skipped else "")


def compare_modules(
    original: tvm.IRModule,
    result: tvm.IRModule,
    target: Target,
    *,
    seed: int = 0,
    rtol: float | None = None,
    atol: float = 1e-6,
) -> Comparison:
    """Compile two modules, run both on the same random inputs, and compare what comes out.

    Every Relax function of the original is run whose arguments can be made up. Modules for a target that isn't this
    host are compiled for the host: the rewriting is what is being verified, not the code generator.

    An element may differ by ``atol + rtol * scale``, where ``scale`` is the largest absolute value of its output:
    a rewrite that adds up the same terms in another order changes an element by rounding errors of its *terms*,
    however small their sum happens to be. The default ``rtol`` for float32, 2e-4, is 2⁻²³ · √K · √L with sums of
    K = 10⁴ terms and chains of L = 300 operators; other types scale with their own rounding. Anything but
    floating point must agree exactly. Where one output isn't finite, the other must be the same infinity or NaN.

    Parameters
    ----------
    original, result : tvm.IRModule
        Modules that haven't been lowered.
    target : tvm.target.Target
        What they are meant for.
    seed : int
        Seed of the inputs.
    rtol : float, optional
        Tolerance relative to the output's scale; by default after the least precise type inside.
    atol : float
        Absolute tolerance.

    Returns
    -------
    Comparison
        The differences found, all within the tolerance.

    Raises
    ------
    VerificationError
        A function is missing, doesn't compile or run, or its output differs; the message names the first value
        that differs, as far as both modules have a name for it.
    """
    where = _quick(target if target.kind.name == "llvm" and runs_here(target) else _host())
    names = [gv.name_hint for gv, f in original.functions.items() if isinstance(f, relax.Function) and _public(f)]
    arguments = {name: random_arguments(original[name], seed) for name in names}
    skipped = tuple(name for name in names if arguments[name] is None)
    for name in names:
        if not any(gv.name_hint == name for gv in result.functions):
            raise VerificationError(f"function {name} is missing from the rewritten module")
    compiled = [compile_quickly(original, where, "original"), compile_quickly(result, where, "rewritten")]
    outputs, largest = 0, (0.0, 0.0)
    for name in names:
        args = arguments[name]
        if args is None:
            continue
        tolerance = _tolerance(original[name]) if rtol is None else rtol
        found = [_run(vm, name, args, which) for vm, which in zip(compiled, ("original", "rewritten"), strict=True)]
        if len(found[0]) != len(found[1]):
            raise VerificationError(f"{name} returns {len(found[1])} tensors instead of {len(found[0])}")
        for number, (a, b) in enumerate(zip(*found, strict=True)):
            difference = _difference(a, b)
            if difference[0] > atol + tolerance * _scale(a):
                culprit = _first_difference(original, result, name, where, args, tolerance, atol)
                raise VerificationError(
                    f"output {number} of {name} differs by {difference[0]:.3g} ({difference[1]:.3g} of its scale, "
                    f"allowed {tolerance:.1g}); {culprit}. This is a bug in a rewrite rule: please report it; "
                    "on_mismatch='original' keeps the original module"
                )
            outputs += 1
            largest = max(largest[0], difference[0]), max(largest[1], difference[1])
    return Comparison(len(names) - len(skipped), outputs, *largest, skipped)


def _host() -> Target:
    return Target({"kind": "llvm", "mcpu": codegen.llvm_get_system_cpu()})


def _quick(target: Target) -> Target:
    """The same target with less optimisation: compiling takes longer than running once."""
    return Target({**dict(target.export()), "opt-level": 2})


def _public(func: relax.Function) -> bool:
    return bool(func.attrs) and "global_symbol" in func.attrs and not func.attrs.get("Primitive", 0)


def _tolerance(func: relax.Function) -> float:
    """By the least precise floating-point type of any variable."""
    found: set[str] = set()

    def visit(expr: Any) -> None:
        if isinstance(expr, relax.Var | relax.Call) and isinstance(expr.ty, relax.TensorType):
            found.add(str(expr.ty.dtype))

    relax.analysis.post_order_visit(func, visit)
    return max((TOLERANCE.get(dtype, 0.0) for dtype in found), default=0.0)


def compile_quickly(mod: tvm.IRModule, target: Target, which: str = "compiled") -> relax.VirtualMachine:
    """A CPU module, compiled to be run once: no constants folded, and loop orders that LLVM can vectorise.

    By LLVM's -O2, which takes half the time of TVM's -O3; the code is as fast.

    Raises
    ------
    VerificationError
        It doesn't compile; ``which`` says in the message which module that is.
    """
    if target.kind.name == "llvm":
        target = Target({**target.export(), "opt-level": 2})
    passes: list[Any] = []
    # relax.pipeline.dataflow_lower_passes raises for CPUs in TVM 0.27, so the lists come from where it looks for them
    for stage in ("library_dispatch", "legalize", "dataflow_lower", "finalize"):
        for step in getattr(cpu_pipeline, f"{stage}_passes")(target):
            if str(step.info.name) != "FoldConstant":  # compiles and runs each constant operator: slow, not needed
                passes.append(step)
            if str(step.info.name) == "FuseTIR":
                passes.append(ReductionsOutside())
    try:
        with target:
            built = tvm.compile(mod, target=target, relax_pipeline=tvm.transform.Sequential(passes))
        return relax.VirtualMachine(built, tvm.cpu())
    except Exception as err:  # TVM raises many kinds
        raise VerificationError(f"the {which} module doesn't compile: {_last_line(err)}") from err


def _run(vm: relax.VirtualMachine, name: str, args: list[Any], which: str) -> list[np.ndarray[Any, Any]]:
    try:
        return list(_tensors(vm[name](*args)))
    except Exception as err:
        raise VerificationError(f"{name} of the {which} module doesn't run: {_last_line(err)}") from err


def _last_line(err: Exception) -> str:
    lines = str(err).strip().splitlines()
    return lines[-1] if lines else type(err).__name__


def _tensors(value: Any) -> Iterator[np.ndarray[Any, Any]]:
    if hasattr(value, "numpy"):
        yield value.numpy()
    elif hasattr(value, "__iter__"):
        for field in value:
            yield from _tensors(field)


def _scale(a: np.ndarray[Any, Any]) -> float:
    """Largest absolute finite value."""
    if a.dtype.kind in "biu" or not a.size:
        return 0.0
    wide = np.abs(a.astype(np.float64))
    return float(np.max(wide, where=np.isfinite(wide), initial=0.0))


def _difference(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> tuple[float, float]:
    """Largest absolute difference, and the same relative to the scale of ``a``."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return inf, inf
    if a.dtype.kind in "biu":
        return (0.0, 0.0) if np.array_equal(a, b) else (inf, inf)
    x, y = a.astype(np.float64), b.astype(np.float64)
    same = (x == y) | (np.isnan(x) & np.isnan(y))
    if not np.all(same | (np.isfinite(x) & np.isfinite(y))):
        return inf, inf
    largest = float(np.max(np.abs(np.where(same, 0.0, x) - np.where(same, 0.0, y)), initial=0.0))
    return largest, largest / _scale(a) if largest else 0.0


# -- which operator it was ----------------------------------------------------------------------------------------


def _first_difference(
    original: tvm.IRModule, result: tvm.IRModule, name: str, target: Target, args: list[Any], rtol: float, atol: float
) -> str:
    """Name the first variable with the same name and type in both modules whose values differ."""
    theirs = _variables(result[name])
    shared = [v for v, var in _variables(original[name]).items() if v in theirs and _same_type(var, theirs[v])]
    try:
        values = [
            _run(compile_quickly(_returning(mod, name, shared), target, which), name, args, which)
            for mod, which in ((original, "original"), (result, "rewritten"))
        ]
    except VerificationError as err:
        logger.info("can't compare intermediate values: %s", err)
        return "its intermediate values can't be compared"
    before = "the inputs"
    for var, a, b in zip(shared, *values, strict=True):
        if _difference(a, b)[0] > atol + rtol * _scale(a):
            return f"the first value that differs is {var}, after {before}"
        before = var
    return f"all of the {len(shared)} values that have a name in both modules agree, the last is {before}"


def _variables(func: relax.Function) -> dict[str, relax.Var]:
    """Tensors bound in a function's blocks, by name, in program order."""
    found: dict[str, relax.Var] = {}
    for block in func.body.blocks if isinstance(func.body, relax.SeqExpr) else []:
        for binding in block.bindings:
            if isinstance(binding.var.ty, relax.TensorType) and isinstance(binding, relax.VarBinding):
                found.setdefault(str(binding.var.name), binding.var)
    return found


def _same_type(a: relax.Var, b: relax.Var) -> bool:
    return str(a.ty) == str(b.ty)


def _returning(mod: tvm.IRModule, name: str, names: list[str]) -> tvm.IRModule:
    """``mod`` with a function that returns these of its variables instead."""
    func = mod[name]
    variables = _variables(func)
    outs: dict[relax.Var, relax.Var] = {variables[n]: relax.Var(f"{n}_value", variables[n].ty) for n in names}
    blocks = []
    for block in func.body.blocks:
        exposed = [relax.VarBinding(outs[b.var], b.var) for b in block.bindings if b.var in outs]
        blocks.append(type(block)([*block.bindings, *exposed]))
    ty = relax.TupleType([v.ty for v in outs.values()])
    body = relax.SeqExpr(blocks, relax.Tuple(list(outs.values())))
    changed = relax.Function(func.params, body, ty, func.is_pure, func.attrs)
    return tvm.IRModule(
        {gv: changed if gv.name_hint == name else f for gv, f in mod.functions.items()}, attrs=mod.attrs
    )
