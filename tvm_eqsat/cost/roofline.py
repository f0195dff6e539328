"""The roofline: what a tuned kernel takes, from its arithmetic, its traffic and the shape of its innermost loop.

The efficiencies below stand for kernels that MetaSchedule tuned with tens of trials. They were measured on an AMD EPYC
(Zen 3, LLVM, ``mcpu=znver3``); each is a fraction of the core's own rate in :mod:`.microbench` (101 GFLOP/s,
55 GB/s), so that they carry over to other machines. Best of 8 to 64 trials, float32, one core of a machine that was
busy with other work, so that only large differences count:

======================================================  ==========================================
kernel                                                  measured
======================================================  ==========================================
conv 3×3, 64 → 64, 56×56                                NHWC 88–112 GFLOP/s; NCHW 85 (22 after only 32 trials)
conv 1×1, 64 → 256, 56×56                               NHWC 57, NCHW 51
conv 1×1, 512 → 128, 28×28                              NHWC 68, NCHW 36
conv 3×3 stride 2, 128 → 128, 56×56                     NHWC 47, NCHW 38
depthwise 3×3, 144 channels, 56×56                      NHWC 14, NCHW 10
matmul 128×768×768; ×2304                               58; 57: merging Q, K and V changes nothing by itself
relu, add, batch_norm: last axis of 64, 128, 768        60–75 GB/s (0.1–0.2 ns an element)
the same: last axis of 56 or 96                         4–8 GB/s (1.1–2.1 ns an element)
slice, pad, concat along an outer axis, any shape       55–140 GB/s
concat along the last axis                              14–18 GB/s (three operands: 5)
permute_dims NCHW to NHWC; back; 768×768 transposed     20–43 GB/s; 5–9 GB/s; 5 GB/s
conv 3×3, 16 → 64, 55×55; 1×1 (both in SqueezeNet)      NHWC 61, NCHW 27; NHWC 49, NCHW 21
pooling, mean, sum; layer_norm                          20–53 GB/s; 10 GB/s
exp, log, sigmoid; erf, tanh, sin, power                2.5 ns; 4.2–5.7 ns an element
======================================================  ==========================================

An elementwise kernel on its own is slow wherever a vector of 64 elements straddles rows, because MetaSchedule fuses
all loops, vectorises by 64, and LLVM then gathers: see :func:`in_rows`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from .machine import Machine


class Kind(Enum):
    """Kinds of kernels that differ in how near to the machine's limits they come."""

    DENSE = "dense"  # matmul, channels-last convolution: the vector axis runs along one operand, the other is broadcast
    SLIDING = "sliding"  # channels-first convolution: the vector axis runs along rows of an image
    STRIDED = "strided"  # the same with a stride: vector loads gather
    TRANSPOSED = "transposed"  # the vector axis isn't the last one of the operand it runs along
    GROUPED = "grouped"  # each group of outputs reads its own part of the data
    NO_REUSE = "no reuse"  # depthwise convolution, matrix times vector: some operand is read once
    REDUCE = "reduce"  # sums, pooling, softmax, normalisation
    STREAM = "stream"  # elementwise, or a copy in which the last axis stays the last
    SHUFFLE = "shuffle"  # elements change their order along the last axis


#: Fraction of peak arithmetic, fraction of bandwidth.
EFFICIENCY: dict[Kind, tuple[float, float]] = {
    Kind.DENSE: (0.75, 1.0),
    Kind.SLIDING: (0.5, 1.0),
    Kind.STRIDED: (0.45, 1.0),
    Kind.TRANSPOSED: (0.2, 1.0),
    Kind.GROUPED: (0.3, 1.0),
    Kind.NO_REUSE: (0.25, 0.5),
    Kind.REDUCE: (0.1, 0.4),
    Kind.STREAM: (0.25, 1.0),
    Kind.SHUFFLE: (0.1, 0.25),
}
#: What is left of the bandwidth when vectors straddle rows.
RAGGED = {Kind.STREAM: 0.15, Kind.SHUFFLE: 0.4}
#: Terms of a sum at which starting and storing it costs as much as adding it up.
_SHORT_SUM = 8
_CHUNK = 64  # MetaSchedule's widest vector loop on CPUs


@dataclass(frozen=True)
class Work:
    """What a kernel does.

    Attributes
    ----------
    kind : Kind
        Kind of its heaviest part.
    nbytes : float
        Bytes it reads and writes in buffers that outlive it.
    flops : float
        Operations of its heaviest part.
    depth : float
        Terms summed into each output of that part; 0 where that doesn't matter.
    width : int
        Outputs along the innermost axis; 0 where that doesn't matter.
    more_flops : float
        Operations of everything else (bias, activation, …).
    calls : float
        Calls of transcendental functions, in units of one ``exp``.
    rows : bool
        Whether vectors stay inside of rows (:func:`in_rows`).
    dtype : str
        Type that it computes in.
    carried : float
        Bytes of its first operand, which is in the caches while the kernel is timed by itself.
    """

    kind: Kind
    nbytes: float
    flops: float = 0.0
    depth: float = 0.0
    width: int = 0
    more_flops: float = 0.0
    calls: float = 0.0
    rows: bool = True
    dtype: str = "float32"
    carried: float = 0.0


def in_rows(shape: Sequence[int]) -> bool:
    """Whether 64 consecutive elements of a tensor are whole rows or part of one, at every level of its axes."""
    run = 1
    for extent in reversed(shape):
        run *= extent
        if run % _CHUNK == 0:
            return True
        if _CHUNK % run:
            return False
    return True


def seconds(machine: Machine, work: Work) -> float:
    """Roofline time of a kernel, without the overhead of calling it.

    Parameters
    ----------
    machine : Machine
        Where it runs.
    work : Work
        What it does.

    Returns
    -------
    float
        Seconds: launching it, and the longer of computing and transferring, which overlap.
    """
    return machine.launch + busy_seconds(machine, work)


def busy_seconds(machine: Machine, work: Work) -> float:
    """Like :func:`seconds`, for work that is done inside a kernel which runs anyway."""
    compute, bandwidth = EFFICIENCY[work.kind]
    if work.depth:
        compute *= work.depth / (work.depth + _SHORT_SUM)
    if work.width:
        # tiles divide the axis: its largest power of two is what fills vectors
        compute *= 0.6 + 0.4 * min(1.0, (work.width & -work.width) / 8)
    if not work.rows:
        bandwidth *= RAGGED.get(work.kind, 1.0)
    peak = machine.peak(work.dtype)
    computing = (
        work.flops / (peak * compute)
        + work.more_flops / (peak * EFFICIENCY[Kind.STREAM][0])
        + work.calls / machine.scalar_calls
    )
    return max(computing, machine.transfer(work.nbytes) / bandwidth)
