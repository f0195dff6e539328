"""What an expert would do with TVM's own passes: the configurations from which the best one is taken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tvm
import tvm_ffi
from tvm import relax
from tvm.relax import transform
from tvm.relax.dpl import is_const, is_op, is_tuple_get_item, rewrite_call, wildcard


@dataclass(frozen=True)
class ByHand:
    """One configuration of TVM's own passes.

    Parameters
    ----------
    nhwc : bool
        Whether convolutions are moved to NHWC, with weights in HWIO, by ``ConvertLayout``; else they stay as they are.
    prepack : bool
        Whether kernels choose the layout of their weights, as with ``cpu_weight_prepack``.
    """

    nhwc: bool
    prepack: bool

    @property
    def layout(self) -> str:
        """Of images."""
        return "nhwc" if self.nhwc else "nchw"

    @property
    def name(self) -> str:
        """E.g. ``"nhwc+prepack"``."""
        return self.layout + "+prepack" * self.prepack

    def apply(self, mod: tvm.IRModule) -> tvm.IRModule:
        """The module after the passes that come before tuning.

        In every configuration batch normalisations are folded into convolutions and matrix products that share an
        operand are combined.
        """
        passes = [
            _without_dropout,
            transform.CanonicalizeBindings(),
            transform.FoldBatchnormToConv2D(),
            transform.FoldConstant(),
            _combined,
        ]
        if self.nhwc:
            passes.append(transform.ConvertLayout({"relax.nn.conv2d": ["NHWC", "HWIO"]}))
        passes += [transform.FoldConstant(), transform.DeadCodeElimination()]  # the weights' new layouts
        return tvm.transform.Sequential(passes)(mod)


@relax.transform.function_pass(opt_level=0)
def _without_dropout(func: relax.Function, _mod: tvm.IRModule, _ctx: tvm.transform.PassContext) -> relax.Function:
    """Take out what does nothing at inference: ConvertLayout can't pass its two results."""
    kept = wildcard()
    dropped = is_tuple_get_item(is_op("relax.nn.dropout")(kept), 0)
    return rewrite_call(dropped, lambda _expr, found: found[kept], func)


@tvm.transform.module_pass(opt_level=0)
def _combined(mod: tvm.IRModule, _ctx: tvm.transform.PassContext) -> tvm.IRModule:
    """CombineParallelMatmul, which wants weights and biases as parameters, and biases as second operands."""
    lifted: list[tuple[relax.Var, Any]] = []
    operand, constant = wildcard(), is_const()

    def parameter(value: Any) -> Any:
        if not isinstance(value, tvm.ir.GenericConst):
            return value
        known = [var for var, other in lifted if other.same_as(value)]
        if not known:
            known = [relax.Var(f"lifted_{len(lifted)}", value.ty)]
            lifted.append((known[0], value))
        return known[0]

    def product(expr: relax.Call, found: Any) -> relax.Call:
        return relax.op.matmul(parameter(found[operand]), parameter(found[constant]), expr.attrs.out_dtype)

    def bias(expr: relax.Call, found: Any) -> relax.Call:
        return relax.op.add(found[operand], parameter(found[constant])) if found[constant].ty.ndim == 1 else expr

    main = rewrite_call(is_op("relax.matmul")(operand, constant), product, mod["main"])
    for pattern in (is_op("relax.add")(constant, operand), is_op("relax.add")(operand, constant)):
        main = rewrite_call(pattern, bias, main)
    parameters = [*main.params, *(var for var, _ in lifted)]
    ready = tvm.IRModule({"main": relax.Function(parameters, main.body, main.ret_ty, main.is_pure, main.attrs)})
    combined = transform.CombineParallelMatmul()(ready)
    if tvm_ffi.structural_equal(combined, ready):
        return mod  # with its operands as they were
    return transform.BindParams("main", {var.name: value.value for var, value in lifted})(combined)


CONFIGURATIONS = {c.name: c for c in (ByHand(nhwc, prepack) for nhwc in (False, True) for prepack in (False, True))}
"""All configurations by name."""


def has_convolutions(mod: tvm.IRModule) -> bool:
    """Whether layouts of images matter for a module."""
    found: list[str] = []

    def visit(expr: relax.Expr) -> None:
        if isinstance(expr, relax.Call) and isinstance(expr.op, tvm.ir.Op):
            found.append(str(expr.op.name))

    relax.analysis.post_order_visit(mod["main"], visit)
    return "relax.nn.conv2d" in found
