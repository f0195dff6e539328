"""Weight prepacking: weights are stored in the layout in which the tuned kernel reads them.

MetaSchedule proposes a layout for every operand of a kernel that is marked as free: it tiles the weight as the loops
over it are tiled, so that the innermost one reads consecutive values. The kernel is timed on a weight that is laid out
so already, and the rewriting is split off when the module is compiled. The mark is an attribute of the kernel: its
structural hash, and so its records, are others than without prepacking.
"""

from __future__ import annotations

from typing import Any

import tvm
import tvm_ffi
from tvm import IRModule, tirx
from tvm.ir.expr import TensorLoad
from tvm.ir.transform import Pass
from tvm.relax import transform

_FREE = "layout_free_buffers"


def marking_passes() -> list[Pass]:
    """What comes between fusion and tuning, or the look-up of tuned kernels: marks weights as free.

    Weights are constants, and parameters from the function attribute ``num_input`` on.
    """
    # a constant that is bound to a variable first would go unnoticed
    return [transform.CanonicalizeBindings(), transform.AttachAttrLayoutFreeBuffers(), _keep_reversed_weights]


def splitting_passes() -> list[Pass]:
    """What comes after tuned kernels were put in: rewrites the layouts of constants, once and for all.

    A rewriting of parameters becomes a kernel of its own, which ``LiftTransformParams`` takes out of the function.
    """
    # a kernel's rewritten weights come as a tuple, which is taken apart
    return [transform.SplitLayoutRewritePreproc(), transform.FoldConstant(), transform.CanonicalizeBindings()]


@tvm.transform.module_pass(opt_level=0, name="KeepReversedWeights")
def _keep_reversed_weights(mod: IRModule, _context: Any) -> IRModule:
    """Take the mark back from kernels that read a weight backwards, as transposed convolutions do.

    Of an index such as ``3 - i`` MetaSchedule's RewriteLayout (TVM 0.27) makes a layout in which the kernel then reads
    other values than before.
    """
    found = mod.clone()
    for name, function in mod.functions.items():
        if isinstance(function, tirx.PrimFunc) and function.attrs and _FREE in function.attrs:
            if _reads_backwards(function):
                found[name] = function.without_attr(_FREE)
    return found


def _reads_backwards(function: tirx.PrimFunc) -> bool:
    free = [function.params[int(i)] for i in function.attrs[_FREE]]
    loads: list[Any] = []
    tvm_ffi.structural_walk(function.body, (TensorLoad, loads.append))
    subtracted: list[Any] = []
    for load in loads:
        if any(load.source.same_as(weight) for weight in free):
            for index in load.indices:
                tvm_ffi.structural_walk(index, (tirx.Sub, lambda e: subtracted.append(e.b)))
    return any(not isinstance(e, tirx.IntImm) for e in subtracted)
