"""Weight prepacking: weights are stored in the layout in which the tuned kernel reads them.

MetaSchedule proposes a layout for every operand of a kernel that is marked as free: it tiles the weight as the loops
over it are tiled, so that the innermost one reads consecutive values. The kernel is timed on a weight that is laid out
so already, and the rewriting is split off when the module is compiled. The mark is an attribute of the kernel: its
structural hash, and so its records, are others than without prepacking.
"""

from __future__ import annotations

from tvm.ir.transform import Pass
from tvm.relax import transform


def marking_passes() -> list[Pass]:
    """What comes between fusion and tuning, or the look-up of tuned kernels: marks weights as free.

    Weights are constants, and parameters from the function attribute ``num_input`` on.
    """
    # a constant that is bound to a variable first would go unnoticed
    return [transform.CanonicalizeBindings(), transform.AttachAttrLayoutFreeBuffers()]


def splitting_passes() -> list[Pass]:
    """What comes after tuned kernels were put in: rewrites the layouts of constants, once and for all.

    A rewriting of parameters becomes a kernel of its own, which ``LiftTransformParams`` takes out of the function.
    """
    # a kernel's rewritten weights come as a tuple, which is taken apart
    return [transform.SplitLayoutRewritePreproc(), transform.FoldConstant(), transform.CanonicalizeBindings()]
